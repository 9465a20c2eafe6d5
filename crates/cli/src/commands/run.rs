//! `trapline run`.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use trapline_cli::guest_args::GuestArgs;
use trapline_cli::source::Source;
use trapline_embed::{Engine, Module};
use trapline_script::report::STATUS_PANIC;
use trapline_script::{Console, GuestOptions, run_guest};
use trapline_wasmtime::{Artifact, Checksum};

use super::Failure;
use super::options::CompileArgs;
use crate::output;

/// Run a module's function, and report how it trapped if it did
///
/// The module is instantiated, which runs its start function if it has one.
/// Then the function NAME is called; without --invoke, the export `_start`, or
/// else `main`, or else the only exported function, or none if there is none.
/// Its results are printed, one a line. Guests can import what the module
/// `host` offers (see the README); there is no WASI.
#[derive(Args)]
pub(crate) struct Run {
    /// The module: text, binary or compiled. What is compiled is machine code that nothing confines,
    /// whatever the file is called: run only what you have compiled
    file: PathBuf,

    #[command(flatten)]
    guest: GuestArgs,

    #[command(flatten)]
    compile: CompileArgs,
}

impl Run {
    /// Runs the guest on a thread whose stack has room for it, and for the host
    /// functions that it calls.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        const HOST_STACK: usize = 4 << 20;
        let Self {
            file,
            guest,
            compile,
        } = self;
        let options = guest.into_options();
        let stack = options
            .max_wasm_stack
            .unwrap_or_default()
            .saturating_add(HOST_STACK);
        let thread = std::thread::Builder::new()
            .name("guest".into())
            .stack_size(stack);
        let thread = thread
            .spawn(move || run_here(file, &options, compile))
            .context("cannot make a thread with a stack for the guest")?;
        // The panic hook has said what happened.
        thread.join().unwrap_or(Ok(STATUS_PANIC))
    }
}

fn run_here(file: PathBuf, options: &GuestOptions, compile: CompileArgs) -> Result<u8, Failure> {
    let source = Source::read(&file)?;
    if matches!(source, Source::Compiled(_)) && compile.are_given() {
        return Err(Failure::Usage(format!(
            "{} is compiled already: options for the compiler are for `compile`",
            file.display()
        )));
    }
    let artifact = source.into_artifact(&compile.options(None))?;
    let engine = Engine::new();
    let cannot_load = || format!("cannot load {}", file.display());
    let artifact = Artifact::parse(artifact).with_context(cannot_load)?;
    if artifact.checksum() == Checksum::Absent {
        let error = anyhow!(
            "it carries no checksum, so that nobody knows whether it is as it was written: compile \
             the module again with `trapline compile`"
        );
        return Err(error.context(cannot_load()).into());
    }
    // SAFETY: the file is the user's, who is told to run none but those that the compiler made, and it
    // is what was written.
    let module = unsafe { Module::from_artifact(&engine, artifact) }.with_context(cannot_load)?;
    let (status, Terminal) = run_guest(&engine, &module, options, Terminal);
    Ok(status)
}

/// The streams of this process.
struct Terminal;

impl Console for Terminal {
    fn stdout(&mut self, text: &str) -> anyhow::Result<()> {
        output::print(|out| out.write_all(text.as_bytes()));
        Ok(())
    }

    fn stderr(&mut self, text: &str) {
        output::say(text);
    }
}
