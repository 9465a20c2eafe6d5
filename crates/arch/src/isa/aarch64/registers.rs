//! The registers that a callee keeps, for `jump::tests`.

use core::arch::naked_asm;
use core::mem::offset_of;

use crate::context::{JmpBuf, SetjmpBody};

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 0;

/// The state that a function keeps for its caller (AAPCS64, "Machine
/// Registers").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Kept {
    /// `x19` to `x28`, and `x29`.
    x: [u64; 11],
    /// Byte offset from the stack pointer right before the call to the one
    /// right after it.
    sp_moved: u64,
    /// The lower halves of `v8` to `v15`.
    d: [u64; 8],
    fpcr: u64,
}

/// Flushing denormals, default NaNs, rounding towards minus infinity.
pub(crate) const PATTERNS: Kept = Kept {
    x: [
        0xb0b0_b0b0_0000_0013,
        0xb0b0_b0b0_0000_0014,
        0xb0b0_b0b0_0000_0015,
        0xb0b0_b0b0_0000_0016,
        0xb0b0_b0b0_0000_0017,
        0xb0b0_b0b0_0000_0018,
        0xb0b0_b0b0_0000_0019,
        0xb0b0_b0b0_0000_001a,
        0xb0b0_b0b0_0000_001b,
        0xb0b0_b0b0_0000_001c,
        0xb0b0_b0b0_0000_001d,
    ],
    sp_moved: 0,
    d: [
        0xd0d0_d0d0_0000_0008,
        0xd0d0_d0d0_0000_0009,
        0xd0d0_d0d0_0000_000a,
        0xd0d0_d0d0_0000_000b,
        0xd0d0_d0d0_0000_000c,
        0xd0d0_d0d0_0000_000d,
        0xd0d0_d0d0_0000_000e,
        0xd0d0_d0d0_0000_000f,
    ],
    fpcr: 1 << 25 | 1 << 24 | 0b10 << 22,
};

impl Kept {
    /// Without the bits that a callee may change: FPCR has none of them.
    pub(crate) fn without_status(self) -> Self {
        self
    }

    /// The registers, with the settings of the patterns.
    pub(crate) fn without_settings(self) -> Self {
        Self {
            fpcr: PATTERNS.fpcr,
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
        // Our caller's registers, its FPCR, `kept` and the stack pointer.
        "sub sp, sp, #192",
        "stp x19, x20, [sp, #0]",
        "stp x21, x22, [sp, #16]",
        "stp x23, x24, [sp, #32]",
        "stp x25, x26, [sp, #48]",
        "stp x27, x28, [sp, #64]",
        "stp x29, x30, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mrs x9, fpcr",
        "mov x10, sp",
        "stp x9, x0, [sp, #160]",
        "str x10, [sp, #176]",
        "add x9, x0, {d}",
        "ldp d8, d9, [x9, #0]",
        "ldp d10, d11, [x9, #16]",
        "ldp d12, d13, [x9, #32]",
        "ldp d14, d15, [x9, #48]",
        "ldr x9, [x0, {fpcr}]",
        "msr fpcr, x9",
        "add x9, x0, {x}",
        "ldp x19, x20, [x9, #0]",
        "ldp x21, x22, [x9, #16]",
        "ldp x23, x24, [x9, #32]",
        "ldp x25, x26, [x9, #48]",
        "ldp x27, x28, [x9, #64]",
        "ldr x29, [x9, #80]",
        "mov x0, x1",
        "mov x1, x2",
        "blr x3",
        // Only registers that a callee may ruin are used until all is stored.
        "ldr x10, [sp, #168]",
        "add x9, x10, {x}",
        "stp x19, x20, [x9, #0]",
        "stp x21, x22, [x9, #16]",
        "stp x23, x24, [x9, #32]",
        "stp x25, x26, [x9, #48]",
        "stp x27, x28, [x9, #64]",
        "str x29, [x9, #80]",
        "add x9, x10, {d}",
        "stp d8, d9, [x9, #0]",
        "stp d10, d11, [x9, #16]",
        "stp d12, d13, [x9, #32]",
        "stp d14, d15, [x9, #48]",
        "mrs x9, fpcr",
        "str x9, [x10, {fpcr}]",
        "mov x9, sp",
        "ldr x11, [sp, #176]",
        "sub x9, x9, x11",
        "str x9, [x10, {sp_moved}]",
        "ldr x9, [sp, #160]",
        "msr fpcr, x9",
        "ldp x19, x20, [sp, #0]",
        "ldp x21, x22, [sp, #16]",
        "ldp x23, x24, [sp, #32]",
        "ldp x25, x26, [sp, #48]",
        "ldp x27, x28, [sp, #64]",
        "ldp x29, x30, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "add sp, sp, #192",
        "ret",
        x = const offset_of!(Kept, x),
        sp_moved = const offset_of!(Kept, sp_moved),
        d = const offset_of!(Kept, d),
        fpcr = const offset_of!(Kept, fpcr),
    )
}

/// A body that ruins everything a callee must keep, as compiled code in the
/// middle of something has, and calls `data` with the context, which does not
/// return. Its own frame can be unwound: the frame pointer, which the frames
/// further out are found by, is on record.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn ruin_and_call(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!(
        ".cfi_startproc",
        "sub sp, sp, #4080",
        ".cfi_def_cfa_offset 4080",
        "str x29, [sp, #4064]",
        "str x30, [sp, #4072]",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x19, #-1",
        "mov x20, #-1",
        "mov x21, #-1",
        "mov x22, #-1",
        "mov x23, #-1",
        "mov x24, #-1",
        "mov x25, #-1",
        "mov x26, #-1",
        "mov x27, #-1",
        "mov x28, #-1",
        "mov x29, #-1",
        "fmov d8, x19",
        "fmov d9, x19",
        "fmov d10, x19",
        "fmov d11, x19",
        "fmov d12, x19",
        "fmov d13, x19",
        "fmov d14, x19",
        "fmov d15, x19",
        // Another rounding mode, denormals kept.
        "mov x9, #0xc00000",
        "msr fpcr, x9",
        "blr x1",
        "udf #0",
        ".cfi_endproc",
    )
}

/// A body that stores the stack pointer that it was called with at `data`.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn store_stack_pointer(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!("mov x9, sp", "str x9, [x1]", "mov w0, #79", "ret")
}
