//! The least that an operation can cost on this machine: bare programs, without any runtime.
//!
//! A floor is `None` where there is no such thing, or where nobody has written it down yet.

mod entry;
mod errors;
mod faults;
mod frames;
mod guest;
mod isa;
mod jumps;
mod lookups;

pub(crate) use entry::{trampoline, trampoline_with_host_call, trampoline_with_values};
pub(crate) use errors::{
    explicit_trap, host_error, host_error_with_backtrace, nested, nested_with_backtrace, ten_frames,
};
pub(crate) use faults::{Fault, fault_and_jump, fault_and_return};
pub(crate) use frames::walk;
pub(crate) use jumps::set_and_jump;
pub(crate) use lookups::{insert, known, known_on_threads, make, search, search_on_threads};
