//! Functions with frames as compiled code makes them, on x86_64.

use core::arch::naked_asm;

use crate::{Known, check};

/// Addresses are copies of their bit 56 from there on.
pub(crate) const SIGNIFICANT_BITS: u32 = 57;

/// Notes what it knows about itself, and calls [`callee`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn caller(known: *mut Known) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "lea rax, [rip + 2f]",
        "mov [rdi], rax",
        "mov [rdi + 8], rsp",
        "mov [rdi + 16], rbp",
        "call {callee}",
        "2:",
        "pop rbp",
        "ret",
        callee = sym callee,
    )
}

/// Makes a frame as compiled code does, and has it looked at.
#[unsafe(naked)]
unsafe extern "C" fn callee(known: *mut Known) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov [rdi + 24], rbp",
        "call {check}",
        "pop rbp",
        "ret",
        check = sym check,
    )
}
