//! s390x.

use core::arch::asm;

use libc::{c_int, ucontext_t};

/// The signals that integer instructions can raise.
pub const SIGNALS: &[c_int] = &[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The processor tells the page of a faulting address only (z/Architecture
/// Principles of Operation: translation-exception identification, bits 0-51).
pub const FAULTING_ADDRESS_ALIGN: usize = 4096;

/// Reads the word at `address`, which may be an address that faults.
pub fn read(address: usize) {
    // SAFETY: reads something that nobody writes to, or faults.
    unsafe {
        asm!("lg {word}, 0({word})", word = inout(reg_addr) address => _, options(nostack, readonly));
    }
}

/// Runs an instruction that does not exist: operation code 0 is reserved for
/// that.
pub fn illegal_instruction() {
    // SAFETY: raises a signal, and changes nothing.
    unsafe { asm!(".2byte 0", options(nostack, nomem)) };
}

/// Runs one with a stack pointer (and a frame pointer) that points nowhere, as a
/// bug may leave it.
///
/// # Safety
///
/// * Nothing goes on from here: a handler ends the process.
pub unsafe fn illegal_instruction_without_a_stack() -> ! {
    // SAFETY: the process ends here, by this function's duty.
    unsafe {
        asm!(
            "lghi %r15, 8",
            "lgr %r11, %r15",
            ".2byte 0",
            options(noreturn)
        )
    }
}

/// Divides an integer by zero.
pub(super) fn divide_by_zero() {
    // SAFETY: raises a signal, and changes nothing but the pair of registers.
    unsafe {
        asm!(
            "dsgr %r2, {zero}",
            inout("r2") 0_u64 => _,
            inout("r3") 1_u64 => _,
            zero = in(reg) 0_u64,
            options(nostack, nomem),
        );
    }
}

/// Makes the return from the handler of `signal` go on after the instruction
/// of one of the functions above. After `SIGILL` and `SIGFPE` it does so by
/// itself; the instruction that reads is six bytes long.
pub fn skip(signal: c_int, context: &mut ucontext_t) {
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
        context.uc_mcontext.psw.addr += 6;
    }
}
