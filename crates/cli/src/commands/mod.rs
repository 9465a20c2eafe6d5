//! The commands, one module each.

mod compile;
mod inspect;
mod options;
mod run;
mod wast;

use clap::Subcommand;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a module's function, and report how it trapped if it did
    Run(run::Run),
    /// Compile a module to an artifact that `run` and `inspect` take
    Compile(compile::Compile),
    /// List the functions, trap sites and address map of a module's code
    Inspect(inspect::Inspect),
    /// Run scripts of the specification's test suite
    Wast(wast::Wast),
}

impl Command {
    /// Runs it; gives the exit status.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Compile(compile) => compile.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Wast(wast) => wast.run(),
        }
    }
}

/// Why a command came to nothing (a trap, which is what `run` is there to
/// report, is not among the reasons).
pub(crate) enum Failure {
    /// The command line does not fit the module.
    Usage(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}
