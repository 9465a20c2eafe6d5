//! The program `trapline`; see the crate's README for its commands, output
//! formats and exit statuses.

// What is printed goes through `output`, which knows what to do when it can't be.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod artifact_file;
mod commands;
mod output;

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
    let CommandLine { log, command } = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(usage) => return output::print_usage(&usage),
    };
    if let Some(filter) = log.or_else(|| std::env::var("TRAPLINE_LOG").ok()) {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            // It would say so there, and panic.
            .log_internal_errors(false)
            .init();
    }
    leave_the_compilers_panics_to_its_errors();
    let status = match command.run() {
        Ok(status) => status,
        Err(Failure::Usage(message)) => {
            output::say(format_args!("error: {message}\n"));
            STATUS_USAGE
        }
        Err(Failure::Other(error)) => {
            output::say(Chain(error.as_ref()));
            STATUS_FAILURE
        }
    };
    output::exit(status)
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
