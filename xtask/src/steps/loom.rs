//! The models of lock-free code, run under loom.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::policy;
use crate::step::{Group, Report, Step};
use crate::steps::test::run_counted;

pub(crate) const LOOM: Step = Step {
    name: "loom",
    about: "the models of lock-free code, every interleaving",
    group: Group::Test,
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut report = Report::default();
    for policy in policy::CRATES.iter().filter(|policy| policy.loom) {
        let command = context
            .cargo()
            .args(["test", "--package", policy.name, "--test", "loom"])
            // A build directory of its own: the flag would rebuild everything in the common one.
            .arg("--target-dir")
            .arg(context.target_dir("loom"))
            .env("RUSTFLAGS", "--cfg loom");
        let tests = run_counted(command)?;
        ensure!(
            tests.passed > 0,
            "{} has a row with `loom: true`, but no model was run",
            policy.name
        );
        report.tests += tests;
    }
    Ok(report)
}
