//! `trapline inspect`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use trapline_cli::inspect::Inspection;
use trapline_cli::source::Source;
use trapline_script::report::STATUS_SUCCESS;
use trapline_wasmtime::Artifact;

use super::Failure;
use super::options::CompileArgs;
use crate::output;

/// List the functions, trap sites and address map of a module's code
///
/// A module that is not compiled yet is compiled first.
#[derive(Args)]
pub(crate) struct Inspect {
    /// The module: text, binary or compiled
    file: PathBuf,

    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,

    /// The target to compile for [default: this machine]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,

    #[command(flatten)]
    compile: CompileArgs,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let source = Source::read(&self.file)?;
        let compiled = matches!(source, Source::Compiled(_));
        if compiled && (self.compile.are_given() || self.target.is_some()) {
            return Err(Failure::Usage(format!(
                "{} is compiled already: a target and options for the compiler are for `compile`",
                self.file.display()
            )));
        }
        let bytes = source.into_artifact(&self.compile.options(self.target.as_deref()))?;
        let artifact = Artifact::parse_any_target(bytes)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let inspection = Inspection::new(&artifact);
        output::print(|out| {
            if self.json {
                inspection.write_json(out)
            } else {
                write!(out, "{inspection}")
            }
        });
        Ok(STATUS_SUCCESS)
    }
}
