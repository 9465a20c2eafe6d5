//! Miri, which interprets programs and knows each byte's provenance: over what is neither assembly nor
//! a call of the kernel's, with both models of what references may alias.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::policy;
use crate::step::{Group, Machine, Report, Step};
use crate::steps::test::run_counted;

pub(crate) const MIRI: Step = Step {
    name: "miri",
    about: "what can run under Miri, with Stacked Borrows and with Tree Borrows",
    group: Group::Test,
    needs: &[Machine::Nightly],
    run,
};

/// Crates with tests that it can run, and these tests.
const PACKAGES: &[&str] = &[
    "trapline-lock",
    "trapline-cpu-local",
    "trapline-code-registry",
    "trapline-backtrace",
    "trapline-activation",
];
const TARGETS: &[&str] = &[
    "lock",
    "copies",
    "single_cpu",
    "registry",
    "captured",
    "made_up_stacks",
];

/// The models, as flags.
const MODELS: [&str; 2] = ["", "-Zmiri-tree-borrows"];

/// Addresses come out of registers and code, so they are made pointers again. Property tests ask where
/// they are.
const FLAGS: &str = "-Zmiri-permissive-provenance -Zmiri-disable-isolation";

fn run(context: &Context) -> Result<Report> {
    let nightly = match context.nightly()? {
        Ok(nightly) => nightly,
        Err(reason) => return Ok(Report::of_nothing(reason)),
    };
    if let Err(error) = nightly.miri().and_then(|()| nightly.source()) {
        return Ok(Report::of_nothing(format!("{error:#}")));
    }
    let mut report = Report::default();
    for model in MODELS {
        let command = nightly
            .cargo(&context.shell)
            .args(["miri", "test", "--all-features", "--no-fail-fast"])
            .args(PACKAGES.iter().flat_map(|name| ["--package", name]))
            .arg("--lib")
            .args(TARGETS.iter().flat_map(|name| ["--test", name]))
            .arg("--target-dir")
            .arg(context.target_dir("miri"))
            .arg("--")
            .args(policy::skipped_under(MIRI.name))
            .env("MIRIFLAGS", format!("{FLAGS} {model}"))
            .env("RUST_BACKTRACE", "0")
            // A case takes seconds.
            .env("PROPTEST_CASES", "1")
            .env_remove("RUSTFLAGS");
        report.tests += run_counted(command)?;
    }
    ensure!(report.tests.passed > 0, "no test was run");
    Ok(report)
}
