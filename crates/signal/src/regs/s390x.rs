//! s390x: `ucontext_t` as Linux lays it out (`asm/ucontext.h`, `asm/sigcontext.h`)
//! and glibc names it (`sys/ucontext.h`).

use core::mem::offset_of;

use libc::{c_int, mcontext_t, ucontext_t};
use trapline_arch::{NEXT_OLDER_PC_FROM_FP_OFFSET, Resume};
use trapline_code_registry::TrapKind;

// `uc_flags`, `uc_link` and `uc_stack`, then `_sigregs`: the program status word (mask
// and address), then the general registers.
const _: () = assert!(offset_of!(ucontext_t, uc_mcontext) == 40);
const _: () = assert!(offset_of!(mcontext_t, psw.addr) == 8);
const _: () = assert!(offset_of!(mcontext_t, gregs) == 16);

// Numbers of general registers: the stack pointer, and the two in which
// compiled landing pads take their payload.
const R6: usize = 6;
const R7: usize = 7;
// And where a function finds its return address when it is called.
const R14: usize = 14;
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
pub(crate) fn program_counter(registers: &mcontext_t) -> usize {
    registers.psw.addr as usize
}

/// Makes the return from the handler go on at `address`, with all other registers as
/// they are.
pub(crate) fn set_program_counter(registers: &mut mcontext_t, address: usize) {
    registers.psw.addr = address as u64;
}

/// The frame pointer of the interrupted code, which `signal` was raised for: the
/// back chain, which its stack pointer points to.
///
/// Cranelift compares the stack pointer with the limit of the stack *before* a
/// function has its frame (0.135.8: `gen_prologue_frame_setup` is empty in
/// `isa/s390x/abi.rs`, and `gen_stack_lower_bound_trap` there, the only one to make
/// a compare-and-trap for this, comes before `gen_clobber_save`). The back chain
/// then still is the caller's, and the return address in its register only. The
/// function's own frame record is at its stack pointer (with arguments on the
/// stack as well: the save area lies below them, with a copy of the back chain), and
/// lacks but the return address: it is completed here, as the function was about
/// to do. Without that the caller's frame would be missing from backtraces, a
/// function that the entry trampoline called would have the trampoline's frame
/// for its own, and what is done about the trap would overwrite that.
///
/// # Safety
///
/// * The interrupted code is compiled guest code at a site for `trap`, where the
///   register save area at its stack pointer may be read and written.
pub(crate) unsafe fn frame_pointer(registers: &mcontext_t, signal: c_int, trap: TrapKind) -> usize {
    let sp = stack_pointer(registers);
    let back_chain = core::ptr::with_exposed_provenance_mut::<usize>(sp);
    if signal == libc::SIGFPE && trap == TrapKind::StackOverflow {
        let return_address = registers.gregs[R14] as usize;
        // SAFETY: this function's duty; the called function may use the area as
        // it likes, and this is where it saves the register.
        unsafe {
            back_chain
                .byte_add(NEXT_OLDER_PC_FROM_FP_OFFSET)
                .write(return_address);
        }
        return sp;
    }
    // SAFETY: this function's duty.
    unsafe { back_chain.read() }
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(registers: &mcontext_t) -> usize {
    registers.gregs[R15] as usize
}

/// Makes the return from the handler go on at `resume`. There is no register to
/// write a frame pointer to: what a resume leads to finds it by its stack pointer.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    registers.psw.addr = resume.pc as u64;
    registers.gregs[R15] = resume.sp as u64;
    registers.gregs[R6] = resume.payload[0] as u64;
    registers.gregs[R7] = resume.payload[1] as u64;
}
