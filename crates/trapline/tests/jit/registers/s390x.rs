//! s390x (s390x ELF ABI supplement, "Registers").

use std::arch::{asm, naked_asm};
use std::mem::offset_of;

/// The registers that a callee has to keep.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub(super) struct Kept {
    /// r6 to r13.
    general: [u64; 8],
    /// f8 to f15.
    float: [u64; 8],
    /// Floating-point control register.
    fpc: u32,
}

/// Flags and data-exception code: bytes 1 and 2 of the register, counted from the left
/// (z/Architecture Principles of Operation, "Floating-Point-Control Register").
const FPC_STATUS: u32 = 0x00ff_ff00;

impl Kept {
    /// Zeroes what a callee may change.
    pub(super) fn forget_status(&mut self) {
        self.fpc &= !FPC_STATUS;
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
        "stmg %r6, %r15, 48(%r15)",
        "lgr %r1, %r15",
        "aghi %r15, -240",
        "stg %r1, 0(%r15)",
        "std %f8, 160(%r15)",
        "std %f9, 168(%r15)",
        "std %f10, 176(%r15)",
        "std %f11, 184(%r15)",
        "std %f12, 192(%r15)",
        "std %f13, 200(%r15)",
        "std %f14, 208(%r15)",
        "std %f15, 216(%r15)",
        "stfpc 224(%r15)",
        "stg %r2, 232(%r15)",
        "lmg %r6, %r13, {general}(%r2)",
        "ld %f8, {float} + 0(%r2)",
        "ld %f9, {float} + 8(%r2)",
        "ld %f10, {float} + 16(%r2)",
        "ld %f11, {float} + 24(%r2)",
        "ld %f12, {float} + 32(%r2)",
        "ld %f13, {float} + 40(%r2)",
        "ld %f14, {float} + 48(%r2)",
        "ld %f15, {float} + 56(%r2)",
        "lfpc {fpc}(%r2)",
        "lgr %r2, %r4",
        "basr %r14, %r3",
        "lg %r2, 232(%r15)",
        "stmg %r6, %r13, {general}(%r2)",
        "std %f8, {float} + 0(%r2)",
        "std %f9, {float} + 8(%r2)",
        "std %f10, {float} + 16(%r2)",
        "std %f11, {float} + 24(%r2)",
        "std %f12, {float} + 32(%r2)",
        "std %f13, {float} + 40(%r2)",
        "std %f14, {float} + 48(%r2)",
        "std %f15, {float} + 56(%r2)",
        "stfpc {fpc}(%r2)",
        "lfpc 224(%r15)",
        "ld %f8, 160(%r15)",
        "ld %f9, 168(%r15)",
        "ld %f10, 176(%r15)",
        "ld %f11, 184(%r15)",
        "ld %f12, 192(%r15)",
        "ld %f13, 200(%r15)",
        "ld %f14, 208(%r15)",
        "ld %f15, 216(%r15)",
        "lmg %r6, %r15, 288(%r15)",
        "br %r14",
        general = const offset_of!(Kept, general),
        float = const offset_of!(Kept, float),
        fpc = const offset_of!(Kept, fpc),
    )
}

/// Registers with values that nobody else has, and rounding towards minus
/// infinity.
pub(super) fn unusual() -> Kept {
    Kept {
        general: std::array::from_fn(|i| 0xb0b0_b0b0_0000_0000 + i as u64),
        float: std::array::from_fn(|i| 0xf0f0_f0f0_0000_0000 + i as u64),
        fpc: 0b011,
    }
}

/// Rounding to nearest, and no exceptions.
///
/// # Safety
///
/// * No caller counts on another control word before this thread leaves for
///   where it is put back.
pub(super) unsafe fn set_usual_control_words() {
    let fpc = 0_u32;
    // SAFETY: the usual control word; the rest is this function's duty.
    unsafe { asm!("lfpc 0({})", in(reg_addr) &raw const fpc, options(readonly, nostack)) };
}
