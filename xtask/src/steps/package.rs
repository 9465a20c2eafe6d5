//! Could every crate be published as it is?

use anyhow::Result;

use crate::context::Context;
use crate::step::{Group, Report, Step};

pub(crate) const PACKAGE: Step = Step {
    name: "package",
    about: "every crate that is published makes a package",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let published = context
        .workspace
        .packages
        .iter()
        .filter(|package| package.may_be_published())
        .flat_map(|package| ["--package", &package.name]);
    context
        .cargo()
        // Not built from the package: the other steps build the same sources.
        .args(["package", "--quiet", "--no-verify", "--allow-dirty"])
        .args(published)
        .run()?;
    Ok(Report::default())
}
