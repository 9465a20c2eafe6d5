//! s390x.

use core::arch::naked_asm;

use libc::{c_int, c_void, mcontext_t, siginfo_t};

pub(super) const JUMPS_BY_DEFAULT: bool = false;

/// The handler that the kernel calls.
///
/// # Safety
///
/// * As for [`handle`](super::super::handle).
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn entry(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        // The fourth argument, behind those of the kernel.
        "lgr %r5, %r15",
        "jg {handle}",
        ".cfi_endproc",
        handle = sym super::super::handle,
    )
}

/// Whether `sp` is where the kernel entered a handler with these details and this context:
/// `struct rt_sigframe` has a register save area and an instruction, which take 168
/// bytes, the details, of 128 bytes, and the context (`arch/s390/kernel/signal.c`).
pub(super) fn is_kernels_frame(sp: usize, info: usize, context: usize) -> bool {
    info == sp.wrapping_add(168) && context == info.wrapping_add(128)
}

// The address that a handler returns to is in a register, which is used for others by the time
// that somebody could look.
pub(crate) use super::through_libc::{install, is_ours};

/// Whether this machine has nothing that a jump could not put back: it never has.
pub(super) fn find_out() -> bool {
    true
}

/// What the kernel resets for a handler: nothing that is kept over calls.
pub(super) struct Settings;

impl Settings {
    /// The interrupted code's; `None` if they can't be put back here.
    ///
    /// # Safety
    ///
    /// * `registers` are those of a signal frame of the kernel's.
    pub(super) unsafe fn of_interrupted(_registers: &mcontext_t) -> Option<Self> {
        Some(Self)
    }

    #[inline]
    pub(super) fn put_back(&self) {}
}
