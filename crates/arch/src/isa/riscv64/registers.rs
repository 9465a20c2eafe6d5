//! The registers that a callee keeps, for `jump::tests`.

use core::arch::naked_asm;
use core::mem::offset_of;

use crate::context::{JmpBuf, SetjmpBody};

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 0;

/// The state that a function keeps for its caller (psABI, "Register
/// Convention").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Kept {
    /// `s0` to `s11`.
    s: [u64; 12],
    /// Byte offset from the stack pointer right before the call to the one
    /// right after it.
    sp_moved: u64,
    /// `fs0` to `fs11`.
    fs: [u64; 12],
    /// The rounding mode.
    frm: u64,
}

/// Rounding down.
pub(crate) const PATTERNS: Kept = Kept {
    s: [
        0xb0b0_b0b0_0000_0000,
        0xb0b0_b0b0_0000_0001,
        0xb0b0_b0b0_0000_0002,
        0xb0b0_b0b0_0000_0003,
        0xb0b0_b0b0_0000_0004,
        0xb0b0_b0b0_0000_0005,
        0xb0b0_b0b0_0000_0006,
        0xb0b0_b0b0_0000_0007,
        0xb0b0_b0b0_0000_0008,
        0xb0b0_b0b0_0000_0009,
        0xb0b0_b0b0_0000_000a,
        0xb0b0_b0b0_0000_000b,
    ],
    sp_moved: 0,
    fs: [
        0xf0f0_f0f0_0000_0000,
        0xf0f0_f0f0_0000_0001,
        0xf0f0_f0f0_0000_0002,
        0xf0f0_f0f0_0000_0003,
        0xf0f0_f0f0_0000_0004,
        0xf0f0_f0f0_0000_0005,
        0xf0f0_f0f0_0000_0006,
        0xf0f0_f0f0_0000_0007,
        0xf0f0_f0f0_0000_0008,
        0xf0f0_f0f0_0000_0009,
        0xf0f0_f0f0_0000_000a,
        0xf0f0_f0f0_0000_000b,
    ],
    frm: 0b010,
};

impl Kept {
    /// Without the bits that a callee may change: the rounding mode has none.
    pub(crate) fn without_status(self) -> Self {
        self
    }

    /// The registers, with the settings of the patterns.
    pub(crate) fn without_settings(self) -> Self {
        Self {
            frm: PATTERNS.frm,
            ..self
        }
    }
}

