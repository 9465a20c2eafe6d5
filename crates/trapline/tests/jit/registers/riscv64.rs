//! riscv64 (RISC-V ELF psABI, "Register Convention").

use std::arch::{asm, naked_asm};
use std::mem::offset_of;

/// The registers that a callee has to keep.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub(super) struct Kept {
    /// s1 to s11.
    general: [u64; 11],
    /// fs0 to fs11.
    float: [u64; 12],
    /// Rounding mode, a setting of the whole thread.
    rounding: u64,
}

impl Kept {
    /// Zeroes what a callee may change.
    pub(super) fn forget_status(&mut self) {
        // The rounding mode has none.
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
        // Optimising builds also look at this without the target's features.
        ".option push",
        ".option arch, +d",
        "addi sp, sp, -224",
        "sd ra, 216(sp)",
        "sd s0, 208(sp)",
        "sd s1, 16(sp)",
        "sd s2, 24(sp)",
        "sd s3, 32(sp)",
        "sd s4, 40(sp)",
        "sd s5, 48(sp)",
        "sd s6, 56(sp)",
        "sd s7, 64(sp)",
        "sd s8, 72(sp)",
        "sd s9, 80(sp)",
        "sd s10, 88(sp)",
        "sd s11, 96(sp)",
        "fsd fs0, 104(sp)",
        "fsd fs1, 112(sp)",
        "fsd fs2, 120(sp)",
        "fsd fs3, 128(sp)",
        "fsd fs4, 136(sp)",
        "fsd fs5, 144(sp)",
        "fsd fs6, 152(sp)",
        "fsd fs7, 160(sp)",
        "fsd fs8, 168(sp)",
        "fsd fs9, 176(sp)",
        "fsd fs10, 184(sp)",
        "fsd fs11, 192(sp)",
        "frrm t0",
        "sd t0, 0(sp)",
        "sd a0, 8(sp)",
        "ld s1, {general} + 0(a0)",
        "ld s2, {general} + 8(a0)",
        "ld s3, {general} + 16(a0)",
        "ld s4, {general} + 24(a0)",
        "ld s5, {general} + 32(a0)",
        "ld s6, {general} + 40(a0)",
        "ld s7, {general} + 48(a0)",
        "ld s8, {general} + 56(a0)",
        "ld s9, {general} + 64(a0)",
        "ld s10, {general} + 72(a0)",
        "ld s11, {general} + 80(a0)",
        "fld fs0, {float} + 0(a0)",
        "fld fs1, {float} + 8(a0)",
        "fld fs2, {float} + 16(a0)",
        "fld fs3, {float} + 24(a0)",
        "fld fs4, {float} + 32(a0)",
        "fld fs5, {float} + 40(a0)",
        "fld fs6, {float} + 48(a0)",
        "fld fs7, {float} + 56(a0)",
        "fld fs8, {float} + 64(a0)",
        "fld fs9, {float} + 72(a0)",
        "fld fs10, {float} + 80(a0)",
        "fld fs11, {float} + 88(a0)",
        "ld t0, {rounding}(a0)",
        "fsrm t0",
        "mv a0, a2",
        "jalr a1",
        "ld a0, 8(sp)",
        "sd s1, {general} + 0(a0)",
        "sd s2, {general} + 8(a0)",
        "sd s3, {general} + 16(a0)",
        "sd s4, {general} + 24(a0)",
        "sd s5, {general} + 32(a0)",
        "sd s6, {general} + 40(a0)",
        "sd s7, {general} + 48(a0)",
        "sd s8, {general} + 56(a0)",
        "sd s9, {general} + 64(a0)",
        "sd s10, {general} + 72(a0)",
        "sd s11, {general} + 80(a0)",
        "fsd fs0, {float} + 0(a0)",
        "fsd fs1, {float} + 8(a0)",
        "fsd fs2, {float} + 16(a0)",
        "fsd fs3, {float} + 24(a0)",
        "fsd fs4, {float} + 32(a0)",
        "fsd fs5, {float} + 40(a0)",
        "fsd fs6, {float} + 48(a0)",
        "fsd fs7, {float} + 56(a0)",
        "fsd fs8, {float} + 64(a0)",
        "fsd fs9, {float} + 72(a0)",
        "fsd fs10, {float} + 80(a0)",
        "fsd fs11, {float} + 88(a0)",
        "frrm t0",
        "sd t0, {rounding}(a0)",
        "ld t0, 0(sp)",
        "fsrm t0",
        "ld s1, 16(sp)",
        "ld s2, 24(sp)",
        "ld s3, 32(sp)",
        "ld s4, 40(sp)",
        "ld s5, 48(sp)",
        "ld s6, 56(sp)",
        "ld s7, 64(sp)",
        "ld s8, 72(sp)",
        "ld s9, 80(sp)",
        "ld s10, 88(sp)",
        "ld s11, 96(sp)",
        "fld fs0, 104(sp)",
        "fld fs1, 112(sp)",
        "fld fs2, 120(sp)",
        "fld fs3, 128(sp)",
        "fld fs4, 136(sp)",
        "fld fs5, 144(sp)",
        "fld fs6, 152(sp)",
        "fld fs7, 160(sp)",
        "fld fs8, 168(sp)",
        "fld fs9, 176(sp)",
        "fld fs10, 184(sp)",
        "fld fs11, 192(sp)",
        "ld s0, 208(sp)",
        "ld ra, 216(sp)",
        "addi sp, sp, 224",
        "ret",
        ".option pop",
        general = const offset_of!(Kept, general),
        float = const offset_of!(Kept, float),
        rounding = const offset_of!(Kept, rounding),
    )
}

/// Registers with values that nobody else has, and rounding down (RISC-V ISA
/// manual, F extension, "Floating-Point Control and Status Register").
pub(super) fn unusual() -> Kept {
    Kept {
        general: std::array::from_fn(|i| 0xb0b0_b0b0_0000_0000 + i as u64),
        float: std::array::from_fn(|i| 0xf0f0_f0f0_0000_0000 + i as u64),
        rounding: 0b010,
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
    unsafe { asm!("fsrmi 0", options(nomem, nostack)) };
}
