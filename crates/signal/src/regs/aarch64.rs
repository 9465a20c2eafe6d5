//! aarch64: `ucontext_t` as Linux lays it out (`asm/ucontext.h`, `asm/sigcontext.h`)
//! and glibc names it (`sys/ucontext.h`).

use core::mem::offset_of;

use libc::{c_int, mcontext_t, ucontext_t};
use trapline_arch::Resume;
use trapline_code_registry::TrapKind;

// `uc_flags`, `uc_link`, `uc_stack` and 128 bytes for the signal mask, aligned to 16; then
// `struct sigcontext`: the faulting address, x0 to x30, sp, pc, pstate.
const _: () = assert!(offset_of!(ucontext_t, uc_mcontext) == 176);
const _: () = assert!(offset_of!(mcontext_t, regs) == 8);
const _: () = assert!(offset_of!(mcontext_t, sp) == 256);
const _: () = assert!(offset_of!(mcontext_t, pc) == 264);
const _: () = assert!(offset_of!(mcontext_t, pstate) == 272);

/// The branch-type field of PSTATE, bits 11:10: what kind of branch came here,
/// checked by the next instruction on a page with branch target identification.
const PSTATE_BTYPE: u64 = 0b11 << 10;

/// Whether `SIGILL` and `SIGFPE` leave the program counter past the instruction:
/// no. The exception link register holds the instruction that did not happen,
/// for aborts and for undefined instructions alike (Arm ARM, "Preferred exception
/// return address").
pub(crate) const TRAPS_COMPLETE: bool = false;

/// The saved program counter.
pub(crate) fn program_counter(registers: &mcontext_t) -> usize {
    registers.pc as usize
}

/// Makes the return from the handler go on at `address`, with all other registers as
/// they are.
pub(crate) fn set_program_counter(registers: &mut mcontext_t, address: usize) {
    registers.pc = address as u64;
}

/// The frame pointer of the interrupted code.
///
/// # Safety
///
/// * None here, where it is in a register; see s390x.
pub(crate) unsafe fn frame_pointer(registers: &mcontext_t, _: c_int, _: TrapKind) -> usize {
    registers.regs[29] as usize
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(registers: &mcontext_t) -> usize {
    registers.sp as usize
}

/// Makes the return from the handler go on at `resume`.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    registers.pc = resume.pc as u64;
    registers.sp = resume.sp as u64;
    registers.regs[29] = resume.fp as u64;
    registers.regs[0] = resume.payload[0] as u64;
    registers.regs[1] = resume.payload[1] as u64;
    // We go there by an exception return, not by the branch that the guest may
    // have been in the middle of.
    registers.pstate &= !PSTATE_BTYPE;
}
