// riscv64.

    // Optimising builds also look at this without the target's features.
    .option push
    .option arch, +d
    .text
    .p2align 4
fake_guest_start:

// Entry trampoline. a0: the store's words; a1: guest function; a2: program.
// Returns 1, or 0 if the guest was left for the landing pad.
fake_guest_enter:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    addi sp, sp, -192
    sd s1, 0(sp)
    sd s2, 8(sp)
    sd s3, 16(sp)
    sd s4, 24(sp)
    sd s5, 32(sp)
    sd s6, 40(sp)
    sd s7, 48(sp)
    sd s8, 56(sp)
    sd s9, 64(sp)
    sd s10, 72(sp)
    sd s11, 80(sp)
    fsd fs0, 88(sp)
    fsd fs1, 96(sp)
    fsd fs2, 104(sp)
    fsd fs3, 112(sp)
    fsd fs4, 120(sp)
    fsd fs5, 128(sp)
    fsd fs6, 136(sp)
    fsd fs7, 144(sp)
    fsd fs8, 152(sp)
    fsd fs9, 160(sp)
    fsd fs10, 168(sp)
    fsd fs11, 176(sp)
    sd s0, {entry_fp}(a0)
    sd sp, {entry_sp}(a0)
    lla t0, fake_guest_landing_pad
    sd t0, {entry_trap_handler}(a0)
    mv t0, a1
    mv a1, a2
    // The guest may use them as it likes.
    li s1, -1
    li s2, -1
    li s3, -1
    li s4, -1
    li s5, -1
    li s6, -1
    li s7, -1
    li s8, -1
    li s9, -1
    li s10, -1
    li s11, -1
    fmv.d.x fs0, s1
    fmv.d.x fs1, s1
    fmv.d.x fs2, s1
    fmv.d.x fs3, s1
    fmv.d.x fs4, s1
    fmv.d.x fs5, s1
    fmv.d.x fs6, s1
    fmv.d.x fs7, s1
    fmv.d.x fs8, s1
    fmv.d.x fs9, s1
    fmv.d.x fs10, s1
    fmv.d.x fs11, s1
    jalr t0
    li a0, 1
    j 2f
fake_guest_landing_pad:
    li a0, 0
2:
    ld s1, 0(sp)
    ld s2, 8(sp)
    ld s3, 16(sp)
    ld s4, 24(sp)
    ld s5, 32(sp)
    ld s6, 40(sp)
    ld s7, 48(sp)
    ld s8, 56(sp)
    ld s9, 64(sp)
    ld s10, 72(sp)
    ld s11, 80(sp)
    fld fs0, 88(sp)
    fld fs1, 96(sp)
    fld fs2, 104(sp)
    fld fs3, 112(sp)
    fld fs4, 120(sp)
    fld fs5, 128(sp)
    fld fs6, 136(sp)
    fld fs7, 144(sp)
    fld fs8, 152(sp)
    fld fs9, 160(sp)
    fld fs10, 168(sp)
    fld fs11, 176(sp)
    addi sp, sp, 192
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret

// A function that calls the next one.
fake_guest_frame:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    ld t0, 0(a1)
    addi a1, a1, 8
    jalr t0
fake_guest_frame_return:
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret

// A function that tail-calls the next one.
fake_guest_tail:
    ld t0, 0(a1)
    addi a1, a1, 8
    jr t0

// A function that does nothing.
fake_guest_nothing:
    ret

// A function that calls a host function, and the next function afterwards.
// Program: exit trampoline, host function, its data, next function.
fake_guest_host_then:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    addi sp, sp, -16
    sd a0, 0(sp)
    sd a1, 8(sp)
    ld t0, 0(a1)
    addi a1, a1, 8
    jalr t0
fake_guest_host_then_return:
    ld a0, 0(sp)
    ld a1, 8(sp)
    addi sp, sp, 16
    ld t0, 24(a1)
    addi a1, a1, 32
    jalr t0
fake_guest_host_then_return_2:
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret

// Exit trampoline that writes its own frame pointer. Program: host function,
// its data. If the host function returns false, the guest is left.
fake_guest_exit:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    sd s0, {exit_fp}(a0)
    sd ra, {exit_pc}(a0)
    ld t0, 0(a1)
    ld a0, 8(a1)
    jalr t0
    andi a0, a0, 0xff
    beqz a0, 2f
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret
2:
    call {raise}
    unimp

// Exit trampoline that writes the frame pointer of the guest.
fake_guest_exit_guest_fp:
    sd s0, {exit_fp}(a0)
    sd ra, {exit_pc}(a0)
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    ld t0, 0(a1)
    ld a0, 8(a1)
    jalr t0
    andi a0, a0, 0xff
    beqz a0, 2f
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret
2:
    call {raise}
    unimp

// A function with an instruction that traps: instead of an exception, what
// would handle it is called with the registers that it would find. Program:
// data for it.
fake_guest_trap:
    addi sp, sp, -16
    sd ra, 8(sp)
    sd s0, 0(sp)
    mv s0, sp
    lla a0, fake_guest_trap_site
    ld a2, 0(a1)
    mv a1, s0
    call {fault}
fake_guest_trap_site:
    nop
    ld ra, 8(sp)
    ld s0, 0(sp)
    addi sp, sp, 16
    ret

    .p2align 4
fake_guest_end:

// The first function on a fiber's stack, reached by a jump: calls the fiber's
// main function with the first payload register.
fake_fiber_start:
    .cfi_startproc
    .cfi_undefined ra
    call {fiber_main}
    unimp
    .cfi_endproc
    .option pop
