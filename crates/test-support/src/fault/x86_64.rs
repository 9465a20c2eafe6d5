//! x86_64.

use core::arch::asm;

use libc::{c_int, ucontext_t};

/// The signals that integer instructions can raise.
pub const SIGNALS: &[c_int] = &[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Faulting addresses are told to the byte (Intel SDM volume 3, 4.7: CR2).
pub const FAULTING_ADDRESS_ALIGN: usize = 1;

/// Reads the word at `address`, which may be an address that faults.
pub fn read(address: usize) {
    // SAFETY: reads something that nobody writes to, or faults.
    unsafe { asm!("mov eax, [rax]", inout("rax") address => _, options(nostack, readonly)) };
}

/// Runs an instruction that does not exist.
pub fn illegal_instruction() {
    // SAFETY: raises a signal, and changes nothing.
    unsafe { asm!("ud2", options(nostack, nomem)) };
}

/// Runs one with a stack pointer (and a frame pointer) that points nowhere, as a
/// bug may leave it.
///
/// # Safety
///
/// * Nothing goes on from here: a handler ends the process.
pub unsafe fn illegal_instruction_without_a_stack() -> ! {
    // SAFETY: the process ends here, by this function's duty.
    unsafe { asm!("mov rsp, 8", "mov rbp, rsp", "ud2", options(noreturn)) }
}

/// Divides an integer by zero.
pub(super) fn divide_by_zero() {
    // SAFETY: raises a signal, and changes nothing.
    unsafe {
        asm!("div ecx", inout("eax") 1 => _, inout("edx") 0 => _, in("ecx") 0, options(nostack, nomem));
    }
}

/// Makes the return from the handler of `signal` go on after the instruction
/// of one of the functions above: each is two bytes long.
pub fn skip(_signal: c_int, context: &mut ucontext_t) {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
}
