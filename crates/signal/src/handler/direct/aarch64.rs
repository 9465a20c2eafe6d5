//! aarch64.

use core::arch::{asm, naked_asm};

use libc::{c_int, c_void, mcontext_t, siginfo_t};

pub(super) const JUMPS_BY_DEFAULT: bool = true;

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
        // `bti c`
        "hint 34",
        // The fourth argument, behind those of the kernel.
        "mov x3, sp",
        "b {handle}",
        ".cfi_endproc",
        handle = sym super::super::handle,
    )
}

/// Whether `sp` is where the kernel entered a handler with these details and this context:
/// `struct rt_sigframe` has the details, of 128 bytes, and the context
/// (`arch/arm64/kernel/signal.c`).
pub(super) fn is_kernels_frame(sp: usize, info: usize, context: usize) -> bool {
    info == sp && context == sp.wrapping_add(128)
}

// The address that a handler returns to is in a register, which is used for others by the time
// that somebody could look.
pub(crate) use super::through_libc::{install, is_ours};

/// Whether this machine has nothing that a jump could not put back: no permission
/// overlays, whose register the kernel resets for a handler; no Valgrind, which takes what lies
/// below the stack that a handler is left for without a return for undefined; no matrix extension, whose
/// array it switches off for a handler, which a caller of ours may have left there to be
/// saved later (AAPCS64, "ZA lazy saving scheme").
pub(super) fn find_out() -> bool {
    /// `HWCAP2_SME` and `HWCAP2_POE` (`arch/arm64/include/uapi/asm/hwcap.h`).
    const SME: u64 = 1 << 23;
    const POE: u64 = 1 << 63;
    // SAFETY: asks only.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    capabilities & (SME | POE) == 0 && !is_emulated_by_valgrind()
}

/// Whether Valgrind runs this program: it knows a sequence of instructions that do nothing else
/// (`valgrind.h`, `RUNNING_ON_VALGRIND`), and puts its answer into the register that holds 0.
fn is_emulated_by_valgrind() -> bool {
    let mut answer: usize = 0;
    // SAFETY: turns a register around, by 128 bits, and another into itself; Valgrind reads the
    // request, and changes the one register.
    unsafe {
        asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") &raw const VALGRIND_REQUEST,
            inout("x3") answer,
            options(nostack, preserves_flags),
        );
    }
    answer != 0
}

/// `VG_USERREQ__RUNNING_ON_VALGRIND`, and five arguments, which it has not.
static VALGRIND_REQUEST: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];

/// `PSTATE.TCO`, in the saved state of the processor (`PSR_TCO_BIT`,
/// `arch/arm64/include/uapi/asm/ptrace.h`): memory tags are not checked. The kernel clears it
/// for a handler (`setup_return` in its `arch/arm64/kernel/signal.c`). Never set where there are no tags.
const TCO: u64 = 1 << 25;

/// What the kernel resets for a handler: nothing that is kept over calls. (It leaves
/// FPCR alone.)
pub(super) struct Settings;

impl Settings {
    /// The interrupted code's; `None` if they can't be put back here.
    ///
    /// # Safety
    ///
    /// * `registers` are those of a signal frame of the kernel's.
    pub(super) unsafe fn of_interrupted(registers: &mcontext_t) -> Option<Self> {
        let checks_tags = registers.pstate & TCO == 0;
        (checks_tags && !has_shadow_stack()).then_some(Self)
    }

    #[inline]
    pub(super) fn put_back(&self) {}
}

/// Whether this thread has a guarded control stack: CHKFEAT clears the bits of features
/// that are on, in `x16`; bit 0 is this one (Arm ARM, "CHKFEAT"). In the hint space, it
/// does nothing on processors that do not know it.
fn has_shadow_stack() -> bool {
    let features: usize;
    // SAFETY: changes x16, as is said.
    unsafe {
        asm!(
            "hint 40",
            inout("x16") 1_usize => features,
            options(nomem, nostack, preserves_flags),
        );
    }
    features == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_was_interrupted_while_it_checked_no_tags_is_returned_to_by_the_kernel() {
        // SAFETY: a structure of integers: all zeros is a value of it.
        let mut registers: mcontext_t = unsafe { core::mem::zeroed() };
        // SAFETY: only the state of the processor is looked at.
        let can_jump =
            |registers: &mcontext_t| unsafe { Settings::of_interrupted(registers) }.is_some();
        assert!(can_jump(&registers));
        registers.pstate = TCO;
        assert!(!can_jump(&registers));
    }
}
