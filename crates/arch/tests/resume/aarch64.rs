//! Where jumps and detours lead to, on aarch64.

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
        "mov x9, sp",
        "stp x9, x29, [x1]",
        "stp x0, x1, [x1, #16]",
        "mov x0, x1",
        "and sp, x9, #-16",
        "bl {go_back}",
        "udf #0",
        go_back = sym go_back,
    )
}

/// Called by a detour: the same for what a callee finds, and the argument in
/// place of the payload.
#[unsafe(naked)]
pub(crate) extern "C" fn detoured(seen: usize) -> ! {
    naked_asm!(
        "mov x9, sp",
        "stp x9, x29, [x0]",
        "str x0, [x0, #16]",
        "and sp, x9, #-16",
        "bl {go_back}",
        "udf #0",
        go_back = sym go_back,
    )
}
