//! Runs one hot path so many times, and nothing else: `cargo xtask counts` runs it under
//! Callgrind, with a number of times and with twice as many, so that what is there beside the
//! path falls out of the difference.
//!
//! Nothing here may depend on where memory lies, on the time or on chance. Memory comes from
//! an allocator of this program's own, so that the figures are not those of a C library.

mod calls;
mod guest;
mod heap;
mod lookups;
mod paths;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::paths::{Input, PATHS};

const USAGE: &str =
    "usage: trapline-counts paths | guest | run PATH TIMES HARDWARE_TRAPS EXPLICIT_CHECKS";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // One a line: name, times, parts of an operation, text.
        ["paths"] => {
            for path in PATHS {
                println!("{} {} {} {}", path.name, path.times, path.parts, path.what);
            }
        }
        ["guest"] => print!("{}", guest::text()),
        ["run", name, times, hardware_traps, explicit_checks] => {
            let path = PATHS.iter().find(|path| path.name == name);
            let path = path.with_context(|| format!("there is no path {name:?}"))?;
            (path.run)(&Input {
                times: times.parse().context("how many times?")?,
                hardware_traps,
                explicit_checks,
            })?;
        }
        _ => bail!(USAGE),
    }
    Ok(())
}
