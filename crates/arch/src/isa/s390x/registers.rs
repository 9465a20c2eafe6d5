//! The registers that a callee keeps, for `jump::tests`.

use core::arch::naked_asm;
use core::mem::offset_of;

use crate::context::{JmpBuf, SetjmpBody};

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 0;

/// The state that a function keeps for its caller (ELF ABI, "Registers").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Kept {
    /// `r6` to `r13`.
    r: [u64; 8],
    /// Byte offset from the stack pointer right before the call to the one
    /// right after it.
    r15_moved: u64,
    /// `f8` to `f15`.
    f: [u64; 8],
    fpc: u32,
}

/// The bits of the FPC that are control, not status: exception masks, decimal
/// and binary rounding modes.
const FPC_CONTROL: u32 = 0xf800_0077;

/// Decimal rounding up, binary rounding down, everything masked.
pub(crate) const PATTERNS: Kept = Kept {
    r: [
        0xb0b0_b0b0_0000_0006,
        0xb0b0_b0b0_0000_0007,
        0xb0b0_b0b0_0000_0008,
        0xb0b0_b0b0_0000_0009,
        0xb0b0_b0b0_0000_000a,
        0xb0b0_b0b0_0000_000b,
        0xb0b0_b0b0_0000_000c,
        0xb0b0_b0b0_0000_000d,
    ],
    r15_moved: 0,
    f: [
        0xf0f0_f0f0_0000_0008,
        0xf0f0_f0f0_0000_0009,
        0xf0f0_f0f0_0000_000a,
        0xf0f0_f0f0_0000_000b,
        0xf0f0_f0f0_0000_000c,
        0xf0f0_f0f0_0000_000d,
        0xf0f0_f0f0_0000_000e,
        0xf0f0_f0f0_0000_000f,
    ],
    fpc: 0x0000_0023,
};

impl Kept {
    /// Without the bits that a callee may change.
    pub(crate) fn without_status(self) -> Self {
        Self {
            fpc: self.fpc & FPC_CONTROL,
            ..self
        }
    }

    /// The registers, with the settings of the patterns.
    pub(crate) fn without_settings(self) -> Self {
        Self {
            fpc: PATTERNS.fpc,
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
        "stmg %r6, %r15, 48(%r15)",
        // A save area for the callee; our caller's other registers, its FPC,
        // `kept` and the stack pointer.
        "aghi %r15, -248",
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
        "stg %r15, 240(%r15)",
        "lfpc {fpc}(%r2)",
        "la %r1, {f}(%r2)",
        "ld %f8, 0(%r1)",
        "ld %f9, 8(%r1)",
        "ld %f10, 16(%r1)",
        "ld %f11, 24(%r1)",
        "ld %f12, 32(%r1)",
        "ld %f13, 40(%r1)",
        "ld %f14, 48(%r1)",
        "ld %f15, 56(%r1)",
        "lgr %r0, %r3",
        "lgr %r1, %r5",
        "lgr %r3, %r4",
        "lmg %r6, %r13, {r}(%r2)",
        "lgr %r2, %r0",
        "basr %r14, %r1",
        // Only registers that a callee may ruin are used until all is stored.
        "lg %r3, 232(%r15)",
        "stmg %r6, %r13, {r}(%r3)",
        "la %r1, {f}(%r3)",
        "std %f8, 0(%r1)",
        "std %f9, 8(%r1)",
        "std %f10, 16(%r1)",
        "std %f11, 24(%r1)",
        "std %f12, 32(%r1)",
        "std %f13, 40(%r1)",
        "std %f14, 48(%r1)",
        "std %f15, 56(%r1)",
        "stfpc {fpc}(%r3)",
        "lgr %r1, %r15",
        "sg %r1, 240(%r15)",
        "stg %r1, {r15_moved}(%r3)",
        "lfpc 224(%r15)",
        "ld %f8, 160(%r15)",
        "ld %f9, 168(%r15)",
        "ld %f10, 176(%r15)",
        "ld %f11, 184(%r15)",
        "ld %f12, 192(%r15)",
        "ld %f13, 200(%r15)",
        "ld %f14, 208(%r15)",
        "ld %f15, 216(%r15)",
        "lmg %r6, %r15, 296(%r15)",
        "br %r14",
        r = const offset_of!(Kept, r),
        r15_moved = const offset_of!(Kept, r15_moved),
        f = const offset_of!(Kept, f),
        fpc = const offset_of!(Kept, fpc),
    )
}

/// A body that ruins everything a callee must keep, as compiled code in the
/// middle of something has, and calls `data` with the context, which does not
/// return. Its own frame can be unwound.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn ruin_and_call(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!(
        ".cfi_startproc",
        "stmg %r14, %r15, 112(%r15)",
        ".cfi_offset %r14, -48",
        ".cfi_offset %r15, -40",
        "aghi %r15, -4104",
        ".cfi_def_cfa_offset 4264",
        "lghi %r6, -1",
        "lghi %r7, -1",
        "lghi %r8, -1",
        "lghi %r9, -1",
        "lghi %r10, -1",
        "lghi %r11, -1",
        "lghi %r12, -1",
        "lghi %r13, -1",
        "ldgr %f8, %r6",
        "ldgr %f9, %r6",
        "ldgr %f10, %r6",
        "ldgr %f11, %r6",
        "ldgr %f12, %r6",
        "ldgr %f13, %r6",
        "ldgr %f14, %r6",
        "ldgr %f15, %r6",
        // Other rounding modes.
        "mvhi 160(%r15), 0x71",
        "lfpc 160(%r15)",
        "basr %r14, %r3",
        ".short 0",
        ".cfi_endproc",
    )
}

/// A body that stores the stack pointer that it was called with at `data`.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn store_stack_pointer(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!("stg %r15, 0(%r3)", "lghi %r2, 79", "br %r14")
}
