// aarch64.

    .text
    .p2align 4
fake_guest_start:

// Entry trampoline. x0: the store's words; x1: guest function; x2: program.
// Returns 1, or 0 if the guest was left for the landing pad.
fake_guest_enter:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    sub sp, sp, #144
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp d8, d9, [sp, #80]
    stp d10, d11, [sp, #96]
    stp d12, d13, [sp, #112]
    stp d14, d15, [sp, #128]
    str x29, [x0, {entry_fp}]
    mov x9, sp
    str x9, [x0, {entry_sp}]
    adr x9, fake_guest_landing_pad
    str x9, [x0, {entry_trap_handler}]
    mov x9, x1
    mov x1, x2
    // The guest may use them as it likes.
    mov x19, #-1
    mov x20, #-1
    mov x21, #-1
    mov x22, #-1
    mov x23, #-1
    mov x24, #-1
    mov x25, #-1
    mov x26, #-1
    mov x27, #-1
    mov x28, #-1
    fmov d8, x19
    fmov d9, x19
    fmov d10, x19
    fmov d11, x19
    fmov d12, x19
    fmov d13, x19
    fmov d14, x19
    fmov d15, x19
    blr x9
    mov w0, #1
    b 2f
fake_guest_landing_pad:
    mov w0, #0
2:
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp d8, d9, [sp, #80]
    ldp d10, d11, [sp, #96]
    ldp d12, d13, [sp, #112]
    ldp d14, d15, [sp, #128]
    add sp, sp, #144
    ldp x29, x30, [sp], #16
    ret

// A function that calls the next one.
fake_guest_frame:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    ldr x9, [x1], #8
    blr x9
fake_guest_frame_return:
    ldp x29, x30, [sp], #16
    ret

// A function that tail-calls the next one.
fake_guest_tail:
    ldr x9, [x1], #8
    br x9

// A function that does nothing.
fake_guest_nothing:
    ret

// A function that calls a host function, and the next function afterwards.
// Program: exit trampoline, host function, its data, next function.
fake_guest_host_then:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    stp x0, x1, [sp, #-16]!
    ldr x9, [x1], #8
    blr x9
fake_guest_host_then_return:
    ldp x0, x1, [sp], #16
    ldr x9, [x1, #24]
    add x1, x1, #32
    blr x9
fake_guest_host_then_return_2:
    ldp x29, x30, [sp], #16
    ret

// Exit trampoline that writes its own frame pointer. Program: host function,
// its data. If the host function returns false, the guest is left.
fake_guest_exit:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    str x29, [x0, {exit_fp}]
    str x30, [x0, {exit_pc}]
    ldp x9, x0, [x1]
    blr x9
    tst w0, #0xff
    b.eq 2f
    ldp x29, x30, [sp], #16
    ret
2:
    bl {raise}
    udf #0

// Exit trampoline that writes the frame pointer of the guest.
fake_guest_exit_guest_fp:
    str x29, [x0, {exit_fp}]
    str x30, [x0, {exit_pc}]
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    ldp x9, x0, [x1]
    blr x9
    tst w0, #0xff
    b.eq 2f
    ldp x29, x30, [sp], #16
    ret
2:
    bl {raise}
    udf #0

// A function with an instruction that traps: instead of an exception, what
// would handle it is called with the registers that it would find. Program:
// data for it.
fake_guest_trap:
    stp x29, x30, [sp, #-16]!
    mov x29, sp
    adr x0, fake_guest_trap_site
    ldr x2, [x1]
    mov x1, x29
    bl {fault}
fake_guest_trap_site:
    nop
    ldp x29, x30, [sp], #16
    ret

    .p2align 4
fake_guest_end:

// The first function on a fiber's stack, reached by a jump: calls the fiber's
// main function with the first payload register.
fake_fiber_start:
    .cfi_startproc
    .cfi_undefined x30
    bl {fiber_main}
    udf #0
    .cfi_endproc
