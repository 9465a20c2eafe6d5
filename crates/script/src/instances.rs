//! The instances that a script's names stand for, and what imports get from
//! them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use trapline_embed::{
    Engine, Extern, Func, FuncType, Instance, Module, SharedMemory, Store, ValType,
};

/// The print functions of the module `spectest`, and their parameters.
const PRINT_FUNCTIONS: &[(&str, &[ValType])] = &[
    ("print", &[]),
    ("print_i32", &[ValType::I32]),
    ("print_i64", &[ValType::I64]),
    ("print_f32", &[ValType::F32]),
    ("print_f64", &[ValType::F64]),
    ("print_i32_f32", &[ValType::I32, ValType::F32]),
    ("print_f64_f64", &[ValType::F64, ValType::F64]),
];

/// Something that exports items by name.
#[derive(Clone)]
pub(super) enum Exports {
    /// An instance in the script's store.
    Instance(Instance),
    /// The module `spectest`: an instance, and host functions.
    Spectest(Instance, Arc<BTreeMap<&'static str, Func>>),
    /// The shared memories of an instance of another thread: all that can be
    /// had from there.
    SharedMemories(Arc<BTreeMap<String, SharedMemory>>),
}

impl Exports {
    /// Instantiates the module `spectest`, whose print functions print
    /// nothing.
    pub(super) fn spectest(
        engine: &Engine,
        store: &mut Store<()>,
        module: &Module,
    ) -> anyhow::Result<Self> {
        let instance = trapline_embed::Linker::new(engine).instantiate(store, module)?;
        let functions = PRINT_FUNCTIONS
            .iter()
            .map(|(name, params)| {
                let ty = FuncType::new(params.iter().copied(), []);
                Ok((*name, Func::new(store, ty, |_, _, _| Ok(()))?))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self::Spectest(instance, Arc::new(functions)))
    }

    /// The export of that name.
    pub(super) fn get(&self, store: &mut Store<()>, name: &str) -> Option<Extern> {
        match self {
            Self::Instance(instance) => instance.get_export(store, name),
            Self::Spectest(instance, functions) => match functions.get(name) {
                Some(function) => Some(Extern::Func(*function)),
                None => instance.get_export(store, name),
            },
            Self::SharedMemories(memories) => memories.get(name).cloned().map(Extern::SharedMemory),
        }
    }

    /// What another thread may have of it.
    pub(super) fn shared_memories(&self, store: &mut Store<()>) -> Self {
        let memories = match self {
            Self::Instance(instance) | Self::Spectest(instance, _) => {
                let exports = instance.exports(store).into_iter();
                let shared =
                    exports.filter_map(|(name, item)| Some((name, item.into_shared_memory()?)));
                Arc::new(shared.collect())
            }
            Self::SharedMemories(memories) => memories.clone(),
        };
        Self::SharedMemories(memories)
    }
}
