//! Functions with frames as compiled code makes them, on riscv64.

use core::arch::naked_asm;

use crate::{Known, check};

/// Addresses are copies of their bit 56 from there on.
pub(crate) const SIGNIFICANT_BITS: u32 = 57;

/// Notes what it knows about itself, and calls [`callee`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn caller(known: *mut Known) {
    naked_asm!(
        "addi sp, sp, -16",
        "sd ra, 8(sp)",
        "sd s0, 0(sp)",
        "mv s0, sp",
        "lla t0, 2f",
        "sd t0, 0(a0)",
        "sd sp, 8(a0)",
        "sd s0, 16(a0)",
        "call {callee}",
        "2:",
        "ld ra, 8(sp)",
        "ld s0, 0(sp)",
        "addi sp, sp, 16",
        "ret",
        callee = sym callee,
    )
}

/// Makes a frame as compiled code does, and has it looked at.
#[unsafe(naked)]
unsafe extern "C" fn callee(known: *mut Known) {
    naked_asm!(
        "addi sp, sp, -16",
        "sd ra, 8(sp)",
        "sd s0, 0(sp)",
        "mv s0, sp",
        "sd s0, 24(a0)",
        "call {check}",
        "ld ra, 8(sp)",
        "ld s0, 0(sp)",
        "addi sp, sp, 16",
        "ret",
        check = sym check,
    )
}
