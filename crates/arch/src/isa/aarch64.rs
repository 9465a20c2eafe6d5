//! aarch64, AAPCS64 ("Procedure Call Standard for the Arm 64-bit
//! Architecture").
//!
//! A frame record, and where the frame pointer (`x29`) points:
//!
//! ```text
//!   x29 + 16   the caller's stack pointer
//!   x29 +  8   return address (x30), maybe with authentication bits
//!   x29 +  0   the caller's x29
//! ```
//!
//! The standard leaves open where in a frame the record lies ("The Frame
//! Pointer"). In code compiled by Cranelift (`gen_prologue_frame_setup` in its
//! `isa/aarch64/abi.rs`, 0.135.8) and in the functions below it lies at the top.
//!
//! Where branch target identification is on, an indirect branch has to lead to
//! a mark. Marks are written as the hints that they are (`hint 34` is `bti c`,
//! 38 is `bti jc`), which every processor takes for "do nothing" if it does not
//! know them (Arm ARM, "BTI").

use core::arch::{asm, naked_asm};

use crate::address::VirtualAddress;
use crate::context::{JmpBufStruct, Resume, SetjmpBody};

/// Alignment of a frame pointer in bytes.
///
/// AAPCS64, "The Stack": the stack pointer is a multiple of 16 wherever memory
/// is accessed through it, and records are pushed as pairs.
pub const FP_ALIGN: usize = 16;

/// AAPCS64, "The Frame Pointer": the return address is the record's higher word.
pub(crate) const NEXT_OLDER_PC_FROM_FP_OFFSET: usize = 8;

/// Byte offset from a frame pointer to the word that holds the caller's frame
/// pointer: 0, the record's lower word (AAPCS64, "The Frame Pointer").
pub const NEXT_OLDER_FP_FROM_FP_OFFSET: usize = 0;

/// Byte distance from a frame pointer up to what the stack pointer of the
/// caller was right before its call instruction: above the record, 16 bytes.
pub const NEXT_OLDER_SP_FROM_FP_OFFSET: usize = 16;

