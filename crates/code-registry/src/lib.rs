//! From a program counter to the code that owns it.
#![no_std]

extern crate alloc;

mod code_object;
mod trap_kind;

pub use code_object::{CodeAddress, CodeObject};
pub use trap_kind::{TrapKind, UnknownTrapKind};
