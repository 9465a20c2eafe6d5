//! The instructions of the hot paths, beside those of the baseline.

use anyhow::Result;

use crate::context::Context;
use crate::counts;
use crate::step::{Group, Machine, Report, Step};

pub(crate) const COUNTS: Step = Step {
    name: "counts",
    about: "hot paths take no more instructions than crates/counts/baseline.toml says",
    group: Group::Test,
    needs: &[Machine::Valgrind],
    run,
};

fn run(context: &Context) -> Result<Report> {
    let reason = if counts::is_possible() {
        match context.valgrind()? {
            Ok(valgrind) => {
                counts::check(context, valgrind)?;
                return Ok(Report::default());
            }
            Err(reason) => reason,
        }
    } else {
        format!("counts are of {}", counts::ARCH.hosted_target())
    };
    Ok(Report::of_nothing(reason))
}