/// Loads the registers from `kept`, calls `call(data, body)`, writes the
/// registers back to `kept`, and returns the value.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn with_registers(
    kept: *mut Kept,
    data: *mut u8,
    body: SetjmpBody,
    call: unsafe extern "C-unwind" fn(*mut u8, SetjmpBody) -> i32,
) -> i32 {
    naked_asm!(
        // See "Floating point" in riscv64.rs.
        ".option push",
        ".option arch, +d",
        // Our caller's registers, its rounding mode, `kept` and the stack
        // pointer.
        "addi sp, sp, -224",
        "sd s0, 0(sp)",
        "sd s1, 8(sp)",
        "sd s2, 16(sp)",
        "sd s3, 24(sp)",
        "sd s4, 32(sp)",
        "sd s5, 40(sp)",
        "sd s6, 48(sp)",
        "sd s7, 56(sp)",
        "sd s8, 64(sp)",
        "sd s9, 72(sp)",
        "sd s10, 80(sp)",
        "sd s11, 88(sp)",
        "fsd fs0, 96(sp)",
        "fsd fs1, 104(sp)",
        "fsd fs2, 112(sp)",
        "fsd fs3, 120(sp)",
        "fsd fs4, 128(sp)",
        "fsd fs5, 136(sp)",
        "fsd fs6, 144(sp)",
        "fsd fs7, 152(sp)",
        "fsd fs8, 160(sp)",
        "fsd fs9, 168(sp)",
        "fsd fs10, 176(sp)",
        "fsd fs11, 184(sp)",
        "sd ra, 192(sp)",
        "frrm t0",
        "sd t0, 200(sp)",
        "sd a0, 208(sp)",
        "sd sp, 216(sp)",
        "ld t0, {frm}(a0)",
        "fsrm t0",
        "addi t0, a0, {fs}",
        "fld fs0, 0(t0)",
        "fld fs1, 8(t0)",
        "fld fs2, 16(t0)",
        "fld fs3, 24(t0)",
        "fld fs4, 32(t0)",
        "fld fs5, 40(t0)",
        "fld fs6, 48(t0)",
        "fld fs7, 56(t0)",
        "fld fs8, 64(t0)",
        "fld fs9, 72(t0)",
        "fld fs10, 80(t0)",
        "fld fs11, 88(t0)",
        "addi t0, a0, {s}",
        "ld s0, 0(t0)",
        "ld s1, 8(t0)",
        "ld s2, 16(t0)",
        "ld s3, 24(t0)",
        "ld s4, 32(t0)",
        "ld s5, 40(t0)",
        "ld s6, 48(t0)",
        "ld s7, 56(t0)",
        "ld s8, 64(t0)",
        "ld s9, 72(t0)",
        "ld s10, 80(t0)",
        "ld s11, 88(t0)",
        "mv a0, a1",
        "mv a1, a2",
        "jalr a3",
        // Only registers that a callee may ruin are used until all is stored.
        "ld t1, 208(sp)",
        "addi t0, t1, {s}",
        "sd s0, 0(t0)",
        "sd s1, 8(t0)",
        "sd s2, 16(t0)",
        "sd s3, 24(t0)",
        "sd s4, 32(t0)",
        "sd s5, 40(t0)",
        "sd s6, 48(t0)",
        "sd s7, 56(t0)",
        "sd s8, 64(t0)",
        "sd s9, 72(t0)",
        "sd s10, 80(t0)",
        "sd s11, 88(t0)",
        "addi t0, t1, {fs}",
        "fsd fs0, 0(t0)",
        "fsd fs1, 8(t0)",
        "fsd fs2, 16(t0)",
        "fsd fs3, 24(t0)",
        "fsd fs4, 32(t0)",
        "fsd fs5, 40(t0)",
        "fsd fs6, 48(t0)",
        "fsd fs7, 56(t0)",
        "fsd fs8, 64(t0)",
        "fsd fs9, 72(t0)",
        "fsd fs10, 80(t0)",
        "fsd fs11, 88(t0)",
        "frrm t0",
        "sd t0, {frm}(t1)",
        "ld t0, 216(sp)",
        "sub t0, sp, t0",
        "sd t0, {sp_moved}(t1)",
        "ld t0, 200(sp)",
        "fsrm t0",
        "ld s0, 0(sp)",
        "ld s1, 8(sp)",
        "ld s2, 16(sp)",
        "ld s3, 24(sp)",
        "ld s4, 32(sp)",
        "ld s5, 40(sp)",
        "ld s6, 48(sp)",
        "ld s7, 56(sp)",
        "ld s8, 64(sp)",
        "ld s9, 72(sp)",
        "ld s10, 80(sp)",
        "ld s11, 88(sp)",
        "fld fs0, 96(sp)",
        "fld fs1, 104(sp)",
        "fld fs2, 112(sp)",
        "fld fs3, 120(sp)",
        "fld fs4, 128(sp)",
        "fld fs5, 136(sp)",
        "fld fs6, 144(sp)",
        "fld fs7, 152(sp)",
        "fld fs8, 160(sp)",
        "fld fs9, 168(sp)",
        "fld fs10, 176(sp)",
        "fld fs11, 184(sp)",
        "ld ra, 192(sp)",
        "addi sp, sp, 224",
        "ret",
        ".option pop",
        s = const offset_of!(Kept, s),
        sp_moved = const offset_of!(Kept, sp_moved),
        fs = const offset_of!(Kept, fs),
        frm = const offset_of!(Kept, frm),
    )
}

/// A body that ruins everything a callee must keep, as compiled code in the
/// middle of something has, and calls `data` with the context, which does not
/// return. Its own frame can be unwound: the frame pointer, which the frames
/// further out are found by, is on record.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn ruin_and_call(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!(
        ".option push",
        ".option arch, +d",
        ".cfi_startproc",
        "addi sp, sp, -2032",
        ".cfi_def_cfa_offset 2032",
        "sd ra, 2024(sp)",
        "sd s0, 2016(sp)",
        ".cfi_offset ra, -8",
        ".cfi_offset s0, -16",
        "li s0, -1",
        "li s1, -1",
        "li s2, -1",
        "li s3, -1",
        "li s4, -1",
        "li s5, -1",
        "li s6, -1",
        "li s7, -1",
        "li s8, -1",
        "li s9, -1",
        "li s10, -1",
        "li s11, -1",
        "fmv.d.x fs0, s0",
        "fmv.d.x fs1, s0",
        "fmv.d.x fs2, s0",
        "fmv.d.x fs3, s0",
        "fmv.d.x fs4, s0",
        "fmv.d.x fs5, s0",
        "fmv.d.x fs6, s0",
        "fmv.d.x fs7, s0",
        "fmv.d.x fs8, s0",
        "fmv.d.x fs9, s0",
        "fmv.d.x fs10, s0",
        "fmv.d.x fs11, s0",
        // Another rounding mode.
        "fsrmi 3",
        "jalr a1",
        "unimp",
        ".cfi_endproc",
        ".option pop",
    )
}

/// A body that stores the stack pointer that it was called with at `data`.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn store_stack_pointer(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!("sd sp, 0(a1)", "li a0, 79", "ret")
}
