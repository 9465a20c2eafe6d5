//! The guest for aarch64, with the calling convention of C.

use core::arch::global_asm;

use crate::embedding::{check_fuel, host_function, raise};

global_asm!(
    ".section .text.guest, \"ax\", @progbits",
    ".globl guest_text, guest_enter, guest_trap, guest_text_end",
    ".balign 4",
    "guest_text:",
    // The entry trampoline: words in x0, argument in w1.
    "guest_enter:",
    "stp x29, x30, [sp, #-16]!",
    "mov x29, sp",
    "str x29, [x0, #16]",
    "bl 2f",
    "ldp x29, x30, [sp], #16",
    "ret",
    // The function.
    "2:",
    "stp x29, x30, [sp, #-32]!",
    "mov x29, sp",
    "stp x0, x1, [sp, #16]",
    "cbz w1, guest_trap",
    "adr x9, 3f",
    "stp x29, x9, [x0]",
    "mov w0, w1",
    "bl {host_function}",
    "3:",
    "cmn x0, #1",
    "b.eq 5f",
    "ldp x2, x1, [sp, #16]",
    "adr x9, 4f",
    "str x9, [x2, #8]",
    "str x0, [sp, #16]",
    "mov w0, w1",
    "bl {check_fuel}",
    "4:",
    "ldr x0, [sp, #16]",
    "ldp x29, x30, [sp], #32",
    "ret",
    "5:",
    "bl {raise}",
    "guest_trap:",
    "udf #0",
    "guest_text_end:",
    ".text",
    host_function = sym host_function,
    check_fuel = sym check_fuel,
    raise = sym raise,
);
