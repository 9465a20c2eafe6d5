//! riscv64: `ucontext_t` as Linux and glibc lay it out.

use libc::{c_int, siginfo_t, ucontext_t};
use trapline_arch::Resume;

// Places in `__gregs`: the program counter stands where the always-zero `x0`
// would, the other places are the numbers of the registers.
const PC: usize = 0;
const SP: usize = 2;
const S0: usize = 8;
const A0: usize = 10;
const A1: usize = 11;

/// The address to look up in the trap table.
///
/// `sepc` holds the instruction that did not happen.
pub(crate) fn trap_pc(context: &ucontext_t, _signal: c_int) -> usize {
    context.uc_mcontext.__gregs[PC] as usize
}

/// The frame pointer of the interrupted code.
pub(crate) fn frame_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.__gregs[S0] as usize
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.__gregs[SP] as usize
}

/// Makes the return from the handler go on at `resume`.
pub(crate) fn write_resume(context: &mut ucontext_t, resume: &Resume) {
    let gregs = &mut context.uc_mcontext.__gregs;
    for (register, value) in [
        (PC, resume.pc),
        (SP, resume.sp),
        (S0, resume.fp),
        (A0, resume.payload[0]),
        (A1, resume.payload[1]),
    ] {
        gregs[register] = value as libc::c_ulong;
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
