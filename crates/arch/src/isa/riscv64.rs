//! riscv64, "RISC-V ABIs Specification" (called psABI below).
//!
//! A frame record, and where the frame pointer (`s0`) points:
//!
//! ```text
//!   s0 + 16   the caller's stack pointer
//!   s0 +  8   return address (ra)
//!   s0 +  0   the caller's s0
//! ```
//!
//! This is how code compiled by Cranelift lays it out (`gen_prologue_frame_setup`
//! in its `isa/riscv64/abi.rs`, 0.135.8). The psABI's own convention ("Frame
//! Pointer Convention"), which code of C and Rust compilers follows and which
//! `call_with_setjmp_raw` follows for itself, puts the same two words below the
//! place that `s0` points to. Nobody walks over those frames here.
//!
//! # Floating point
//!
//! Whether there are floating-point registers to keep is not something that a
//! stable compiler tells: `target_feature = "d"` is only visible to unstable
//! ones. They all tell of `zicsr` (the instructions that reach `fcsr`), which
//! floating point implies and the targets without floating point, `riscv64imac`
//! among them, leave out. (So code for a machine with `zicsr` and without `D`
//! would stop at the first of the instructions below, loudly.)
//!
//! The assembler is told of `D` by `.option arch`, since optimising builds also
//! look at the assembly for its symbols without the target's features
//! (<https://github.com/rust-lang/rust/issues/80608>).

use core::arch::{asm, naked_asm};

use crate::address::VirtualAddress;
use crate::context::{JmpBufStruct, Resume, SetjmpBody};

/// Alignment of a frame pointer in bytes.
///
/// psABI, "Integer Calling Convention": the stack pointer is a multiple of 16 on
/// entry to a function; the record's two words keep it so.
pub const FP_ALIGN: usize = 16;

/// The return address lies above the saved `s0`.
pub(crate) const NEXT_OLDER_PC_FROM_FP_OFFSET: usize = 8;

/// Byte offset from a frame pointer to the word that holds the caller's frame
/// pointer: 0, the word it points to.
pub const NEXT_OLDER_FP_FROM_FP_OFFSET: usize = 0;

/// Byte distance from a frame pointer up to what the stack pointer of the
/// caller was right before its call instruction: above the saved frame pointer
/// and the return address, 16 bytes.
pub const NEXT_OLDER_SP_FROM_FP_OFFSET: usize = 16;

/// There is no pointer authentication on this instruction set.
#[inline]
pub(crate) fn strip_return_address(word: usize) -> VirtualAddress {
    VirtualAddress::new(word)
}

/// Whether the paging hardware would take this address: bits 63 to 57 are
/// copies of bit 56 (Sv57; RISC-V Privileged Architecture, "Sv57: Page-Based
/// 57-bit Virtual-Memory System").
///
/// With Sv48 (bit 47) and Sv39 (bit 38) the hardware is stricter; an address
/// that passes here may still fault there, never the other way round.
#[inline]
#[must_use]
pub const fn is_canonical(addr: VirtualAddress) -> bool {
    addr.is_sign_extended_from(57)
}

/// The stack pointer (`sp`) of the function that this is put into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

unwind_tables!();

