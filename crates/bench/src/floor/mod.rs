//! The least that an operation can cost on this machine: bare programs, without any runtime.
//!
//! A floor is `None` where there is no such thing, or where nobody has written it down yet.

mod entry;
mod faults;
mod frames;
mod isa;
mod jumps;

pub(crate) use entry::{trampoline, trampoline_with_values};
pub(crate) use faults::{Fault, fault_and_jump, fault_and_return};
pub(crate) use frames::walk;
pub(crate) use jumps::set_and_jump;
