//! Runs a bundle on the operating system: `run_bundle FILE [--guests]
//! [--scripts] [FILTER]`. The exit status is 0 only if nothing failed.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use trapline_embed::Engine;
use trapline_script::{Bundle, Env, OsThreads, Threads as _, run_guests, run_scripts};

/// Standard output as a log.
struct Stdout;

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print!("{text}");
        Ok(())
    }
}

/// What guests may use, and the host functions that they call.
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let thread = thread.spawn(run).expect("a thread with a stack for guests");
    match thread.join() {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) | Err(_) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the bundle; whether all did as expected.
fn run() -> anyhow::Result<bool> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: run_bundle FILE [--guests] [--scripts] [FILTER]";
    let path = args.next().ok_or_else(|| anyhow::anyhow!(usage))?;
    let (mut guests, mut scripts, mut filter) = (false, false, String::new());
    for arg in args {
        match &*arg {
            "--guests" => guests = true,
            "--scripts" => scripts = true,
            _ => filter = arg,
        }
    }
    let all = !guests && !scripts;

    // For the life of the process, as if it were a part of it.
    let bytes: &'static [u8] = std::fs::read(path)?.leak();
    // SAFETY: the file is the user's, who says that trapline-bundle made it.
    let bundle = unsafe { Bundle::parse(bytes) }?;
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
    let mut good = true;
    if guests || all {
        good &= run_guests(&bundle, &mut env).failed == 0;
    }
    if scripts || all {
        good &= run_scripts(&bundle, &mut env).total().failed == 0;
    }
    Ok(good)
}
