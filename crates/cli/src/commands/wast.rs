//! `trapline wast`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use trapline_cli::features;
use trapline_cli::wast::{Exclusions, Options, Outcome, Runner};
use trapline_script::report::{STATUS_FAILURE, STATUS_SUCCESS};

use super::Failure;
use crate::output;

/// Run scripts of the specification's test suite
///
/// Prints each failure with its file and line, then how many directives of
/// each kind passed, failed or were skipped, and last `N passed, N failed, N
/// skipped` for all together. The exit status is 0 only if none failed.
#[derive(Args)]
pub(crate) struct Wast {
    /// The scripts
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Find traps by explicit checks in the compiled code, without signals
    #[arg(long)]
    explicit_checks: bool,

    /// Give memories no room to grow in place, so that each growth moves them
    #[arg(long)]
    move_memories: bool,

    /// What modules may use: versions (wasm1, wasm2, wasm3, all) and
    /// proposals, separated by commas; a minus sign takes one away
    #[arg(long, value_name = "LIST", default_value = "all")]
    features: String,

    /// A list of scripts and directives to leave out, each with its reason
    #[arg(long, value_name = "FILE")]
    exclusions: Option<PathBuf>,
}

impl Wast {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let features = features::parse(&self.features).map_err(Failure::Usage)?;
        let exclusions = match &self.exclusions {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Exclusions::parse(&text).with_context(|| path.display().to_string())?
            }
            None => Exclusions::default(),
        };
        let runner = Runner::new(Options {
            explicit_checks: self.explicit_checks,
            move_memories: self.move_memories,
            features,
            exclusions,
        })?;
        let mut sum = Outcome::default();
        for path in &self.files {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let outcome = runner.run(&path.display().to_string(), &text);
            output::print(|out| {
                (outcome.failures.iter()).try_for_each(|failure| writeln!(out, "{failure}"))
            });
            sum.merge(outcome);
        }
        output::print(|out| write!(out, "{sum}"));
        Ok(if sum.total().failed == 0 {
            STATUS_SUCCESS
        } else {
            STATUS_FAILURE
        })
    }
}
