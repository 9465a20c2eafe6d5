//! The same guests and scripts in a process.

use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use trapline_embed::Engine;
use trapline_script::{Bundle, Env, OsThreads, Threads as _, run_guests, run_scripts};

const USAGE: &str = "usage: trapline-test-image BUNDLE… [--guests] [--scripts] [--filter NAME]

Runs the guests and the specification's scripts of bundles; with an option, only the
guests or the scripts; with a filter, only those with this in their names.";

/// What guests may use, and the host functions that they call.
const STACK: usize = 16 << 20;

pub(crate) fn main() -> ExitCode {
    let runner = thread::Builder::new()
        .stack_size(STACK)
        // An error is not sent to another thread: it is printed where it is found.
        .spawn(|| {
            run().unwrap_or_else(|error| {
                eprintln!("error: {error}");
                false
            })
        });
    match runner.map(thread::JoinHandle::join) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs what the command line says; whether all did as expected.
fn run() -> Result<bool, Box<dyn Error>> {
    let (mut paths, mut guests, mut scripts, mut filter) =
        (Vec::new(), false, false, String::new());
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--guests" => guests = true,
            "--scripts" => scripts = true,
            "--filter" => filter = arguments.next().ok_or(USAGE)?,
            _ if argument.starts_with('-') => return Err(USAGE.into()),
            _ => paths.push(argument),
        }
    }
    if paths.is_empty() {
        return Err(USAGE.into());
    }
    let all = !guests && !scripts;

    let mut passed = true;
    for path in paths {
        let bytes = fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        // SAFETY: whoever calls this program names what trapline-bundle wrote.
        let bundle = unsafe { Bundle::parse(kept(bytes)) }?;
        println!("{}, {}", bundle.isa(), bundle.traps());
        let mut env = Env {
            engine: &Engine::new(),
            threads: Arc::new(OsThreads),
            workers: OsThreads.parallelism(),
            catches_panics: true,
            max_wasm_stack: None,
            filter: &filter,
            log: &mut Stdout,
        };
        if guests || all {
            passed &= run_guests(&bundle, &mut env).failed == 0;
        }
        if scripts || all {
            passed &= run_scripts(&bundle, &mut env).total().failed == 0;
        }
    }
    Ok(passed)
}

/// Keeps `bytes` for the life of the process, as if they were a part of it: a static leads to them, by
/// which leak checkers know.
fn kept(bytes: Vec<u8>) -> &'static [u8] {
    static ALL: Mutex<Vec<&'static [u8]>> = Mutex::new(Vec::new());
    let bytes = bytes.leak();
    ALL.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(bytes);
    bytes
}

/// Standard output as a log.
struct Stdout;

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print!("{text}");
        Ok(())
    }
}
