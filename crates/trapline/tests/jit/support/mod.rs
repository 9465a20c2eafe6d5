//! What this client brings along: a compiler, a store, and the code between
//! host and guest.
//!
//! | module | what |
//! | --- | --- |
//! | [`guest`] | CLIF text to registered machine code: the `CodeObject` |
//! | [`glue`] | entry trampolines and exit stubs, as CLIF text |
//! | [`store`] | the store, its context, and calls into guests |
//! | [`memory`] | a linear memory with a guard region |
//! | [`trap_code`] | Cranelift's trap codes as `TrapKind`s |
//! | [`frames`] | backtraces in readable form |
//! | [`subprocess`] | tests that end their process |

pub(crate) mod frames;
pub(crate) mod glue;
pub(crate) mod guest;
pub(crate) mod memory;
pub(crate) mod store;
pub(crate) mod subprocess;
pub(crate) mod trap_code;

pub(crate) use frames::{frames, resolve};
pub(crate) use glue::{HostFunction, Sentinel};
pub(crate) use guest::Guest;
pub(crate) use memory::LinearMemory;
pub(crate) use store::{Entry, HostReturn, JitStore};
