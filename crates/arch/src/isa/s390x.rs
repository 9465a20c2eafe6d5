//! s390x, "s390x ELF Application Binary Interface Supplement" (called ELF ABI
//! below).
//!
//! No register is a frame pointer here: frames are chained through the *back
//! chain*, the word that the stack pointer (`r15`) points to while a function
//! runs, which holds what the stack pointer was when it was called. That value
//! is what stands for the frame pointer everywhere in trapline:
//!
//! ```text
//!  fp + 160   ┌───────────────────────────────────────────────┐ CFA
//!  fp + 112   │ return address (r14), saved by the function   │
//!             │ r6 to r15, saved by the function              │
//!  fp +   0   │ back chain: the caller's fp                   │ ◄─ fp
//!             ├───────────────────────────────────────────────┤
//!             │ the function's own frame                      │
//!  r15 +  0   │ back chain: fp                                │ ◄─ r15
//!             └───────────────────────────────────────────────┘
//! ```
//!
//! The 160 bytes at `fp` are the register save area that every caller provides
//! for its callee ("Stack Frame Layout"), so that they are the frame record of the
//! callee. This is how Cranelift does it where it is asked to preserve frame
//! pointers (`isa/s390x/abi.rs`, 0.135.8: the module's documentation and
//! `gen_clobber_save`; `get_frame_pointer` reads the word at `r15`), and how
//! Wasmtime walks it (wasmtime-internal-unwinder 48.0.8, `arch/s390x.rs`).

use core::arch::{asm, naked_asm};

use crate::address::VirtualAddress;
use crate::context::{JmpBufStruct, Resume, SetjmpBody};

/// Alignment of a frame pointer in bytes.
///
/// ELF ABI, "Stack Frame Layout": the stack pointer is a multiple of 8.
pub const FP_ALIGN: usize = 8;

/// ELF ABI, "Stack Frame Layout": the place of `r14` in the register save area.
pub(crate) const NEXT_OLDER_PC_FROM_FP_OFFSET: usize = 14 * 8;

/// Byte offset from a frame pointer to the word that holds the caller's frame
/// pointer: 0, the back chain (ELF ABI, "Stack Frame Layout").
pub const NEXT_OLDER_FP_FROM_FP_OFFSET: usize = 0;

/// Byte distance from a frame pointer up to what the stack pointer of the
/// caller was right before its call instruction: 0, they are the same.
pub const NEXT_OLDER_SP_FROM_FP_OFFSET: usize = 0;

/// Bytes of the register save area that a caller provides at its stack pointer
/// (ELF ABI, "Stack Frame Layout").
const SAVE_AREA: usize = 160;

/// There is no pointer authentication on this instruction set.
#[inline]
pub(crate) fn strip_return_address(word: usize) -> VirtualAddress {
    VirtualAddress::new(word)
}

/// Whether the paging hardware would take this address: it takes all of them,
/// addresses have 64 bits (z/Architecture Principles of Operation, "Virtual
/// Address"). Smaller address spaces end at a multiple of a table's size.
#[inline]
#[must_use]
pub const fn is_canonical(addr: VirtualAddress) -> bool {
    let _ = addr;
    true
}

