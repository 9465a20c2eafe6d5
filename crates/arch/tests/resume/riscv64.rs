//! Where jumps and detours lead to, on riscv64.

use core::arch::naked_asm;

use crate::go_back;

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 0;
/// What lies between a frame record and the stack pointer of the function that
/// a detour calls: nothing.
pub(crate) const DETOUR_CALLEE_BELOW_FP: usize = 0;
/// Whether a jump sets the frame pointer.
pub(crate) const FP_IS_A_REGISTER: bool = true;

/// Reached by a jump: notes its registers in the `Seen` that the second
/// payload register points to.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn target() -> ! {
    naked_asm!(
        "sd sp, 0(a1)",
        "sd s0, 8(a1)",
        "sd a0, 16(a1)",
        "sd a1, 24(a1)",
        "mv a0, a1",
        "andi sp, sp, -16",
        "call {go_back}",
        "unimp",
        go_back = sym go_back,
    )
}

/// Called by a detour: the same for what a callee finds, and the argument in
/// place of the payload.
#[unsafe(naked)]
pub(crate) extern "C" fn detoured(seen: usize) -> ! {
    naked_asm!(
        "sd sp, 0(a0)",
        "sd s0, 8(a0)",
        "sd a0, 16(a0)",
        "andi sp, sp, -16",
        "call {go_back}",
        "unimp",
        go_back = sym go_back,
    )
}