/// Takes the authentication bits away, if there are any.
///
/// A function may sign its return address before it stores it (FEAT_PAuth). The
/// signature lies in the bits above the translated address, so that bit 55 still
/// tells the two address ranges apart: `xpaclri` puts copies of it, which are ones
/// in a kernel's address and zeros in a process's, back to where the signature
/// was. It has to be asked: how many bits that are depends on the size of the
/// address space and on top-byte-ignore, which only privileged code can read.
/// In the hint space (`hint 7`), which this form is encoded in, it does nothing
/// on processors without signatures. It works on the link register only.
#[inline]
pub(crate) fn strip_return_address(word: usize) -> VirtualAddress {
    let address: usize;
    // SAFETY: changes x30 and nothing else, as is said.
    unsafe {
        asm!(
            "hint 7",
            inout("x30") word => address,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    VirtualAddress::new(address)
}

/// Whether the paging hardware would take this address: bits 63 to 55 are all
/// the same (Arm ARM, "Address translation": bit 55 selects the lower or the
/// upper of the two address ranges, which are at most 56 bits wide).
///
/// With a smaller address space, which is the rule (48 or 52 bits), the hardware
/// is stricter; an address that passes here may still fault there.
///
/// With top-byte-ignore the hardware takes addresses with anything in their top
/// byte. Those do not pass: such a tag is part of a data pointer, never of a
/// stack pointer, a frame pointer or a program counter, and addresses with tags
/// can't be compared.
#[inline]
#[must_use]
pub const fn is_canonical(addr: VirtualAddress) -> bool {
    addr.is_sign_extended_from(56)
}

/// The stack pointer (`sp`) of the function that this is put into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
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
        "hint 34",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        ".cfi_def_cfa x29, 16",
        // The buffer (24) and the control word (8), and above them everything
        // that a callee must keep: x19 to x28 (AAPCS64, "General-purpose
        // Registers"), the lower halves of v8 to v15 and the control bits of
        // FPCR ("SIMD and Floating-Point Registers").
        "sub sp, sp, #176",
        "stp x19, x20, [sp, #32]",
        "stp x21, x22, [sp, #48]",
        "stp x23, x24, [sp, #64]",
        "stp x25, x26, [sp, #80]",
        "stp x27, x28, [sp, #96]",
        ".cfi_offset x19, -160",
        ".cfi_offset x20, -152",
        ".cfi_offset x21, -144",
        ".cfi_offset x22, -136",
        ".cfi_offset x23, -128",
        ".cfi_offset x24, -120",
        ".cfi_offset x25, -112",
        ".cfi_offset x26, -104",
        ".cfi_offset x27, -96",
        ".cfi_offset x28, -88",
        #[cfg(target_feature = "neon")]
        "stp d8, d9, [sp, #112]
         stp d10, d11, [sp, #128]
         stp d12, d13, [sp, #144]
         stp d14, d15, [sp, #160]
         .cfi_offset d8, -80
         .cfi_offset d9, -72
         .cfi_offset d10, -64
         .cfi_offset d11, -56
         .cfi_offset d12, -48
         .cfi_offset d13, -40
         .cfi_offset d14, -32
         .cfi_offset d15, -24
         mrs x9, fpcr
         str x9, [sp, #24]",
        // The buffer is on this frame, so that saving is a few stores.
        "adr x9, 2f",
        "mov x10, sp",
        "str x9, [sp, {pc}]",
        "str x10, [sp, {sp}]",
        "str x29, [sp, {fp}]",
        // body(buf, data)
        "mov x9, x1",
        "mov x1, x0",
        "mov x0, sp",
        "blr x9",
        "b 3f",
        // The landing point: sp, x29 and the value in x0 are set. A jump may
        // come from code that changed the control word; from an indirect
        // branch; or from an exception that was taken right behind one, which
        // the return from the exception then still asks a mark for.
        "2:",
        "hint 38",
        #[cfg(target_feature = "neon")]
        "ldr x9, [sp, #24]
         msr fpcr, x9",
        // One epilogue for both ways.
        "3:",
        "ldp x19, x20, [sp, #32]",
        "ldp x21, x22, [sp, #48]",
        "ldp x23, x24, [sp, #64]",
        "ldp x25, x26, [sp, #80]",
        "ldp x27, x28, [sp, #96]",
        #[cfg(target_feature = "neon")]
        "ldp d8, d9, [sp, #112]
         ldp d10, d11, [sp, #128]
         ldp d12, d13, [sp, #144]
         ldp d14, d15, [sp, #160]",
        "add sp, sp, #176",
        ".cfi_def_cfa sp, 16",
        "ldp x29, x30, [sp], #16",
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
/// The payload goes to `x0` and `x1`, where Cranelift's landing pads expect it
/// (`exception_payload_regs` in its `isa/aarch64/abi.rs`) and where a saved
/// context takes its value.
///
/// # Safety
///
/// As [`Resume::jump`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume_jump(resume: *const Resume) -> ! {
    naked_asm!(
        "hint 34",
        "mov x9, x0",
        "ldr x10, [x9, {pc}]",
        "ldr x11, [x9, {sp}]",
        "ldr x29, [x9, {fp}]",
        "ldp x0, x1, [x9, {payload}]",
        // Last, since `resume` may lie below the new stack pointer, where an
        // interrupt could overwrite it.
        "mov sp, x11",
        // Not `br`: Cranelift marks the targets of jump tables, but no landing
        // pads (`machinst/blockorder.rs`), and a return needs no mark.
        "ret x10",
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
/// argument. `x29` still is the interrupted code's frame pointer, so that the
/// stack can be walked from here; unwinding by tables ends here.
///
/// # Safety
///
/// Never called; reached with the registers that [`crate::detour`] gives.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn detour_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        // As at the landing point above.
        "hint 38",
        "mov x9, x0",
        "mov x0, x1",
        "blr x9",
        "udf #0",
        ".cfi_endproc",
    )
}

#[cfg(test)]
pub(crate) mod registers;
