//! rustdoc.

use anyhow::Result;

use crate::context::Context;
use crate::step::{Group, Report, Step};

pub(crate) const DOC: Step = Step {
    name: "doc",
    about: "the API documentation, warnings denied",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    context
        .cargo()
        .args([
            "doc",
            "--workspace",
            // The program of trapline-cli has the name of the facade: one page would overwrite the other.
            "--lib",
            "--exclude",
            env!("CARGO_PKG_NAME"),
            "--no-deps",
            "--all-features",
        ])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Report::default())
}
