//! The program `trapline`; see the crate's README for its commands, output
//! formats and exit statuses.

mod commands;

use std::process::ExitCode;

use clap::Parser;
use trapline_script::report::{Chain, STATUS_FAILURE, STATUS_USAGE};
use trapline_wasmtime::compile::is_compiling;

use crate::commands::{Command, Failure};

/// Compiles, runs and inspects WebAssembly modules, and reports their traps.
#[derive(Parser)]
#[command(name = "trapline", version, max_term_width = 100)]
struct CommandLine {
    /// Log events to standard error: a level, or directives such as
    /// `trapline_embed=debug` [default: the variable TRAPLINE_LOG, or none]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Wrong command lines end here, with status 2.
    let CommandLine { log, command } = CommandLine::parse();
    if let Some(filter) = log.or_else(|| std::env::var("TRAPLINE_LOG").ok()) {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    leave_the_compilers_panics_to_its_errors();
    match command.run() {
        Ok(status) => status,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(STATUS_USAGE)
        }
        Err(Failure::Other(error)) => {
            eprint!("{}", Chain(error.as_ref()));
            ExitCode::from(STATUS_FAILURE)
        }
    }
}

/// A panic of the compiler is an error that is reported as such: its message is
/// not shown besides.
fn leave_the_compilers_panics_to_its_errors() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_compiling() {
            report(panic);
        }
    }));
}
