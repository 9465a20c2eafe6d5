//! The steps, in the order in which CI runs them: what fails fastest comes first.

mod circles;
mod clippy;
mod counts;
mod deny;
mod doc;
mod features;
mod fmt;
mod forwarding;
mod handlers;
mod layering;
mod loom;
mod manifests;
mod miri;
mod no_std;
mod package;
pub(crate) mod test;
mod tidy;

pub(crate) use deny::DENY;
pub(crate) use doc::DOC;
pub(crate) use features::FEATURES;

use anyhow::{Result, bail};

use crate::legs;
use crate::step::{Report, Step};

pub(crate) const ALL: &[&Step] = &[
    &fmt::FMT,
    &tidy::TIDY,
    &manifests::MANIFESTS,
    &layering::LAYERING,
    &forwarding::FORWARDING,
    &circles::CIRCLES,
    &handlers::HANDLERS,
    &package::PACKAGE,
    &DENY,
    &clippy::CLIPPY,
    &DOC,
    // Not `FEATURES`: clippy has just checked the same combinations, which
    // `cargo xtask features` builds without it.
    &no_std::NO_STD,
    &loom::LOOM,
    &test::TEST,
    &counts::COUNTS,
    &legs::AARCH64,
    &legs::RISCV64,
    &legs::S390X,
    &legs::MUSL,
    &legs::ASAN,
    &legs::TSAN,
    &miri::MIRI,
    &legs::BARE_X86_64,
    &legs::BARE_AARCH64,
    &legs::BARE_RISCV64,
];

/// Lists `problems`, one a line, and fails if there are any.
fn fail_with(problems: &[String]) -> Result<Report> {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    match problems.len() {
        0 => Ok(Report::default()),
        1 => bail!("{}", problems[0]),
        count => bail!("{count} problems, listed above"),
    }
}
