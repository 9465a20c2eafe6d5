//! x86_64: `ucontext_t` as Linux and glibc lay it out.

use libc::{c_int, siginfo_t, ucontext_t};
use trapline_arch::Resume;

/// The address to look up in the trap table.
///
/// Every exception behind the four signals is a *fault*: the saved `rip` is the
/// instruction that did not happen (Intel SDM volume 3, table 6-1: #DE, #UD,
/// #GP, #PF and #AC).
pub(crate) fn trap_pc(context: &ucontext_t, _signal: c_int) -> usize {
    gpr(context, libc::REG_RIP)
}

/// The frame pointer of the interrupted code.
pub(crate) fn frame_pointer(context: &ucontext_t) -> usize {
    gpr(context, libc::REG_RBP)
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(context: &ucontext_t) -> usize {
    gpr(context, libc::REG_RSP)
}

/// Makes the return from the handler go on at `resume`.
pub(crate) fn write_resume(context: &mut ucontext_t, resume: &Resume) {
    let gregs = &mut context.uc_mcontext.gregs;
    for (register, value) in [
        (libc::REG_RIP, resume.pc),
        (libc::REG_RSP, resume.sp),
        (libc::REG_RBP, resume.fp),
        (libc::REG_RAX, resume.payload[0]),
        (libc::REG_RDX, resume.payload[1]),
    ] {
        gregs[register as usize] = value as i64;
    }
}

/// Whether returning from the handler runs the trapping instruction again.
pub(crate) fn returning_repeats(_signal: c_int) -> bool {
    true
}

/// Whether a signal with the `si_code` of `kill`, 0, is nevertheless the
/// processor's.
pub(crate) fn raised_by_processor_with_code_zero(
    _context: &ucontext_t,
    _signal: c_int,
    _info: &siginfo_t,
) -> bool {
    false
}

fn gpr(context: &ucontext_t, register: c_int) -> usize {
    context.uc_mcontext.gregs[register as usize] as usize
}
