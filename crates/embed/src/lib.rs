//! The reference embedder of trapline: instantiates WebAssembly modules that
//! the Wasmtime 48 compiler has compiled, and runs them, without the Wasmtime
//! runtime. A trap, a host error or a host panic in a guest comes back as what
//! it is, with a true backtrace.
//!
//! It is there to be read: each file is one notion, and what it takes to embed
//! compiled WebAssembly with trapline is all here. Read it from the bottom up: `compiled` is what
//! compiled code sees, `objects` are what a store consists of, then `store`, `calls` (and what they fail
//! with), and `api`. It covers the core
//! specification as far as the compiler supports it without a garbage-collected
//! heap and without exception handling.
//!
//! ```text
//!  Engine     types of all modules, platform
//!    │
//!    ├── Module     an artifact, its code mapped and registered
//!    │
//!    └── Store<T>   owns ─┬─ your data, a T
//!         ▲               ├─ instances: header and context, which compiled code knows
//!         │               ├─ memories, tables, globals
//!         │               ├─ contexts of host functions
//!         │               └─ the words that trampolines write
//!         │
//!    ┌────┴───────────────────────── used through &mut StoreContext<T> ─────┐
//!    │ func.call(&mut store, …)                                             │
//!    │   StoreCore::enter: stack limit, catch_traps                         │
//!    │     entry trampoline ──► guest ──► exit trampoline ──► shim:         │
//!    │                                      closure(Caller<'_, T>, …)       │
//!    │                                        func.call(&mut caller, …) … ──┘
//! ```
//!
//! # Example
//!
//! The artifact comes from `trapline_wasmtime::compile` (or from a file: the
//! program `trapline compile` writes them).
//!
//! ```
//! use trapline_embed::{Caller, Engine, Linker, Module, Store};
//! use trapline_wasmtime::compile::{CompileOptions, compile};
//!
//! let wat = r#"(module $guest
//!     (import "host" "count" (func $count (param i32)))
//!     (memory 1)
//!     (func (export "sum") (param i32) (result i32)
//!         (call $count (local.get 0))
//!         (call $load (local.get 0)))
//!     (func $load (param i32) (result i32)
//!         (i32.add (i32.const 7) (i32.load (local.get 0)))))"#;
//! let artifact = compile(wat.as_bytes(), &CompileOptions::host())?;
//!
//! let engine = Engine::new();
//! // SAFETY: the compiler's own output, unchanged.
//! let module = unsafe { Module::load(&engine, &artifact) }?;
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "count", |mut caller: Caller<'_, u32>, address: i32| {
//!     *caller.data_mut() += 1;
//!     anyhow::ensure!(address != 13, "bad luck");
//!     Ok(())
//! });
//! let mut store = Store::new(&engine, 0);
//! let instance = linker.instantiate(&mut store, &module)?;
//! let sum = instance.get_typed_func::<i32, i32, _>(&mut store, "sum")?;
//! assert_eq!(sum.call(&mut store, 0)?, 7);
//!
//! // A trap is an error with a reason, a place in the guest's memory and a backtrace.
//! let error = sum.call(&mut store, 65536).unwrap_err();
//! assert_eq!(error.to_string(), "wasm trap: out of bounds memory access");
//! assert_eq!(error.wasm_fault().unwrap().wasm_address, 65536);
//! let frames = error.wasm_backtrace().frames();
//! assert_eq!(frames[0].function_name(), Some("load"));
//! assert_eq!(frames.len(), 2);
//!
//! // An error of the host's comes through the guest as it was.
//! let error = sum.call(&mut store, 13).unwrap_err();
//! assert_eq!(error.into_host_error().unwrap().to_string(), "bad luck");
//! assert_eq!(*store.data(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rules that are kept for you
//!
//! No safe function leads to undefined behaviour. What belongs to one store is
//! refused by another; calls check their types, typed ones once; code is
//! linked only with memories that have the room and the guard regions that it was compiled
//! for. Whatever a host function fails with, a mistake in calling something included, is a trap of the guest that
//! called it. What guests make a store have is limited ([`StoreLimits`]). What no embedder can check is whether an artifact's *code* does what
//! it should, so [`Module::load`] is `unsafe`: load only what your own compiler
//! wrote.
//!
//! # Code as it is mapped
//!
//! On x86_64, hosted, modules trap by `hlt` where the compiler had them trap by `ud2`, since
//! hypervisors make the latter several times as dear: a byte of each such instruction is
//! changed when the code is copied, and such a trap is `SIGSEGV`. Disassemblers and debuggers
//! show it. [`EngineConfig::trap_by_hlt`] switches it off.
//!
//! # Coroutines and fibers
//!
//! The guests of a thread are left in the opposite order of that in which they were entered. A host function that
//! switches to another stack keeps to that if it comes back with nothing left on the other one that a guest is in. Who
//! wants to stop in the middle of a guest, and go on later or on another thread, takes the guest's activations along: a scheduler
//! of fibers, with `suspend_activations` of trapline-activation when the fiber stops, and `SuspendedActivations::resume` when it
//! goes on. (Both are `unsafe`; their duties are listed there. The stack limit of a store that is used elsewhere meanwhile is
//! among them.)
//!
//! A library of coroutines that knows nothing of guests can be used without `unsafe`, and break that order. Then
//! the process stops with a message that names the rule: when a guest is left that is not the one entered last, or an
//! error, a panic or a trap comes from a stack that the innermost guest is not on. That is no undefined behaviour, but
//! the end of the process (bare metal: the kernel's panic handler).
//!
//! What is trusted there is the library: that it gives back no stack on which something still lives, and moves none to another
//! thread that has on it what is not `Send`, as the context of a store in use is not. (There are libraries whose coroutines are `Send`
//! whatever is on their stacks: with those, a coroutine that is in a guest stays on its thread.) And stacks have an end: a guest on one may use
//! [`set_max_wasm_stack`](StoreContext::set_max_wasm_stack) bytes of it, which have to be there, with a guard page below. That
//! is so where the store's first entry is: a store that has a guest on another stack already has its limit there.
//!
//! # Without `std`
//!
//! The crate needs `alloc` and a [`platform::Platform`]: memory, and, for code
//! that traps by hardware, exception vectors that call
//! `trapline_activation::handle_wasm_exception`. Code compiled with explicit
//! checks (`CompileOptions::explicit_checks`) needs neither vectors nor memory
//! protection.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

