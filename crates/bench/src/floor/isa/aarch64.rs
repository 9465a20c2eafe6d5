//! aarch64 under Linux.

use core::arch::naked_asm;
use core::ffi::c_void;

use super::SetAndJump;
use crate::floor::faults::{Fault, Faulting, Landing};

unsafe extern "C" {
    fn _setjmp();
    fn longjmp();
}

pub(in crate::floor) const SET_AND_JUMP: Option<SetAndJump> = Some(set_and_jump);

/// In assembly, since a function that returns twice must not be known to the compiler.
///
/// # Safety
///
/// * The buffer has 1 KiB.
#[unsafe(naked)]
unsafe extern "C" fn set_and_jump(buffer: *mut u8) {
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "str x19, [sp, #16]",
        // Kept by both.
        "mov x19, x0",
        "bl {set}",
        "cbnz w0, 2f",
        "mov x0, x19",
        "mov w1, #1",
        "bl {jump}",
        "2:",
        "ldr x19, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "ret",
        set = sym _setjmp,
        jump = sym longjmp,
    )
}

/// A function with the instruction in the middle of it.
macro_rules! faulting {
    ($name:ident: $instruction:literal) => {
        /// # Safety
        ///
        /// * A handler leaves for the landing.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(landing: *const Landing, inaccessible: *const c_void) {
            naked_asm!(
                // What has to be kept: the handler does not, if it jumps.
                "stp x29, x30, [sp, #-160]!",
                "stp x19, x20, [sp, #16]",
                "stp x21, x22, [sp, #32]",
                "stp x23, x24, [sp, #48]",
                "stp x25, x26, [sp, #64]",
                "stp x27, x28, [sp, #80]",
                "stp d8, d9, [sp, #96]",
                "stp d10, d11, [sp, #112]",
                "stp d12, d13, [sp, #128]",
                "stp d14, d15, [sp, #144]",
                "adr x9, 2f",
                "str x9, [x0]",
                "mov x9, sp",
                "str x9, [x0, #8]",
                $instruction,
                // Targets of indirect jumps are marked where the processor insists on it.
                "2:",
                "hint #36",
                "ldp x19, x20, [sp, #16]",
                "ldp x21, x22, [sp, #32]",
                "ldp x23, x24, [sp, #48]",
                "ldp x25, x26, [sp, #64]",
                "ldp x27, x28, [sp, #80]",
                "ldp d8, d9, [sp, #96]",
                "ldp d10, d11, [sp, #112]",
                "ldp d12, d13, [sp, #128]",
                "ldp d14, d15, [sp, #144]",
                "ldp x29, x30, [sp], #160",
                "ret",
            )
        }
    };
}

faulting!(load: "ldr w9, [x1]");
faulting!(refused: "udf #0xc11f");

/// Divisions do not fault here: compiled code checks and runs an illegal instruction.
pub(in crate::floor) const fn faulting(fault: Fault) -> Option<Faulting> {
    Some(match fault {
        Fault::Load => load,
        Fault::Division | Fault::Refused => refused,
    })
}

pub(in crate::floor) fn redirect(context: &mut libc::ucontext_t, pc: usize, sp: usize) {
    context.uc_mcontext.pc = pc as u64;
    context.uc_mcontext.sp = sp as u64;
}

/// # Safety
///
/// * The landing was noted by a function above, which has not returned.
#[unsafe(naked)]
pub(in crate::floor) unsafe extern "C" fn leave(landing: *const Landing) -> ! {
    naked_asm!("ldp x16, x9, [x0]", "mov sp, x9", "br x16")
}
