//! aarch64 (AAPCS64, "General-purpose Registers" and "SIMD and Floating-Point
//! Registers").

use std::arch::{asm, naked_asm};
use std::mem::offset_of;

/// The registers that a callee has to keep.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub(super) struct Kept {
    /// x19 to x28.
    general: [u64; 10],
    /// d8 to d15.
    float: [u64; 8],
    /// Control word; the status is in another register.
    fpcr: u64,
}

impl Kept {
    /// Zeroes what a callee may change.
    pub(super) fn forget_status(&mut self) {
        // The control word has none.
    }
}

/// Calls `f(data)` with the registers in `kept`, and puts there what they are
/// when it returns. For its own caller all is as before.
///
/// # Safety
///
/// * `f` may be called with `data`, under this control word.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call_with_registers(
    kept: *mut Kept,
    f: unsafe extern "C" fn(*mut u8),
    data: *mut u8,
) {
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "sub sp, sp, #160",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mrs x9, fpcr",
        "stp x9, x0, [sp]",
        "ldp x19, x20, [x0, {general} + 0]",
        "ldp x21, x22, [x0, {general} + 16]",
        "ldp x23, x24, [x0, {general} + 32]",
        "ldp x25, x26, [x0, {general} + 48]",
        "ldp x27, x28, [x0, {general} + 64]",
        "ldp d8, d9, [x0, {float} + 0]",
        "ldp d10, d11, [x0, {float} + 16]",
        "ldp d12, d13, [x0, {float} + 32]",
        "ldp d14, d15, [x0, {float} + 48]",
        "ldr x9, [x0, {fpcr}]",
        "msr fpcr, x9",
        "mov x0, x2",
        "blr x1",
        "ldr x0, [sp, #8]",
        "stp x19, x20, [x0, {general} + 0]",
        "stp x21, x22, [x0, {general} + 16]",
        "stp x23, x24, [x0, {general} + 32]",
        "stp x25, x26, [x0, {general} + 48]",
        "stp x27, x28, [x0, {general} + 64]",
        "stp d8, d9, [x0, {float} + 0]",
        "stp d10, d11, [x0, {float} + 16]",
        "stp d12, d13, [x0, {float} + 32]",
        "stp d14, d15, [x0, {float} + 48]",
        "mrs x9, fpcr",
        "str x9, [x0, {fpcr}]",
        "ldr x9, [sp]",
        "msr fpcr, x9",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "add sp, sp, #160",
        "ldp x29, x30, [sp], #16",
        "ret",
        general = const offset_of!(Kept, general),
        float = const offset_of!(Kept, float),
        fpcr = const offset_of!(Kept, fpcr),
    )
}

/// Registers with values that nobody else has, and rounding towards minus
/// infinity (Arm ARM, FPCR.RMode).
pub(super) fn unusual() -> Kept {
    Kept {
        general: std::array::from_fn(|i| 0xb0b0_b0b0_0000_0000 + i as u64),
        float: std::array::from_fn(|i| 0xf0f0_f0f0_0000_0000 + i as u64),
        fpcr: 0b10 << 22,
    }
}

/// Rounding to nearest, and no exceptions.
///
/// # Safety
///
/// * No caller counts on another control word before this thread leaves for
///   where it is put back.
pub(super) unsafe fn set_usual_control_words() {
    // SAFETY: the usual control word; the rest is this function's duty.
    unsafe { asm!("msr fpcr, xzr", options(nomem, nostack)) };
}
