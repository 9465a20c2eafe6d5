//! Artifacts of the Wasmtime compiler, without the Wasmtime runtime.
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod address_map;
mod artifact;
mod block_table;
mod bytes;
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

pub use artifact::{AddressEntry, Artifact, ArtifactBytes, Function, TrapSite, function_kind_name};
pub use error::{ArtifactError, ArtifactErrorKind};
pub use host::Cpu;
pub use isa::Isa;
pub use module_code::ModuleCode;
pub use settings::{COMPILER_RELEASE, COMPILER_VERSION, Flag, FlagSetting, Settings};
pub use trap_kind::{trap_kind_from_code, trap_kind_from_compiled, trap_kind_to_compiled};
pub use wasmtime_environ;
