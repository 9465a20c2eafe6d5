//! Compiling, linking, and the ways to do so that every behaviour must hold in.

use std::fmt;
use std::sync::Arc;

use trapline_embed::{
    Engine, Error, Func, Instance, Landing, Linker, Module, Store, StoreContext, WasmBacktrace,
};
use trapline_wasmtime::compile::{CompileOptions, compile};

/// A way to compile guests and to leave them.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub hardware_traps: bool,
    pub landing: Landing,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traps = if self.hardware_traps {
            "hardware traps"
        } else {
            "explicit checks"
        };
        write!(f, "{traps}, {:?}", self.landing)
    }
}

/// Runs `test` in each of the ways.
pub fn in_every_setup(test: impl Fn(Setup)) {
    for hardware_traps in [true, false] {
        for landing in [Landing::Pad, Landing::SavedContext] {
            let setup = Setup {
                hardware_traps,
                landing,
            };
            println!("with {setup}");
            test(setup);
        }
    }
}

impl Setup {
    pub fn artifact(self, wat: &str) -> Vec<u8> {
        let options = CompileOptions::host();
        let options = if self.hardware_traps {
            options
        } else {
            options.explicit_checks()
        };
        compile(wat.as_bytes(), &options).unwrap_or_else(|error| panic!("{error:?}\n{wat}"))
    }

    pub fn module(self, engine: &Engine, wat: &str) -> Module {
        // SAFETY: the compiler's own output, unchanged.
        unsafe { Module::load(engine, &self.artifact(wat)) }.expect("an artifact of the compiler")
    }

    pub fn store<T>(self, engine: &Engine, data: T) -> Store<T> {
        let mut store = Store::new(engine, data);
        store.set_landing(self.landing);
        store
    }

    /// An instance in a store of its own, with what `link` defines.
    pub fn instance<T>(
        self,
        wat: &str,
        data: T,
        link: impl FnOnce(&mut Linker<T>),
    ) -> (Store<T>, Instance) {
        let engine = Engine::new();
        let module = self.module(&engine, wat);
        let mut store = self.store(&engine, data);
        let mut linker = Linker::new(&engine);
        link(&mut linker);
        let instance = linker
            .instantiate(&mut store, &module)
            .expect("it instantiates");
        (store, instance)
    }
}

/// The exported function of type `() -> ()`, called; its error.
pub fn call_to_fail<T>(store: &mut StoreContext<T>, instance: Instance, name: &str) -> Error {
    let func = instance
        .get_func(store, name)
        .expect("an exported function");
    fail(store, func)
}

/// The function of type `() -> ()`, called; its error.
pub fn fail<T>(store: &mut StoreContext<T>, func: Func) -> Error {
    func.call(store, &[]).expect_err("the call fails")
}

/// The names of the functions in a backtrace, innermost first.
pub fn names(backtrace: &WasmBacktrace) -> Vec<String> {
    backtrace
        .frames()
        .iter()
        .map(|frame| {
            frame
                .function_name()
                .map_or_else(|| format!("#{}", frame.function_index()), ToOwned::to_owned)
        })
        .collect()
}

/// An error of a host, with a payload that counts its owners.
#[derive(Debug)]
pub struct HostError {
    pub code: u32,
    pub alive: Arc<()>,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host error {}", self.code)
    }
}

impl std::error::Error for HostError {}
