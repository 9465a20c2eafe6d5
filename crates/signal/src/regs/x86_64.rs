//! x86_64: `ucontext_t` as Linux lays it out (`asm/ucontext.h`, `asm/sigcontext.h`)
//! and glibc names it (`sys/ucontext.h`).

use core::mem::offset_of;

use libc::{c_int, mcontext_t, ucontext_t};
use trapline_arch::Resume;
use trapline_code_registry::TrapKind;

// `uc_flags`, `uc_link` and `uc_stack`, then `struct sigcontext`: r8 to r15, rdi, rsi,
// rbp, rbx, rdx, rax, rcx, rsp, rip.
const _: () = assert!(offset_of!(ucontext_t, uc_mcontext) == 40);
const _: () = assert!(offset_of!(mcontext_t, gregs) == 0);
const _: () = assert!(libc::REG_RBP == 10 && libc::REG_RSP == 15 && libc::REG_RIP == 16);
const _: () = assert!(libc::REG_RDX == 12 && libc::REG_RAX == 13);

/// Whether `SIGILL` and `SIGFPE` leave the program counter past the instruction:
/// no. Every exception behind the four signals is a *fault*: the saved `rip` is the
/// instruction that did not happen (Intel SDM volume 3, table 6-1: #DE, #UD,
/// #GP, #PF and #AC).
pub(crate) const TRAPS_COMPLETE: bool = false;

/// The saved program counter.
pub(crate) fn program_counter(registers: &mcontext_t) -> usize {
    gpr(registers, libc::REG_RIP)
}

/// Makes the return from the handler go on at `address`, with all other registers as
/// they are.
pub(crate) fn set_program_counter(registers: &mut mcontext_t, address: usize) {
    registers.gregs[libc::REG_RIP as usize] = address as i64;
}

/// The frame pointer of the interrupted code.
///
/// # Safety
///
/// * None here, where it is in a register; see s390x.
pub(crate) unsafe fn frame_pointer(registers: &mcontext_t, _: c_int, _: TrapKind) -> usize {
    gpr(registers, libc::REG_RBP)
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(registers: &mcontext_t) -> usize {
    gpr(registers, libc::REG_RSP)
}

/// Makes the return from the handler go on at `resume`.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    let gregs = &mut registers.gregs;
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

fn gpr(registers: &mcontext_t, register: c_int) -> usize {
    registers.gregs[register as usize] as usize
}
