//! Artifacts of the Wasmtime compiler, without the Wasmtime runtime: what an
//! embedder of the compiled code, and trapline's registry, need to know of
//! them.
//!
//! ```text
//!                        compile (feature `compile`)
//!   module, .wasm/.wat  ─────────────────────────────►  artifact, an ELF file
//!                                                          │ Artifact::parse: checks everything,
//!                                                          ▼   decodes the module's description
//!   ┌ Artifact ─────────────────────────────────────────────────────────────────────────┐
//!   │ .text               copied by the embedder to executable memory: ModuleCode       │
//!   │ .wasmtime.traps     text offset → trap kind         ┐ read in place, the first    │
//!   │ .wasmtime.addrmap   text offset → bytecode offset   ┘   one by trap handlers      │
//!   │ .wasmtime.info      module, types, where each function lies                       │
//!   │ .wasmtime.engine    compiler version and settings                                 │
//!   │ .rodata.wasm, .name.wasm, .wasmtime.dwarf, …                                      │
//!   └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! * [`Artifact`] is a checked artifact, [`Settings`] what it was compiled for
//!   and with, [`ArtifactError`] why one is refused: the section, the byte, what
//!   was expected there and what was found. [`Checksum`] says whether it is known
//!   to be as it was written.
//! * [`ModuleCode`] is an artifact whose code has been mapped, the
//!   [`CodeObject`] to register.
//! * [`lookup_trap_code`] and [`lookup_bytecode_offset`] read the side tables for those who
//!   have nothing but their sections.
//! * [`vm`] has the records, calling conventions and builtin functions that the
//!   code shares with its embedder.
//! * `compile` (with the feature of this name) is the compiler.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "compile")] {
//! use std::sync::Arc;
//! use trapline_arch::VirtualAddress;
//! use trapline_code_registry::{CodeObject, TrapKind};
//! use trapline_wasmtime::compile::{CompileOptions, compile};
//! use trapline_wasmtime::{Artifact, ModuleCode};
//!
//! let module = b"(module (func (param i32 i32) (result i32)
//!     (i32.div_u (local.get 0) (local.get 1))))";
//! let artifact = Arc::new(Artifact::parse(compile(module, &CompileOptions::host())?)?);
//!
//! // As if the code had been copied there.
//! let base = VirtualAddress::new(0x10_0000);
//! // SAFETY: nothing is executed there in this example.
//! let code = unsafe { ModuleCode::new(artifact.clone(), base) }.unwrap();
//!
//! let site = artifact.iter_traps()
//!     .find(|site| site.kind == TrapKind::IntegerDivisionByZero)
//!     .unwrap();
//! let offset = site.text_offset as usize;
//! assert_eq!(code.lookup_trap_code(offset), Some(TrapKind::IntegerDivisionByZero));
//! assert_eq!(code.lookup_address(offset).unwrap().function, 0);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Trust
//!
//! An artifact is native code. This crate makes sure that its tables hold
//! together, that it fits the machine, and that it was compiled with settings
//! that can be honoured. What the code does, nothing can check: load only what
//! a compiler of your own wrote.
//!
//! Against accidents on the way, what `compile` writes carries a checksum: one
//! flipped bit is an error. Artifacts of the Wasmtime compiler itself have none,
//! and are read as well; damage is found there only if tables contradict each
//! other, and a changed type or index may not. [`Artifact::checksum`] tells.
//!
//! [`CodeObject`]: trapline_code_registry::CodeObject
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod address_map;
mod artifact;
mod block_table;
mod bytes;
mod checksum;
#[cfg(feature = "compile")]
pub mod compile;
mod elf;
mod error;
mod functions;
mod host;
mod isa;
mod metadata;
mod module_code;
mod settings;
mod trap_kind;
mod trap_table;
pub mod vm;

pub use address_map::lookup_bytecode_offset;
pub use artifact::{AddressEntry, Artifact, ArtifactBytes, Function, TrapSite, function_kind_name};
pub use checksum::Checksum;
pub use error::{ArtifactError, ArtifactErrorKind};
pub use host::Cpu;
pub use isa::Isa;
pub use module_code::ModuleCode;
pub use settings::{COMPILER_RELEASE, COMPILER_VERSION, Flag, FlagSetting, Settings};
pub use trap_kind::{trap_kind_from_code, trap_kind_from_compiled, trap_kind_to_compiled};
pub use trap_table::lookup_trap_code;
pub use wasmtime_environ;
