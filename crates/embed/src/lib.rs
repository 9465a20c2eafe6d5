//! The reference embedder.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod append_list;
mod backtrace;
mod builtins;
mod caller;
mod definition;
mod engine;
mod error;
mod float;
mod func;
mod global;
mod host_func;
mod instance;
mod instantiate;
mod linear_memory;
mod linker;
mod memory;
mod module;
mod parking;
pub mod platform;
mod shared_memory;
mod store;
mod store_core;
mod sync;
mod table;
mod type_registry;
mod typed;
mod types;
mod value;

pub use backtrace::{WasmBacktrace, WasmFrame};
pub use caller::Caller;
pub use engine::{Engine, EngineConfig};
pub use error::{Error, UsageError};
pub use func::Func;
pub use global::Global;
pub use instance::{Extern, Instance};
pub use instantiate::{InstantiateError, LinkError, LinkErrorKind};
pub use linear_memory::{MemoryError, MemorySettings};
pub use linker::Linker;
pub use memory::Memory;
pub use module::{ExportType, ImportType, LoadError, Module};
pub use parking::WaitOutcome;
pub use shared_memory::SharedMemory;
pub use store::{Landing, MemoryRelocation, Store, StoreContext};
pub use store_core::StoreId;
pub use table::Table;
pub use type_registry::UnsupportedType;
pub use typed::{HostReturn, IntoFunc, TypedFunc, WasmValue, WasmValues};
pub use types::{
    ExternType, FuncType, GlobalType, HeapType, IndexType, Limits, MemoryType, RefType, TableType,
    TypeIndex, ValType,
};
pub use value::{ExternRef, Val};
