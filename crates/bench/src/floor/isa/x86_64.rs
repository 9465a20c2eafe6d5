//! x86_64 under Linux.

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
        // Kept by both; the push aligns the stack.
        "push rbx",
        "mov rbx, rdi",
        "call {set}@PLT",
        "test eax, eax",
        "jnz 2f",
        "mov rdi, rbx",
        "mov esi, 1",
        "call {jump}@PLT",
        "2:",
        "pop rbx",
        "ret",
        set = sym _setjmp,
        jump = sym longjmp,
    )
}

/// A function with the instruction in the middle of it.
macro_rules! faulting {
    ($name:ident: $($instruction:literal),+) => {
        /// # Safety
        ///
        /// * A handler leaves for the landing.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(landing: *const Landing, inaccessible: *const c_void) {
            naked_asm!(
                // What has to be kept: the handler does not, if it jumps.
                "push rbp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "lea rax, [rip + 2f]",
                "mov [rdi], rax",
                "mov [rdi + 8], rsp",
                $($instruction,)+
                "2:",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop rbx",
                "pop rbp",
                "ret",
            )
        }
    };
}

faulting!(load: "mov eax, [rsi]");
faulting!(divide: "mov eax, 0x80000000", "cdq", "mov ecx, -1", "idiv ecx");
faulting!(refused: "hlt");

pub(in crate::floor) const fn faulting(fault: Fault) -> Option<Faulting> {
    Some(match fault {
        Fault::Load => load,
        Fault::Division => divide,
        Fault::Refused => refused,
    })
}

pub(in crate::floor) fn redirect(context: &mut libc::ucontext_t, pc: usize, sp: usize) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = pc as i64;
    registers[libc::REG_RSP as usize] = sp as i64;
}

/// # Safety
///
/// * The landing was noted by a function above, which has not returned.
#[unsafe(naked)]
pub(in crate::floor) unsafe extern "C" fn leave(landing: *const Landing) -> ! {
    naked_asm!("mov rsp, [rdi + 8]", "jmp [rdi]")
}
