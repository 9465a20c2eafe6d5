//! Machines for which the floors are not written down.

use super::SetAndJump;
use crate::floor::faults::{Fault, Faulting, Landing};

pub(in crate::floor) const SET_AND_JUMP: Option<SetAndJump> = None;

pub(in crate::floor) const fn faulting(_: Fault) -> Option<Faulting> {
    None
}

/// Never called, since nothing faults.
pub(in crate::floor) fn redirect(_: &mut libc::ucontext_t, _: usize, _: usize) {}

/// Never called, since nothing faults.
///
/// # Safety
///
/// * None.
pub(in crate::floor) unsafe extern "C" fn leave(_: *const Landing) -> ! {
    std::process::abort()
}
