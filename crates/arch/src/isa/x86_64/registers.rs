//! The registers that a callee keeps, for `jump::tests`.

extern crate std;

use core::arch::naked_asm;
use core::mem::offset_of;
use core::ptr;

use super::call_with_setjmp_raw;
use crate::context::{JmpBuf, SetjmpBody};

/// What a call puts on the stack (psABI 3.2.2).
pub(crate) const RETURN_ADDRESS_BYTES: usize = 8;

/// The state that a function keeps for its caller (psABI 3.2.1), and the
/// direction flag, which is clear whenever a function is called or returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Kept {
    rbx: u64,
    rbp: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    /// Byte offset from the stack pointer right before the call to the one
    /// right after it.
    rsp_moved: u64,
    rflags: u64,
    mxcsr: u32,
    x87_control: u16,
}

const DIRECTION_FLAG: u64 = 1 << 10;
/// The bits of MXCSR that are control, not status.
const MXCSR_CONTROL: u32 = 0xffc0;

/// Everything masked, rounding towards zero, flushing denormals.
pub(crate) const PATTERNS: Kept = Kept {
    rbx: 0xb0b0_b0b0_0000_0001,
    rbp: 0xb0b0_b0b0_0000_0002,
    r12: 0xb0b0_b0b0_0000_0003,
    r13: 0xb0b0_b0b0_0000_0004,
    r14: 0xb0b0_b0b0_0000_0005,
    r15: 0xb0b0_b0b0_0000_0006,
    rsp_moved: 0,
    rflags: 0,
    mxcsr: 0xff80,
    // Double precision, rounding up, everything masked.
    x87_control: 0x0a7f,
};

impl Kept {
    /// Without the bits that a callee may change.
    pub(crate) fn without_status(self) -> Self {
        Self {
            rflags: self.rflags & DIRECTION_FLAG,
            mxcsr: self.mxcsr & MXCSR_CONTROL,
            ..self
        }
    }

    /// The registers, with the settings of the patterns.
    pub(crate) fn without_settings(self) -> Self {
        Self {
            mxcsr: PATTERNS.mxcsr,
            x87_control: PATTERNS.x87_control,
            ..self.without_status()
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
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // Seven words with the return address; one for our own control words,
        // one for `kept`, one for rsp, and one to align: 16 * 5 + 8.
        "sub rsp, 40",
        "stmxcsr dword ptr [rsp]",
        "fnstcw word ptr [rsp + 4]",
        "mov [rsp + 8], rdi",
        "ldmxcsr dword ptr [rdi + {mxcsr}]",
        "fldcw word ptr [rdi + {x87}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rbp, [rdi + {rbp}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov [rsp + 16], rsp",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "call rcx",
        // Only registers that a callee may ruin are used until all is stored.
        "mov rdi, [rsp + 8]",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {rbp}], rbp",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "mov rcx, rsp",
        "sub rcx, [rsp + 16]",
        "mov [rdi + {rsp_moved}], rcx",
        "pushfq",
        "pop rcx",
        "mov [rdi + {rflags}], rcx",
        "stmxcsr dword ptr [rdi + {mxcsr}]",
        "fnstcw word ptr [rdi + {x87}]",
        "cld",
        "ldmxcsr dword ptr [rsp]",
        "fldcw word ptr [rsp + 4]",
        "add rsp, 40",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rbx = const offset_of!(Kept, rbx),
        rbp = const offset_of!(Kept, rbp),
        r12 = const offset_of!(Kept, r12),
        r13 = const offset_of!(Kept, r13),
        r14 = const offset_of!(Kept, r14),
        r15 = const offset_of!(Kept, r15),
        rsp_moved = const offset_of!(Kept, rsp_moved),
        rflags = const offset_of!(Kept, rflags),
        mxcsr = const offset_of!(Kept, mxcsr),
        x87 = const offset_of!(Kept, x87_control),
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
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "sub rsp, 4096",
        ".cfi_def_cfa_offset 4112",
        "mov rbx, -1",
        "mov rbp, -1",
        "mov r12, -1",
        "mov r13, -1",
        "mov r14, -1",
        "mov r15, -1",
        // Another rounding mode in both units.
        "mov dword ptr [rsp], 0x3f80",
        "ldmxcsr dword ptr [rsp]",
        "mov word ptr [rsp], 0x067f",
        "fldcw word ptr [rsp]",
        "call rsi",
        "ud2",
        ".cfi_endproc",
    )
}

/// A body that stores the stack pointer that it was called with at `data`.
#[unsafe(naked)]
pub(crate) unsafe extern "C-unwind" fn store_stack_pointer(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!("mov [rsi], rsp", "mov eax, 79", "ret")
}

/// A body that goes to the landing point with the direction flag set, as an
/// exception handler may that interrupted a backward string copy.
#[unsafe(naked)]
unsafe extern "C-unwind" fn go_back_with_direction_flag(buf: JmpBuf, data: *mut u8) -> i32 {
    naked_asm!(
        "mov rcx, [rdi + {pc}]",
        "mov rbp, [rdi + {fp}]",
        "mov rsp, [rdi + {sp}]",
        "mov eax, 78",
        "std",
        "jmp rcx",
        pc = const offset_of!(crate::context::JmpBufStruct, landing.pc),
        sp = const offset_of!(crate::context::JmpBufStruct, landing.sp),
        fp = const offset_of!(crate::context::JmpBufStruct, landing.fp),
    )
}

#[test]
fn the_direction_flag_is_clear_after_a_jump() {
    let mut kept = PATTERNS;
    // SAFETY: `kept` is alive; the body goes to the context it is given.
    let value = unsafe {
        with_registers(
            &mut kept,
            ptr::null_mut(),
            go_back_with_direction_flag,
            call_with_setjmp_raw,
        )
    };
    assert_eq!(value, 78);
    assert_eq!(kept.without_status(), PATTERNS);
}
