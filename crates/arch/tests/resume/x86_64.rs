//! Where jumps and detours lead to, on x86_64.

use core::arch::naked_asm;

use crate::go_back;

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 8;
/// What lies between a frame record and the stack pointer of the function that
/// a detour calls: the return address.
pub(crate) const DETOUR_CALLEE_BELOW_FP: usize = 8;
/// Whether a jump sets the frame pointer.
pub(crate) const FP_IS_A_REGISTER: bool = true;

/// Reached by a jump: notes its registers in the `Seen` that the second
/// payload register points to.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn target() -> ! {
    naked_asm!(
        "mov [rdx], rsp",
        "mov [rdx + 8], rbp",
        "mov [rdx + 16], rax",
        "mov [rdx + 24], rdx",
        "mov rdi, rdx",
        "and rsp, -16",
        "call {go_back}",
        "ud2",
        go_back = sym go_back,
    )
}

/// Called by a detour: the same for what a callee finds, and the argument in
/// place of the payload.
#[unsafe(naked)]
pub(crate) extern "C" fn detoured(seen: usize) -> ! {
    naked_asm!(
        "mov [rdi], rsp",
        "mov [rdi + 8], rbp",
        "mov [rdi + 16], rdi",
        "and rsp, -16",
        "call {go_back}",
        "ud2",
        go_back = sym go_back,
    )
}
