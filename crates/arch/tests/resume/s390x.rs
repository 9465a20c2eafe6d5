//! Where jumps and detours lead to, on s390x.

use core::arch::naked_asm;

use crate::go_back;

/// What a call puts on the stack.
pub(crate) const RETURN_ADDRESS_BYTES: usize = 0;
/// What lies between a frame record and the stack pointer of the function that
/// a detour calls: the register save area of that function.
pub(crate) const DETOUR_CALLEE_BELOW_FP: usize = 160;
/// Whether a jump sets the frame pointer: it is found at the stack pointer.
pub(crate) const FP_IS_A_REGISTER: bool = false;

/// Reached by a jump: notes its registers in the `Seen` that the second
/// payload register points to.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn target() -> ! {
    naked_asm!(
        "stg %r15, 0(%r7)",
        "mvc 8(8, %r7), 0(%r15)",
        "stmg %r6, %r7, 16(%r7)",
        "lgr %r2, %r7",
        "aghi %r15, -160",
        "brasl %r14, {go_back}",
        ".short 0",
        go_back = sym go_back,
    )
}

/// Called by a detour: the same for what a callee finds, and the argument in
/// place of the payload.
#[unsafe(naked)]
pub(crate) extern "C" fn detoured(seen: usize) -> ! {
    naked_asm!(
        "stg %r15, 0(%r2)",
        "mvc 8(8, %r2), 0(%r15)",
        "stg %r2, 16(%r2)",
        "aghi %r15, -160",
        "brasl %r14, {go_back}",
        ".short 0",
        go_back = sym go_back,
    )
}
