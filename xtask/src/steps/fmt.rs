//! Formatting.

use anyhow::Result;
use xshell::cmd;

use crate::context::Context;
use crate::step::{Group, Report, Step};
use crate::steps::no_std::PROBE_SOURCE;

pub(crate) const FMT: Step = Step {
    name: "fmt",
    about: "cargo fmt, nothing to change",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    context.cargo().args(["fmt", "--all", "--check"]).run()?;
    // Belongs to no package of the workspace.
    cmd!(
        context.shell,
        "rustfmt --check --edition 2024 {PROBE_SOURCE}"
    )
    .run()?;
    Ok(Report::default())
}
