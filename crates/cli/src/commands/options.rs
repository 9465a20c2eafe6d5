//! Options that several commands share.

use clap::{Args, ValueEnum};
use trapline_wasmtime::compile::CompileOptions;

/// How a module is compiled.
#[derive(Args)]
pub(crate) struct CompileArgs {
    /// Find traps by explicit checks in the compiled code, without signals
    #[arg(long)]
    explicit_checks: bool,

    /// How hard the compiler tries
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = OptLevel::Speed)]
    opt_level: OptLevel,
}

/// How hard the compiler tries.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptLevel {
    /// Compile fast
    None,
    /// Compile to fast code
    Speed,
}

impl CompileArgs {
    /// The compiler's settings, for this machine or for `target`.
    pub(crate) fn options(&self, target: Option<&str>) -> CompileOptions {
        let mut options = match target {
            Some(triple) => CompileOptions::for_target(triple),
            None => CompileOptions::host(),
        };
        if self.explicit_checks {
            options.signals_based_traps = false;
        }
        options.optimize = self.opt_level == OptLevel::Speed;
        options
    }

    /// Whether an option differs from its default: then it is of no use for a
    /// module that is compiled already.
    pub(crate) fn are_given(&self) -> bool {
        self.explicit_checks || self.opt_level != OptLevel::Speed
    }
}
