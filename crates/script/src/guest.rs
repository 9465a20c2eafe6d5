//! One guest: a module whose function is called, with everything that it
//! prints and the report of how it ended.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use trapline_activation::panic::catch;
use trapline_embed::{
    DEFAULT_BACKTRACE_LIMIT, Engine, Error, Func, Instance, InstantiateError, Linker, Module,
    Printable, Store, StoreLimits, Val,
};

use crate::console::Console;
use crate::host::{self, Panicked};
use crate::report::{
    Chain, STATUS_FAILURE, STATUS_PANIC, STATUS_SUCCESS, STATUS_TRAP, STATUS_USAGE, TrapReport,
};
use crate::values::{self, Shown};

/// How a guest is run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GuestOptions {
    /// The exported function to call; else `_start`, or else `main`, or else
    /// the only exported function, or none if there is none.
    pub invoke: Option<String>,
    /// The function's arguments as text, see [`values::parse`].
    pub arguments: Vec<String>,
    /// The stack that guests may use, in bytes, if not what is the default.
    pub max_wasm_stack: Option<usize>,
    /// The bytes that all memories of the guest may have together, if they are limited.
    pub max_memory: Option<u64>,
    /// The elements that all tables of the guest may have together, if not as many as by default
    /// ([`StoreLimits`]).
    pub max_table_elements: Option<u64>,
    /// The number of frames to keep of a backtrace, from the innermost.
    pub backtrace_limit: usize,
}

impl GuestOptions {
    /// The [`backtrace_limit`](Self::backtrace_limit) unless there is another.
    pub const BACKTRACE_LIMIT: usize = DEFAULT_BACKTRACE_LIMIT;

    /// What the guest's store may have.
    fn limits(&self) -> StoreLimits {
        let mut limits = StoreLimits::new();
        if let Some(bytes) = self.max_memory {
            limits = limits.memory_bytes(bytes);
        }
        if let Some(elements) = self.max_table_elements {
            limits = limits.table_elements(elements);
        }
        limits
    }
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self {
            invoke: None,
            arguments: Vec::new(),
            max_wasm_stack: None,
            max_memory: None,
            max_table_elements: None,
            backtrace_limit: Self::BACKTRACE_LIMIT,
        }
    }
}

/// Runs a guest: instantiates the module with the functions of [`host`], calls
/// its function, prints the results one a line, or how it failed. Returns the
/// exit status and the console.
///
/// A panic of a host function ends the guest with [`STATUS_PANIC`], if panics
/// can be caught (see [`trapline_activation::panic`]).
///
/// The stack has to have room for what the guest may use
/// ([`GuestOptions::max_wasm_stack`]), and for the host.
pub fn run_guest<C: Console>(
    engine: &Engine,
    module: &Module,
    options: &GuestOptions,
    console: C,
) -> (u8, C) {
    let mut store = Store::new(engine, console);
    if let Some(bytes) = options.max_wasm_stack {
        store.set_max_wasm_stack(bytes);
    }
    store.set_limits(options.limits());
    store.set_backtrace_limit(options.backtrace_limit);
    // A panic of a host function goes on unwinding out of the guest; it ends
    // the guest here, as it would end a program.
    let status = match catch(|| run(&mut store, module, options)) {
        Ok(Ok(status)) => status,
        Ok(Err(Failure::Usage(message))) => {
            store.data_mut().stderr(&format!("error: {message}\n"));
            STATUS_USAGE
        }
        Ok(Err(Failure::Other(error))) => {
            let text = Chain(error.as_ref()).to_string();
            store.data_mut().stderr(&text);
            STATUS_FAILURE
        }
        // The panic hook has said what others said.
        Err(payload) => {
            if let Some(panicked) = payload.downcast_ref::<Panicked>() {
                store.data_mut().stderr(&format!("error: {panicked}\n"));
            }
            STATUS_PANIC
        }
    };
    (status, store.into_data())
}

/// Why a guest was not run to its end (a trap is an end).
enum Failure {
    /// The options do not fit the module.
    Usage(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn run<C: Console>(
    store: &mut Store<C>,
    module: &Module,
    options: &GuestOptions,
) -> Result<u8, Failure> {
    let mut linker = Linker::new(store.engine());
    host::define(&mut linker)?;
    let instance = match linker.instantiate(store, module) {
        Ok(instance) => instance,
        Err(InstantiateError::Trap(error)) => return Ok(report(store, &error)),
        Err(InstantiateError::Link(error)) => {
            let text = format!(
                "{}note: guests can import the functions of `{}` only\n",
                Chain(&error),
                host::MODULE
            );
            store.data_mut().stderr(&text);
            return Ok(STATUS_FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let Some((name, func)) = function(store, instance, options)? else {
        return Ok(STATUS_SUCCESS);
    };
    let arguments = arguments(store, &name, func, options)?;
    match func.call(store, &arguments) {
        Ok(results) => {
            for result in &results {
                store.data_mut().stdout(&format!("{}\n", Shown(result)))?;
            }
            Ok(STATUS_SUCCESS)
        }
        Err(error) => Ok(report(store, &error)),
    }
}

/// The function to call, with its name; `None` if nothing is to be called.
fn function<C: Console>(
    store: &mut Store<C>,
    instance: Instance,
    options: &GuestOptions,
) -> Result<Option<(String, Func)>, Failure> {
    let exports: Vec<(String, Func)> = instance
        .exports(store)
        .into_iter()
        .filter_map(|(name, item)| Some((name, item.into_func()?)))
        .collect();
    let list = || {
        let names: Vec<_> = exports
            .iter()
            .map(|(name, _)| format!("`{}`", Printable(name)))
            .collect();
        names.join(", ")
    };
    let find = |wanted: &str| exports.iter().find(|(name, _)| name == wanted).cloned();
    match &options.invoke {
        Some(name) => match find(name) {
            Some(func) => Ok(Some(func)),
            None => Err(Failure::Usage(format!(
                "the module exports no function `{}`; it exports: {}",
                Printable(name),
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

fn arguments<C: Console>(
    store: &mut Store<C>,
    name: &str,
    func: Func,
    options: &GuestOptions,
) -> Result<Vec<Val>, Failure> {
    let ty = func.ty(store);
    let expected = ty.params().len();
    if expected != options.arguments.len() {
        let arguments = if expected == 1 {
            "argument"
        } else {
            "arguments"
        };
        return Err(Failure::Usage(format!(
            "`{}` is {ty}: {expected} {arguments} expected, {} given",
            Printable(name),
            options.arguments.len()
        )));
    }
    let mut values = Vec::with_capacity(options.arguments.len());
    for (text, ty) in options.arguments.iter().zip(ty.params()) {
        let value = values::parse(text, ty);
        values.push(value.map_err(|error| Failure::Usage(error.to_string()))?);
    }
    Ok(values)
}

/// Reports what a guest ended with, or why it could not be called.
fn report<C: Console>(store: &mut Store<C>, error: &Error) -> u8 {
    store.data_mut().stderr(&TrapReport(error).to_string());
    if error.is_trap() {
        STATUS_TRAP
    } else {
        STATUS_FAILURE
    }
}
