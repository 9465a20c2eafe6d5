//! riscv64.

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
        "mv a3, sp",
        "tail {handle}",
        ".cfi_endproc",
        handle = sym super::super::handle,
    )
}

/// Whether `sp` is where the kernel entered a handler with these details and this context:
/// `struct rt_sigframe` has the details, of 128 bytes, and the context
/// (`arch/riscv/kernel/signal.c`).
pub(super) fn is_kernels_frame(sp: usize, info: usize, context: usize) -> bool {
    info == sp && context == sp.wrapping_add(128)
}

// The address that a handler returns to is in a register, which is used for others by the time
// that somebody could look.
pub(crate) use super::through_libc::{install, is_ours};

/// Whether this machine has nothing that a jump could not put back: no shadow stack
/// (Zicfiss), which threads have or don't from their start.
pub(super) fn find_out() -> bool {
    /// `PR_GET_SHADOW_STACK_STATUS` (`linux/prctl.h`).
    const PR_GET_SHADOW_STACK_STATUS: c_int = 74;
    let mut status: libc::c_ulong = 0;
    // SAFETY: writes one word; kernels that do not know the call write nothing.
    unsafe { libc::prctl(PR_GET_SHADOW_STACK_STATUS, &raw mut status, 0, 0, 0) };
    status == 0
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
