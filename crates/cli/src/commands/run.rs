//! `trapline run`.

use std::any::Any;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use trapline_cli::host::{self, Panicked};
use trapline_cli::report::{Chain, STATUS_FAILURE, STATUS_PANIC, STATUS_TRAP, TrapReport};
use trapline_cli::source::Source;
use trapline_cli::values::{self, Shown};
use trapline_embed::{Engine, Error, Func, Instance, InstantiateError, Linker, Module, Store, Val};

use super::Failure;
use super::options::CompileArgs;

/// Run a module's function, and report how it trapped if it did
///
/// The module is instantiated, which runs its start function if it has one.
/// Then the function NAME is called; without --invoke, the export `_start`, or
/// else `main`, or else the only exported function, or none if there is none.
/// Its results are printed, one a line. Guests can import what the module
/// `host` offers (see the README); there is no WASI.
#[derive(Args)]
pub(crate) struct Run {
    /// The module: text, binary or compiled
    file: PathBuf,

    /// The exported function to call
    #[arg(long, value_name = "NAME")]
    invoke: Option<String>,

    /// The function's arguments: decimal or 0x… integers, floating-point
    /// numbers or their bits as 0x…, 128 bits as 0x…, `null`, or the number of
    /// a host reference
    #[arg(allow_hyphen_values = true)]
    args: Vec<String>,

    /// The stack that guests may use, in bytes [default: that of the embedder]
    #[arg(long, value_name = "BYTES")]
    max_wasm_stack: Option<usize>,

    /// The number of frames to keep of a backtrace, from the innermost; 0 for
    /// none
    #[arg(long, value_name = "N", default_value_t = 100)]
    backtrace_limit: usize,

    #[command(flatten)]
    compile: CompileArgs,
}

impl Run {
    /// Runs the guest on a thread whose stack has room for it, and for the host
    /// functions that it calls.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        const HOST_STACK: usize = 4 << 20;
        let stack = self
            .max_wasm_stack
            .unwrap_or_default()
            .saturating_add(HOST_STACK);
        let thread = std::thread::Builder::new()
            .name("guest".into())
            .stack_size(stack);
        let thread = thread
            .spawn(move || self.run_here())
            .context("cannot make a thread with a stack for the guest")?;
        thread
            .join()
            .unwrap_or_else(|payload| Ok(report_panic(payload)))
    }

    fn run_here(self) -> Result<ExitCode, Failure> {
        let source = Source::read(&self.file)?;
        if matches!(source, Source::Compiled(_)) && self.compile.are_given() {
            return Err(Failure::Usage(format!(
                "{} is compiled already: --explicit-checks and --opt-level are for `compile`",
                self.file.display()
            )));
        }
        let artifact = source.into_artifact(&self.compile.options(None))?;
        let engine = Engine::new();
        // SAFETY: the file is the user's, who says that the compiler made it.
        let module = unsafe { Module::load(&engine, &artifact) }
            .with_context(|| format!("cannot load {}", self.file.display()))?;

        let mut store = Store::new(&engine, ());
        if let Some(bytes) = self.max_wasm_stack {
            store.set_max_wasm_stack(bytes);
        }
        store.set_backtrace_limit(self.backtrace_limit);
        let mut linker = Linker::new(&engine);
        host::define(&mut linker)?;

        // A panic of a host function goes on unwinding out of the guest; it
        // ends the program here, as it would end any other.
        let guest = AssertUnwindSafe(|| self.run_guest(&mut store, &linker, &module));
        match catch_unwind(guest) {
            Ok(result) => result,
            Err(payload) => Ok(report_panic(payload)),
        }
    }

    fn run_guest(
        &self,
        store: &mut Store<()>,
        linker: &Linker<()>,
        module: &Module,
    ) -> Result<ExitCode, Failure> {
        let instance = match linker.instantiate(store, module) {
            Ok(instance) => instance,
            Err(InstantiateError::Trap(error)) => return Ok(self.report(&error)),
            Err(InstantiateError::Link(error)) => {
                eprint!("{}", Chain(&error));
                eprintln!(
                    "note: guests can import the functions of `{}` only",
                    host::MODULE
                );
                return Ok(ExitCode::from(STATUS_FAILURE));
            }
            Err(error) => return Err(error.into()),
        };
        let Some((name, func)) = self.function(store, instance)? else {
            return Ok(ExitCode::SUCCESS);
        };
        let arguments = self.arguments(store, &name, func)?;
        match func.call(store, &arguments) {
            Ok(results) => {
                let mut out = std::io::stdout().lock();
                for result in &results {
                    writeln!(out, "{}", Shown(result))?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => Ok(self.report(&error)),
        }
    }

    /// The function to call, with its name; `None` if nothing is to be called.
    fn function(
        &self,
        store: &mut Store<()>,
        instance: Instance,
    ) -> Result<Option<(String, Func)>, Failure> {
        let exports: Vec<(String, Func)> = instance
            .exports(store)
            .into_iter()
            .filter_map(|(name, item)| Some((name, item.into_func()?)))
            .collect();
        let list = || {
            let names: Vec<_> = exports
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            names.join(", ")
        };
        let find = |wanted: &str| exports.iter().find(|(name, _)| name == wanted).cloned();
        match &self.invoke {
            Some(name) => match find(name) {
                Some(func) => Ok(Some(func)),
                None => Err(Failure::Usage(format!(
                    "the module exports no function `{name}`; it exports: {}",
                    if exports.is_empty() {
                        "none".into()
                    } else {
                        list()
                    }
                ))),
            },
            None => match (find("_start").or_else(|| find("main")), &exports[..]) {
                (Some(func), _) => Ok(Some(func)),
                (None, []) => Ok(None),
                (None, [only]) => Ok(Some(only.clone())),
                (None, _) => Err(Failure::Usage(format!(
                    "which function? Give --invoke one of: {}",
                    list()
                ))),
            },
        }
    }

    fn arguments(
        &self,
        store: &mut Store<()>,
        name: &str,
        func: Func,
    ) -> Result<Vec<Val>, Failure> {
        let ty = func.ty(store);
        if ty.params().len() != self.args.len() {
            return Err(Failure::Usage(format!(
                "`{name}` is {ty}: {} arguments expected, {} given",
                ty.params().len(),
                self.args.len()
            )));
        }
        let mut values = Vec::with_capacity(self.args.len());
        for (text, ty) in self.args.iter().zip(ty.params()) {
            let value = values::parse(text, ty);
            values.push(value.map_err(|error| Failure::Usage(error.to_string()))?);
        }
        Ok(values)
    }

    /// Reports what a guest ended with, or why it could not be called.
    fn report(&self, error: &Error) -> ExitCode {
        // What the guest printed comes first, whatever the two streams are.
        let _ = std::io::stdout().flush();
        let backtrace_limit = self.backtrace_limit;
        eprint!(
            "{}",
            TrapReport {
                error,
                backtrace_limit
            }
        );
        ExitCode::from(if error.trap().is_some() {
            STATUS_TRAP
        } else {
            STATUS_FAILURE
        })
    }
}

/// Says what a panic said, unless the panic hook already did.
fn report_panic(payload: Box<dyn Any + Send>) -> ExitCode {
    if let Some(panicked) = payload.downcast_ref::<Panicked>() {
        eprintln!("error: {panicked}");
    }
    ExitCode::from(STATUS_PANIC)
}