/// Calls `body(buf, data)` with a saved context and returns what it returns,
/// or the value that [`resume_jump`] brought to the context.
///
/// # Safety
///
/// * `body` may be called with `data`.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn call_with_setjmp_raw(
    data: *mut u8,
    body: SetjmpBody,
) -> i32 {
    naked_asm!(
        // The frame, with unwind information all through: a panic in `body`
        // unwinds over this frame like over any other.
        ".cfi_startproc",
        "addi sp, sp, -240",
        ".cfi_def_cfa_offset 240",
        "sd ra, 232(sp)",
        "sd s0, 224(sp)",
        ".cfi_offset ra, -8",
        ".cfi_offset s0, -16",
        "addi s0, sp, 240",
        ".cfi_def_cfa s0, 0",
        // Everything that a callee must keep (psABI, "Register Convention"): s1
        // to s11, fs0 to fs11, and the rounding mode, which is a setting of the
        // whole thread. Below them lies the buffer (24 bytes).
        "sd s1, 216(sp)",
        "sd s2, 208(sp)",
        "sd s3, 200(sp)",
        "sd s4, 192(sp)",
        "sd s5, 184(sp)",
        "sd s6, 176(sp)",
        "sd s7, 168(sp)",
        "sd s8, 160(sp)",
        "sd s9, 152(sp)",
        "sd s10, 144(sp)",
        "sd s11, 136(sp)",
        ".cfi_offset s1, -24",
        ".cfi_offset s2, -32",
        ".cfi_offset s3, -40",
        ".cfi_offset s4, -48",
        ".cfi_offset s5, -56",
        ".cfi_offset s6, -64",
        ".cfi_offset s7, -72",
        ".cfi_offset s8, -80",
        ".cfi_offset s9, -88",
        ".cfi_offset s10, -96",
        ".cfi_offset s11, -104",
        #[cfg(target_feature = "zicsr")]
        ".option push
         .option arch, +d
         fsd fs0, 128(sp)
         fsd fs1, 120(sp)
         fsd fs2, 112(sp)
         fsd fs3, 104(sp)
         fsd fs4, 96(sp)
         fsd fs5, 88(sp)
         fsd fs6, 80(sp)
         fsd fs7, 72(sp)
         fsd fs8, 64(sp)
         fsd fs9, 56(sp)
         fsd fs10, 48(sp)
         fsd fs11, 40(sp)
         .cfi_offset fs0, -112
         .cfi_offset fs1, -120
         .cfi_offset fs2, -128
         .cfi_offset fs3, -136
         .cfi_offset fs4, -144
         .cfi_offset fs5, -152
         .cfi_offset fs6, -160
         .cfi_offset fs7, -168
         .cfi_offset fs8, -176
         .cfi_offset fs9, -184
         .cfi_offset fs10, -192
         .cfi_offset fs11, -200
         frrm t0
         sd t0, 24(sp)
         .option pop",
        // The buffer is on this frame, so that saving is a few stores.
        "lla t0, 2f",
        "sd t0, {pc}(sp)",
        "sd sp, {sp}(sp)",
        "sd s0, {fp}(sp)",
        // body(buf, data)
        // (By t1: a call by t0, the other link register, would tell the return
        // predictor that it is a return as well, "JALR" in the unprivileged ISA.)
        "mv t1, a1",
        "mv a1, a0",
        "mv a0, sp",
        "jalr t1",
        "j 3f",
        // The landing point: sp, s0 and the value in a0 are set. A jump may
        // come from code that changed the rounding mode; and the value is any
        // word, while an `i32` is returned sign-extended.
        "2:",
        "sext.w a0, a0",
        #[cfg(target_feature = "zicsr")]
        ".option push
         .option arch, +d
         ld t0, 24(sp)
         fsrm t0
         .option pop",
        // One epilogue for both ways.
        "3:",
        "ld s1, 216(sp)",
        "ld s2, 208(sp)",
        "ld s3, 200(sp)",
        "ld s4, 192(sp)",
        "ld s5, 184(sp)",
        "ld s6, 176(sp)",
        "ld s7, 168(sp)",
        "ld s8, 160(sp)",
        "ld s9, 152(sp)",
        "ld s10, 144(sp)",
        "ld s11, 136(sp)",
        #[cfg(target_feature = "zicsr")]
        ".option push
         .option arch, +d
         fld fs0, 128(sp)
         fld fs1, 120(sp)
         fld fs2, 112(sp)
         fld fs3, 104(sp)
         fld fs4, 96(sp)
         fld fs5, 88(sp)
         fld fs6, 80(sp)
         fld fs7, 72(sp)
         fld fs8, 64(sp)
         fld fs9, 56(sp)
         fld fs10, 48(sp)
         fld fs11, 40(sp)
         .option pop",
        ".cfi_def_cfa sp, 240",
        "ld s0, 224(sp)",
        "ld ra, 232(sp)",
        "addi sp, sp, 240",
        ".cfi_def_cfa_offset 0",
        "ret",
        ".cfi_endproc",
        pc = const core::mem::offset_of!(JmpBufStruct, landing.pc),
        sp = const core::mem::offset_of!(JmpBufStruct, landing.sp),
        fp = const core::mem::offset_of!(JmpBufStruct, landing.fp),
    )
}

// The assembly above counts on these.
const _: () = assert!(size_of::<JmpBufStruct>() == 24);

/// Loads the registers of `resume` and goes to its `pc`.
///
/// The payload goes to `a0` and `a1`, where Cranelift's landing pads expect it
/// (`exception_payload_regs` in its `isa/riscv64/abi.rs`) and where a saved
/// context takes its value.
///
/// # Safety
///
/// As [`Resume::jump`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume_jump(resume: *const Resume) -> ! {
    naked_asm!(
        "mv t0, a0",
        "ld t1, {sp}(t0)",
        "ld t2, {pc}(t0)",
        "ld s0, {fp}(t0)",
        "ld a0, {payload}(t0)",
        "ld a1, {payload} + 8(t0)",
        // Last, since `resume` may lie below the new stack pointer, where an
        // interrupt could overwrite it.
        "mv sp, t1",
        // By t2, from where a jump leads anywhere: one by another register has to lead to a mark
        // (`lpad`), where that is enforced, and landing pads have none (Zicfilp, "Landing Pad
        // Enforcement"). Not by a return's register, which would mislead the return predictor.
        "jr t2",
        pc = const core::mem::offset_of!(Resume, pc),
        sp = const core::mem::offset_of!(Resume, sp),
        fp = const core::mem::offset_of!(Resume, fp),
        payload = const core::mem::offset_of!(Resume, payload),
    )
}

/// Where the stack of a detour starts for code interrupted in the frame with
/// this frame pointer: right below the frame record, aligned for a call. What
/// the interrupted function kept there is given up.
#[inline]
pub(crate) const fn detour_stack_pointer(fp: VirtualAddress) -> usize {
    fp.get() & !(FP_ALIGN - 1)
}

/// Calls the function in the first payload register with the second as its
/// argument. `s0` still is the interrupted code's frame pointer, so that the
/// stack can be walked from here; unwinding by tables ends here.
///
/// # Safety
///
/// Never called; reached with the registers that [`crate::detour`] gives.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn detour_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined ra",
        "mv t1, a0",
        "mv a0, a1",
        "jalr t1",
        "unimp",
        ".cfi_endproc",
    )
}

#[cfg(test)]
pub(crate) mod registers;
