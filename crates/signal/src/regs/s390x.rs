//! s390x: `ucontext_t` as Linux lays it out (`asm/ucontext.h`, `asm/sigcontext.h`)
//! and glibc names it (`sys/ucontext.h`).

use core::mem::offset_of;

use libc::{mcontext_t, ucontext_t};
use trapline_arch::Resume;

// `uc_flags`, `uc_link` and `uc_stack`, then `_sigregs`: the program status word (mask
// and address), then the general registers.
const _: () = assert!(offset_of!(ucontext_t, uc_mcontext) == 40);
const _: () = assert!(offset_of!(mcontext_t, psw.addr) == 8);
const _: () = assert!(offset_of!(mcontext_t, gregs) == 16);

// Numbers of general registers: the stack pointer, and the two in which
// compiled landing pads take their payload.
const R6: usize = 6;
const R7: usize = 7;
const R15: usize = 15;

/// Whether `SIGILL` and `SIGFPE` leave the program counter past the instruction:
/// yes, by its whole length. The interruptions behind them *complete* or
/// *suppress* the instruction, and the old program status word then holds the
/// address of the next one (z/Architecture Principles of Operation, chapter 6, "Program
/// Interruptions" and "Instruction-Length Code"); Linux passes it on. Access
/// exceptions, which become `SIGSEGV` and `SIGBUS`, *nullify* it, and the address
/// is its own.
pub(crate) const TRAPS_COMPLETE: bool = true;

/// The saved program counter.
pub(crate) fn program_counter(context: &ucontext_t) -> usize {
    context.uc_mcontext.psw.addr as usize
}

/// The frame pointer of the interrupted code: the back chain, which its stack
/// pointer points to.
///
/// # Safety
///
/// * The interrupted code is compiled guest code at a trap site, where the word
///   at its stack pointer may be read.
pub(crate) unsafe fn frame_pointer(context: &ucontext_t) -> usize {
    let back_chain = core::ptr::with_exposed_provenance::<usize>(stack_pointer(context));
    // SAFETY: this function's duty.
    unsafe { back_chain.read() }
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.gregs[R15] as usize
}

/// Makes the return from the handler go on at `resume`. There is no register to
/// write a frame pointer to: what a resume leads to finds it by its stack pointer.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    registers.psw.addr = resume.pc as u64;
    registers.gregs[R15] = resume.sp as u64;
    registers.gregs[R6] = resume.payload[0] as u64;
    registers.gregs[R7] = resume.payload[1] as u64;
}
