//! The guest for x86_64, with the calling convention of C.

use core::arch::global_asm;

use crate::embedding::{check_fuel, host_function, raise};

global_asm!(
    ".section .text.guest, \"ax\", @progbits",
    ".globl guest_text, guest_enter, guest_trap, guest_text_end",
    "guest_text:",
    // The entry trampoline: words in rdi, argument in esi.
    "guest_enter:",
    "push rbp",
    "mov rbp, rsp",
    "mov [rdi + 16], rbp",
    "call 2f",
    "pop rbp",
    "ret",
    // The function.
    "2:",
    "push rbp",
    "mov rbp, rsp",
    "push rdi",
    "push rsi",
    "test esi, esi",
    "jz guest_trap",
    "mov [rdi], rbp",
    "lea rax, [rip + 3f]",
    "mov [rdi + 8], rax",
    "mov edi, esi",
    "call {host_function}",
    "3:",
    "cmp rax, -1",
    "je 5f",
    "mov rdi, [rbp - 8]",
    "lea rcx, [rip + 4f]",
    "mov [rdi + 8], rcx",
    "mov edi, [rbp - 16]",
    "mov [rbp - 8], rax",
    "call {check_fuel}",
    "4:",
    "mov rax, [rbp - 8]",
    "leave",
    "ret",
    "5:",
    "call {raise}",
    "guest_trap:",
    "ud2",
    "guest_text_end:",
    ".text",
    host_function = sym host_function,
    check_fuel = sym check_fuel,
    raise = sym raise,
);
