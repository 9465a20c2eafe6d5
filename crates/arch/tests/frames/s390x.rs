//! Functions with frames as compiled code makes them, on s390x.

use core::arch::naked_asm;

use crate::{Known, check};

/// All bits of an address count.
pub(crate) const SIGNIFICANT_BITS: u32 = 64;

/// Notes what it knows about itself, and calls [`callee`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn caller(known: *mut Known) {
    naked_asm!(
        "stmg %r14, %r15, 112(%r15)",
        "lgr %r1, %r15",
        "aghi %r15, -160",
        "stg %r1, 0(%r15)",
        "stg %r1, 16(%r2)",
        "larl %r1, 2f",
        "stg %r1, 0(%r2)",
        "stg %r15, 8(%r2)",
        "brasl %r14, {callee}",
        "2:",
        "lmg %r14, %r15, 272(%r15)",
        "br %r14",
        callee = sym callee,
    )
}

/// Makes a frame as compiled code does, and has it looked at.
#[unsafe(naked)]
unsafe extern "C" fn callee(known: *mut Known) {
    naked_asm!(
        "stmg %r14, %r15, 112(%r15)",
        "lgr %r1, %r15",
        "aghi %r15, -160",
        "stg %r1, 0(%r15)",
        "stg %r1, 24(%r2)",
        "brasl %r14, {check}",
        "lmg %r14, %r15, 272(%r15)",
        "br %r14",
        check = sym check,
    )
}
