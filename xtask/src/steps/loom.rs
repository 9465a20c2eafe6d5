//! The models of lock-free code, run under loom: the `tests/loom.rs` of every
//! crate that has one.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::step::{Group, Report, Step};
use crate::steps::test::run_counted;

pub(crate) const LOOM: Step = Step {
    name: "loom",
    about: "the models of lock-free code, every interleaving",
    group: Group::Test,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut report = Report::default();
    let with_models = context
        .workspace
        .crates()
        .filter(|package| package.dir().join("tests/loom.rs").is_file());
    for package in with_models {
        let command = context
            .cargo()
            .args(["test", "--package", &package.name, "--test", "loom"])
            // A build directory of its own: the flag would rebuild everything in the common one.
            .arg("--target-dir")
            .arg(context.target_dir("loom"))
            .env("RUSTFLAGS", "--cfg loom");
        report.tests += run_counted(command)?;
    }
    ensure!(report.tests.passed > 0, "no model was run");
    Ok(report)
}
