//! s390x: `ucontext_t` as Linux and glibc lay it out.

use libc::{c_int, siginfo_t, ucontext_t};
use trapline_arch::Resume;

// Numbers of general registers: the stack pointer, and the two in which
// compiled landing pads take their payload.
const R6: usize = 6;
const R7: usize = 7;
const R15: usize = 15;

/// The longest instruction, in bytes.
const LONGEST_INSTRUCTION: usize = 6;

/// The address to look up in the trap table.
///
/// For `SIGILL` and `SIGFPE` the saved program-status word is already past the
/// instruction, by its whole length; the byte before it belongs to the
/// instruction, and that is how compilers record these traps. Access exceptions
/// (`SIGSEGV`, `SIGBUS`) leave the exact address.
pub(crate) fn trap_pc(context: &ucontext_t, signal: c_int) -> usize {
    let pc = context.uc_mcontext.psw.addr as usize;
    if returning_repeats(signal) {
        pc
    } else {
        pc.wrapping_sub(1)
    }
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
pub(crate) fn write_resume(context: &mut ucontext_t, resume: &Resume) {
    let registers = &mut context.uc_mcontext;
    registers.psw.addr = resume.pc as u64;
    registers.gregs[R15] = resume.sp as u64;
    registers.gregs[R6] = resume.payload[0] as u64;
    registers.gregs[R7] = resume.payload[1] as u64;
}

/// Whether returning from the handler runs the trapping instruction again.
pub(crate) fn returning_repeats(signal: c_int) -> bool {
    signal != libc::SIGILL && signal != libc::SIGFPE
}

/// Whether a signal with the `si_code` of `kill`, 0, is nevertheless the
/// processor's.
///
/// Linux reports compare-and-trap as `SIGFPE` with code 0, and the address of
/// the instruction in `si_addr`: right behind us. For a signal that somebody
/// sent, the same bytes hold a process and a user number.
pub(crate) fn raised_by_processor_with_code_zero(
    context: &ucontext_t,
    signal: c_int,
    info: &siginfo_t,
) -> bool {
    // SAFETY: for si_code 0 the bytes are initialised whichever of the two
    // meanings they have.
    let address = unsafe { info.si_addr() } as usize;
    let behind = (context.uc_mcontext.psw.addr as usize).wrapping_sub(address);
    signal == libc::SIGFPE && behind <= LONGEST_INSTRUCTION
}
