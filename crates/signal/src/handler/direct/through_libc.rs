//! Installing handlers where nothing shows whether it is ours that the kernel has called.

use libc::{c_int, sigaction};

/// Whether it was for our action that the kernel entered a handler with this stack pointer: not
/// known.
///
/// # Safety
///
/// * `sp` is where the kernel entered a handler.
pub(crate) unsafe fn is_ours(_sp: usize) -> bool {
    false
}

/// Installs an action with our handler, and puts down what was there: `sigaction(2)`, with
/// its result.
///
/// # Safety
///
/// * As for the system call; in normal context.
pub(crate) unsafe fn install(
    signal: c_int,
    action: *const sigaction,
    replaced: *mut sigaction,
) -> c_int {
    // SAFETY: this function's duty.
    unsafe { sigaction(signal, action, replaced) }
}