/// The stack pointer (`r15`) of the function that this is put into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("lgr {}, %r15", out(reg) sp, options(nomem, nostack, preserves_flags)) };
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
        // Everything that a callee must keep (ELF ABI, "Registers"): r6 to r13
        // and r15, in the area that the caller provides, with the return
        // address; below, f8 to f15 and the control bits of the FPC.
        "stmg %r6, %r15, 48(%r15)",
        ".cfi_offset %r6, -112",
        ".cfi_offset %r7, -104",
        ".cfi_offset %r8, -96",
        ".cfi_offset %r9, -88",
        ".cfi_offset %r10, -80",
        ".cfi_offset %r11, -72",
        ".cfi_offset %r12, -64",
        ".cfi_offset %r13, -56",
        ".cfi_offset %r14, -48",
        ".cfi_offset %r15, -40",
        "lgr %r1, %r15",
        "aghi %r15, -256",
        ".cfi_def_cfa_offset 416",
        // The back chain, and above it: the save area for `body` (160), the
        // buffer (24), the FPC (8, of which 4 are used), f8 to f15 (64).
        "stg %r1, 0(%r15)",
        #[cfg(not(target_abi = "softfloat"))]
        "std %f8, 192(%r15)
         std %f9, 200(%r15)
         std %f10, 208(%r15)
         std %f11, 216(%r15)
         std %f12, 224(%r15)
         std %f13, 232(%r15)
         std %f14, 240(%r15)
         std %f15, 248(%r15)
         .cfi_offset %f8, -224
         .cfi_offset %f9, -216
         .cfi_offset %f10, -208
         .cfi_offset %f11, -200
         .cfi_offset %f12, -192
         .cfi_offset %f13, -184
         .cfi_offset %f14, -176
         .cfi_offset %f15, -168
         stfpc 184(%r15)",
        // The buffer is on this frame, so that saving is a few stores.
        "stg %r15, 160 + {sp}(%r15)",
        "stg %r1, 160 + {fp}(%r15)",
        "larl %r1, 2f",
        "stg %r1, 160 + {pc}(%r15)",
        // body(buf, data)
        "lgr %r1, %r3",
        "lgr %r3, %r2",
        "la %r2, 160(%r15)",
        "basr %r14, %r1",
        "j 3f",
        // The landing point: r15 and the value in r6 are set. A jump may come
        // from code that changed the control bits; and the value is any word,
        // while an `i32` is returned sign-extended.
        "2:",
        "lgfr %r2, %r6",
        #[cfg(not(target_abi = "softfloat"))]
        "lfpc 184(%r15)",
        // One epilogue for both ways.
        "3:",
        #[cfg(not(target_abi = "softfloat"))]
        "ld %f8, 192(%r15)
         ld %f9, 200(%r15)
         ld %f10, 208(%r15)
         ld %f11, 216(%r15)
         ld %f12, 224(%r15)
         ld %f13, 232(%r15)
         ld %f14, 240(%r15)
         ld %f15, 248(%r15)",
        "lmg %r6, %r15, 304(%r15)",
        ".cfi_def_cfa_offset 160",
        "br %r14",
        ".cfi_endproc",
        pc = const core::mem::offset_of!(JmpBufStruct, landing.pc),
        sp = const core::mem::offset_of!(JmpBufStruct, landing.sp),
        fp = const core::mem::offset_of!(JmpBufStruct, landing.fp),
    )
}

// The assembly above counts on these.
const _: () = assert!(size_of::<JmpBufStruct>() == 24);
const _: () = assert!(SAVE_AREA == 160);

/// Loads the registers of `resume` and goes to its `pc`. There is no frame
/// pointer to load: it is found at the stack pointer.
///
/// The payload goes to `r6` and `r7`, where Cranelift's landing pads expect it
/// (`exception_payload_regs` in its `isa/s390x/abi.rs`) and where a saved
/// context takes its value.
///
/// # Safety
///
/// As [`Resume::jump`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume_jump(resume: *const Resume) -> ! {
    naked_asm!(
        "lg %r1, {pc}(%r2)",
        "lg %r6, {payload}(%r2)",
        "lg %r7, {payload} + 8(%r2)",
        // Last, since `resume` may lie below the new stack pointer, where an
        // interrupt could overwrite it.
        "lg %r15, {sp}(%r2)",
        "br %r1",
        pc = const core::mem::offset_of!(Resume, pc),
        sp = const core::mem::offset_of!(Resume, sp),
        payload = const core::mem::offset_of!(Resume, payload),
    )
}

/// Where the stack of a detour starts for code interrupted in the frame with
/// this frame pointer: below the frame record, with a register save area of its
/// own for what is called there. What the interrupted function kept there is
/// given up.
#[inline]
pub(crate) const fn detour_stack_pointer(fp: VirtualAddress) -> usize {
    (fp.get() & !(FP_ALIGN - 1)).wrapping_sub(SAVE_AREA)
}

/// Calls the function in the first payload register with the second as its
/// argument. The back chain leads to the interrupted code's frame pointer, so
/// that the stack can be walked from here; unwinding by tables ends here.
///
/// # Safety
///
/// Never called; reached with the registers that [`crate::detour`] gives.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn detour_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined %r14",
        // `detour_stack_pointer` made room for one save area; who resumed here
        // could set registers, but write no back chain.
        "la %r1, {save_area}(%r15)",
        "stg %r1, 0(%r15)",
        "lgr %r2, %r7",
        "basr %r14, %r6",
        // No operation has this code.
        ".short 0",
        ".cfi_endproc",
        save_area = const SAVE_AREA,
    )
}

#[cfg(test)]
pub(crate) mod registers;
