//! s390x: `ucontext_t` as Linux and glibc lay it out.

use libc::{mcontext_t, ucontext_t};
use trapline_arch::Resume;

// Numbers of general registers: the stack pointer, and the two in which
// compiled landing pads take their payload.
const R6: usize = 6;
const R7: usize = 7;
const R15: usize = 15;

/// Whether `SIGILL` and `SIGFPE` leave the program counter past the instruction:
/// yes, by its whole length. Access exceptions (`SIGSEGV`, `SIGBUS`) leave the
/// exact address.
pub(crate) const TRAPS_COMPLETE: bool = true;

/// The saved program counter.
pub(crate) fn program_counter(context: &ucontext_t) -> usize {
    context.uc_mcontext.psw.addr as usize
}

/// The frame pointer of the interrupted code: its stack pointer, since frames
/// are chained through the back chain there.
pub(crate) fn frame_pointer(context: &ucontext_t) -> usize {
    stack_pointer(context)
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.gregs[R15] as usize
}

/// Makes the return from the handler go on at `resume`. There is no frame
/// pointer to write beside the stack pointer.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    registers.psw.addr = resume.pc as u64;
    registers.gregs[R15] = resume.sp as u64;
    registers.gregs[R6] = resume.payload[0] as u64;
    registers.gregs[R7] = resume.payload[1] as u64;
}
