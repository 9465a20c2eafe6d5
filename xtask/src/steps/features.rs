//! Does every crate build, by itself, with each set of features?

use anyhow::Result;

use crate::combinations::combinations;
use crate::context::Context;
use crate::step::{Group, Report, Step};

pub(crate) const FEATURES: Step = Step {
    name: "features",
    about: "every crate builds alone with each feature alone, with none and with all",
    group: Group::Test,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    for package in context.workspace.crates() {
        for combination in combinations(package) {
            context
                .cargo()
                .args(["check", "--quiet", "--package", &package.name])
                .args(combination.args)
                .run()?;
        }
    }
    Ok(Report::default())
}
