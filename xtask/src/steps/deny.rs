//! Licences, duplicate and banned crates, sources and security advisories.

use anyhow::Result;
use xshell::cmd;

use crate::context::Context;
use crate::step::{Group, Report, Step};
use crate::tools::CARGO_DENY;

pub(crate) const DENY: Step = Step {
    name: "deny",
    about: "licences, sources, duplicates and advisories of all dependencies (cargo-deny)",
    group: Group::Lint,
    needs: &[],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let mut report = Report::default();
    let found = if context.install_tools {
        Some(CARGO_DENY.install(context)?)
    } else {
        CARGO_DENY.find(context)
    };
    let Some(deny) = found else {
        report.skipped = true;
        report.leg_not_run(
            "all of it",
            "cargo-deny is not at hand; `cargo xtask deny` installs it",
        );
        return Ok(report);
    };
    let shell = &context.shell;
    cmd!(
        shell,
        "{deny} --log-level warn check --hide-inclusion-graph licenses bans sources"
    )
    .run()?;
    // The database of advisories is a git repository: it may be out of reach.
    let fetched = cmd!(shell, "{deny} --log-level error fetch db")
        .quiet()
        .ignore_status()
        .output()?;
    if fetched.status.success() {
        cmd!(
            shell,
            "{deny} --log-level warn check --disable-fetch advisories"
        )
        .run()?;
    } else {
        let log = String::from_utf8_lossy(&fetched.stderr);
        let reason = log
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no reason given");
        report.leg_not_run(
            "advisories",
            format!("the database could not be fetched: {}", reason.trim()),
        );
    }
    Ok(report)
}
