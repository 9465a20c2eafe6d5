//! riscv64: `ucontext_t` as Linux lays it out (`asm/ucontext.h`, `asm/sigcontext.h`)
//! and glibc names it (`sys/ucontext.h`).

use core::mem::offset_of;

use libc::{c_int, mcontext_t, ucontext_t};
use trapline_arch::Resume;
use trapline_code_registry::TrapKind;

// `uc_flags`, `uc_link`, `uc_stack` and 128 bytes for the signal mask, aligned to 16; then
// `struct sigcontext`, which begins with `struct user_regs_struct`.
const _: () = assert!(offset_of!(ucontext_t, uc_mcontext) == 176);
const _: () = assert!(offset_of!(mcontext_t, __gregs) == 0);

// Places in `__gregs`: the program counter stands where the always-zero `x0`
// would, the other places are the numbers of the registers.
const PC: usize = 0;
const SP: usize = 2;
const S0: usize = 8;
const A0: usize = 10;
const A1: usize = 11;

/// Whether `SIGILL` and `SIGFPE` leave the program counter past the instruction:
/// no. `sepc` holds the instruction that did not happen (RISC-V privileged
/// architecture, "Supervisor Exception Program Counter").
pub(crate) const TRAPS_COMPLETE: bool = false;

/// The saved program counter.
pub(crate) fn program_counter(registers: &mcontext_t) -> usize {
    registers.__gregs[PC] as usize
}

/// Makes the return from the handler go on at `address`, with all other registers as
/// they are.
pub(crate) fn set_program_counter(registers: &mut mcontext_t, address: usize) {
    registers.__gregs[PC] = address as libc::c_ulong;
}

/// The frame pointer of the interrupted code.
///
/// # Safety
///
/// * None here, where it is in a register; see s390x.
pub(crate) unsafe fn frame_pointer(registers: &mcontext_t, _: c_int, _: TrapKind) -> usize {
    registers.__gregs[S0] as usize
}

/// The stack pointer of the interrupted code.
pub(crate) fn stack_pointer(registers: &mcontext_t) -> usize {
    registers.__gregs[SP] as usize
}

/// Makes the return from the handler go on at `resume`.
pub(crate) fn write_resume(registers: &mut mcontext_t, resume: &Resume) {
    let gregs = &mut registers.__gregs;
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
