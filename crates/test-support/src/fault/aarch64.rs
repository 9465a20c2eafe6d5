//! aarch64.

use core::arch::asm;

use libc::{c_int, ucontext_t};

/// The signals that integer instructions can raise: division has a result for
/// every divisor (Arm ARM, SDIV and UDIV: 0 for a divisor of 0).
pub const SIGNALS: &[c_int] = &[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL];

/// Faulting addresses are told to the byte (Arm ARM: FAR_EL1).
pub const FAULTING_ADDRESS_ALIGN: usize = 1;

/// Reads the word at `address`, which may be an address that faults.
pub fn read(address: usize) {
    // SAFETY: reads something that nobody writes to, or faults.
    unsafe { asm!("ldr w0, [x0]", inout("x0") address => _, options(nostack, readonly)) };
}

/// Runs an instruction that does not exist.
pub fn illegal_instruction() {
    // SAFETY: raises a signal, and changes nothing.
    unsafe { asm!("udf #0xc11f", options(nostack, nomem)) };
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
            "mov x29, #16",
            "mov sp, x29",
            "udf #0xc11f",
            options(noreturn)
        )
    }
}

/// Never called: no division raises a signal.
pub(super) fn divide_by_zero() {}

/// Makes the return from the handler of `signal` go on after the instruction
/// of one of the functions above: all instructions are four bytes long.
pub fn skip(_signal: c_int, context: &mut ucontext_t) {
    context.uc_mcontext.pc += 4;
}
