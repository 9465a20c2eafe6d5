//! Clippy, over every set of features.

use anyhow::{Context as _, Result};

use crate::combinations::combinations;
use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};

pub(crate) const CLIPPY: Step = Step {
    name: "clippy",
    about: "clippy over every set of features, warnings denied",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    // Tests, examples and benches of all crates, with everything turned on.
    clippy(context, &["--workspace", "--all-targets", "--all-features"])?;
    for package in context.workspace.crates() {
        let name = package.name.as_str();
        let policy = policy::of(name)
            .with_context(|| format!("{name} has no row in xtask/src/policy.rs"))?;
        // Without features of its own there is only what was looked at above;
        // building the compiler once more would show nothing new.
        if policy.builds_compiler && package.features.is_empty() {
            continue;
        }
        // Each library by itself, so that no other crate lends it a feature.
        for combination in combinations(package) {
            let mut args = vec!["--package", name];
            args.extend(combination.args.iter().map(String::as_str));
            clippy(context, &args)?;
        }
        // The same for the tests where that is cheap.
        if !policy.builds_compiler {
            clippy(context, &["--package", name, "--all-targets"])?;
        }
    }
    Ok(Report::default())
}

fn clippy(context: &Context, args: &[&str]) -> Result<()> {
    let cargo = context
        .cargo()
        .args(["clippy", "--quiet", "--no-deps"])
        .args(args);
    Ok(cargo.args(["--", "-D", "warnings"]).run()?)
}
