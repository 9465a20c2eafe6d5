//! x86_64 (psABI 3.2.1).

use std::arch::{asm, naked_asm};
use std::mem::offset_of;

/// The registers that a callee has to keep.
#[derive(Clone, PartialEq, Debug)]
#[repr(C)]
pub(super) struct Kept {
    rbx: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    /// Control bits of the SSE unit. Its status bits are the callee's to change;
    /// they are left out of the comparison.
    mxcsr: u32,
    /// Control word of the x87 unit.
    x87: u32,
}

/// The exception flags: bits 0 to 5 of MXCSR (Intel SDM volume 1, 10.2.3).
const MXCSR_STATUS: u32 = 0x3f;

impl Kept {
    /// Zeroes what a callee may change.
    pub(super) fn forget_status(&mut self) {
        self.mxcsr &= !MXCSR_STATUS;
    }
}

/// Calls `f(data)` with the registers in `kept`, and puts there what they are
/// when it returns. For its own caller all is as before.
///
/// # Safety
///
/// * `f` may be called with `data`, under these control words.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn call_with_registers(
    kept: *mut Kept,
    f: unsafe extern "C" fn(*mut u8),
    data: *mut u8,
) {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        // Six pushes keep the stack aligned, and so do 16 bytes for the control
        // words.
        "sub rsp, 16",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov rbx, [rdi + {rbx}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "ldmxcsr [rdi + {mxcsr}]",
        "fldcw [rdi + {x87}]",
        "mov rdi, rdx",
        "call rsi",
        "mov rdi, [rsp + 16]",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "stmxcsr [rdi + {mxcsr}]",
        "mov dword ptr [rdi + {x87}], 0",
        "fnstcw [rdi + {x87}]",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 24",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rbx = const offset_of!(Kept, rbx),
        r12 = const offset_of!(Kept, r12),
        r13 = const offset_of!(Kept, r13),
        r14 = const offset_of!(Kept, r14),
        r15 = const offset_of!(Kept, r15),
        mxcsr = const offset_of!(Kept, mxcsr),
        x87 = const offset_of!(Kept, x87),
    )
}

/// Registers with values that nobody else has, rounding down in the SSE unit
/// and up in the x87 unit, which has 53 bits of precision.
pub(super) fn unusual() -> Kept {
    Kept {
        rbx: 0xb0b0_b0b0_0000_0001,
        r12: 0xb0b0_b0b0_0000_0012,
        r13: 0xb0b0_b0b0_0000_0013,
        r14: 0xb0b0_b0b0_0000_0014,
        r15: 0xb0b0_b0b0_0000_0015,
        mxcsr: 0x3f80,
        x87: 0x0a7f,
    }
}

/// Rounding to nearest, and no exceptions.
///
/// # Safety
///
/// * No caller counts on others before this thread leaves for where they are put back.
pub(super) unsafe fn set_usual_control_words() {
    let (mxcsr, x87) = (0x1f80_u32, 0x037f_u16);
    // SAFETY: the usual control words; the rest is this function's duty.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack, readonly));
        asm!("fldcw [{}]", in(reg) &raw const x87, options(nostack, readonly));
    }
}