// What needs no store.
mod append_list;
mod backtrace;
mod code;
mod engine;
mod linear_memory;
mod module;
pub mod platform;
mod printable;
mod sync;
mod type_registry;
mod types;
mod usage;

// From what compiled code sees up to what an embedder does.
mod api;
mod calls;
mod compiled;
mod objects;
mod store;

pub use api::linker::Linker;
pub use backtrace::{WasmBacktrace, WasmFrame};
pub use calls::caller::Caller;
pub use calls::error::{Error, TrapReasonRef};
pub use calls::instantiate_error::{InstantiateError, LinkError, LinkErrorKind};
pub use calls::typed::{HostReturn, IntoFunc, TypedFunc, WasmValue, WasmValues};
pub use calls::value::{ExternRef, Val};
pub use engine::{Engine, EngineConfig};
pub use linear_memory::{MemoryError, MemorySettings};
pub use module::{ExportType, ImportType, LoadError, Module};
pub use objects::func::Func;
pub use objects::handles::{Extern, Global, Instance, Memory, Table};
pub use objects::id::StoreId;
pub use objects::limits::StoreLimits;
pub use objects::parking::WaitOutcome;
pub use objects::shared_memory::SharedMemory;
pub use printable::Printable;
pub use store::context::{Store, StoreContext};
pub use store::settings::{DEFAULT_BACKTRACE_LIMIT, Landing, MemoryRelocation};
pub use type_registry::UnsupportedType;
pub use types::{
    ExternType, FuncType, GlobalType, HeapType, IndexType, Limits, MemoryType, RefType, TableType,
    TypeIndex, ValType,
};
pub use usage::UsageError;

#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
