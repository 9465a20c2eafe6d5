//! x86_64, System V ABI ("System V Application Binary Interface, AMD64
//! Architecture Processor Supplement", called psABI below).
//!
//! A frame record, and where the frame pointer (`rbp`) points:
//!
//! ```text
//!   rbp + 16   the caller's stack pointer after the return
//!   rbp +  8   return address
//!   rbp +  0   the caller's rbp
//! ```

use core::arch::{asm, naked_asm};

use crate::address::VirtualAddress;
use crate::context::{JmpBufStruct, Resume, SetjmpBody};

/// Alignment of a frame pointer in bytes.
///
/// psABI 3.2.2: the stack is 16-byte aligned before a call; the return address
/// and the saved `rbp` below it bring `rbp` back to that alignment.
pub const FP_ALIGN: usize = 16;

/// psABI 3.2.2, figure 3.3: the return address lies above the saved `rbp`.
pub(crate) const NEXT_OLDER_PC_FROM_FP_OFFSET: usize = 8;

/// Byte offset from a frame pointer to the word that holds the caller's frame
/// pointer: 0, the word it points to (psABI 3.2.2, figure 3.3).
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

/// Whether the paging hardware would take this address: bits 63 to 56 are
/// copies of bit 56 (five-level paging, 57-bit addresses).
///
/// With four-level paging the hardware is stricter (bit 47); an address that
/// passes here may still fault there, never the other way round (Intel SDM
/// volume 1, 3.3.7.1 "Canonical Addressing").
#[inline]
#[must_use]
pub const fn is_canonical(addr: VirtualAddress) -> bool {
    addr.is_sign_extended_from(57)
}

/// The stack pointer (`rsp`) of the function that this is put into.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let sp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
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
        "endbr64",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        // Everything that a callee must keep (psABI 3.2.1): rbx, r12 to r15,
        // and, below, the control bits of MXCSR and the x87 control word.
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        ".cfi_offset rbx, -24",
        ".cfi_offset r12, -32",
        ".cfi_offset r13, -40",
        ".cfi_offset r14, -48",
        ".cfi_offset r15, -56",
        // Five pushes after an aligned rbp leave 8 bytes to make up for: 40
        // bytes hold the buffer (24), the control words (8) and that padding.
        "sub rsp, 40",
        "stmxcsr dword ptr [rsp + 24]",
        "fnstcw word ptr [rsp + 28]",
        // The buffer is on this frame, so that saving is a few stores.
        "lea rax, [rip + 2f]",
        "mov [rsp + {pc}], rax",
        "mov [rsp + {sp}], rsp",
        "mov [rsp + {fp}], rbp",
        // body(buf, data)
        "mov rax, rsi",
        "mov rsi, rdi",
        "mov rdi, rsp",
        "call rax",
        "jmp 3f",
        // The landing point: rsp, rbp and the value in rax are set. A jump may
        // come from code that changed the control words, or from an indirect
        // branch that wants a landing mark (endbr64).
        "2:",
        "endbr64",
        "cld",
        "ldmxcsr dword ptr [rsp + 24]",
        "fldcw word ptr [rsp + 28]",
        // One epilogue for both ways.
        "3:",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
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
/// The payload goes to `rax` and `rdx`, where Cranelift's landing pads expect
/// it (its tail calling convention) and where a saved context takes its value.
///
/// # Safety
///
/// As [`Resume::jump`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume_jump(resume: *const Resume) -> ! {
    naked_asm!(
        "mov rcx, [rdi + {pc}]",
        "mov rax, [rdi + {payload}]",
        "mov rdx, [rdi + {payload} + 8]",
        "mov rbp, [rdi + {fp}]",
        // Last, since `resume` may lie below the new stack pointer, where an
        // interrupt could overwrite it.
        "mov rsp, [rdi + {sp}]",
        "jmp rcx",
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
/// argument. `rbp` still is the interrupted code's frame pointer, so that the
/// stack can be walked from here; unwinding by tables ends here.
///
/// # Safety
///
/// Never called; reached with the registers that [`crate::detour`] gives.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn detour_entry() -> ! {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "endbr64",
        "cld",
        "mov rdi, rdx",
        "call rax",
        "ud2",
        ".cfi_endproc",
    )
}

#[cfg(test)]
pub(crate) mod registers;
