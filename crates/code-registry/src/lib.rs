//! From a program counter to the code that owns it.
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", loom))]
extern crate std;

mod announce;
mod code_object;
mod edit;
mod error;
mod heap;
mod lock;
mod node;
mod reclaim;
mod registry;
mod sync;
mod trap_kind;

pub use code_object::{CodeAddress, CodeObject};
pub use error::RegisterError;
pub use registry::{CodeRef, CodeRegistry, Registration};
#[cfg(not(loom))]
pub use registry::{lookup_code, register_code};
pub use trap_kind::{TrapKind, UnknownTrapKind};
