//! What the tests share: every guest runs in all modes.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::LazyLock;

use trapline_embed::{
    Engine, EngineConfig, Instance, InstantiateError, Landing, Linker, MemoryRelocation,
    MemorySettings, Module, Store,
};
use trapline_wasmtime::compile::{CompileOptions, Compiler};

/// A way to compile guests and to run them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Hardware traps, large reservations; left for the landing pad.
    Hardware,
    /// The same, left for a saved context, and with the trap instructions of the compiler.
    HardwareSaved,
    /// Hardware traps, and memories that move on every growth.
    HardwareMoving,
    /// Explicit checks, large reservations, left for a saved context.
    Explicit,
    /// Explicit checks, and memories that move on every growth.
    ExplicitMoving,
}

pub(crate) const MODES: [Mode; 5] = [
    Mode::Hardware,
    Mode::HardwareSaved,
    Mode::HardwareMoving,
    Mode::Explicit,
    Mode::ExplicitMoving,
];

impl Mode {
    pub(crate) fn uses_hardware_traps(self) -> bool {
        matches!(
            self,
            Self::Hardware | Self::HardwareSaved | Self::HardwareMoving
        )
    }

    pub(crate) fn moves_memories(self) -> bool {
        matches!(self, Self::HardwareMoving | Self::ExplicitMoving)
    }

    pub(crate) fn options(self) -> CompileOptions {
        let mut options = CompileOptions::host();
        // Reserved address space is of use without hardware traps, too.
        options.signals_based_traps = self.uses_hardware_traps();
        if self.moves_memories() {
            options = options.compact_memories();
        }
        options
    }

    fn compiler(self) -> &'static Compiler {
        static COMPILERS: LazyLock<Vec<Compiler>> = LazyLock::new(|| {
            let compiler = |mode: Mode| Compiler::new(&mode.options()).expect("options fit");
            MODES.into_iter().map(compiler).collect()
        });
        let index = MODES.iter().position(|mode| *mode == self);
        &COMPILERS[index.expect("every mode is in the list")]
    }

    pub(crate) fn compile(self, wat: &str) -> Vec<u8> {
        let artifact = self.compiler().compile(wat.as_bytes());
        artifact.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    }

    pub(crate) fn engine(self) -> Engine {
        Engine::with_config(EngineConfig {
            host_memory: if self.moves_memories() {
                MemorySettings::COMPACT
            } else {
                MemorySettings::DEFAULT
            },
            trap_by_hlt: self != Self::HardwareSaved,
            ..EngineConfig::default()
        })
    }

    pub(crate) fn module(self, engine: &Engine, wat: &str) -> Module {
        // SAFETY: the compiler's own output, unchanged.
        unsafe { Module::load(engine, &self.compile(wat)) }.expect("compiled for this machine")
    }

    pub(crate) fn store<T>(self, engine: &Engine, data: T) -> Store<T> {
        let mut store = Store::new(engine, data);
        store.set_landing(match self {
            Self::HardwareSaved | Self::Explicit => Landing::SavedContext,
            Self::Hardware | Self::HardwareMoving | Self::ExplicitMoving => Landing::Pad,
        });
        if self.moves_memories() {
            store.set_memory_relocation(MemoryRelocation::MoveOnGrow);
        }
        store
    }

    /// A store with an instance of a module that imports nothing.
    pub(crate) fn instance(self, wat: &str) -> (Store<()>, Instance) {
        self.instance_with(wat, (), |_| {})
    }

    /// A store with an instance of a module that imports what `define` defines.
    pub(crate) fn instance_with<T>(
        self,
        wat: &str,
        data: T,
        define: impl FnOnce(&mut Linker<T>),
    ) -> (Store<T>, Instance) {
        let (store, instance) = self.try_instance_with(wat, data, define);
        (
            store,
            instance.unwrap_or_else(|error| panic!("{self:?}: {error}")),
        )
    }

    pub(crate) fn try_instance_with<T>(
        self,
        wat: &str,
        data: T,
        define: impl FnOnce(&mut Linker<T>),
    ) -> (Store<T>, Result<Instance, InstantiateError>) {
        let engine = self.engine();
        let module = self.module(&engine, wat);
        let mut store = self.store(&engine, data);
        let mut linker = Linker::new(&engine);
        define(&mut linker);
        let instance = linker.instantiate(&mut store, &module);
        (store, instance)
    }
}
