// s390x: what stands for the frame pointer is the back chain, the word at the
// stack pointer.

    .text
    .p2align 4
fake_guest_start:

// Entry trampoline. r2: the store's words; r3: guest function; r4: program.
// Returns 1, or 0 if the guest was left for the landing pad.
fake_guest_enter:
    stmg %r6, %r15, 48(%r15)
    lgr %r1, %r15
    aghi %r15, -224
    stg %r1, 0(%r15)
    std %f8, 160(%r15)
    std %f9, 168(%r15)
    std %f10, 176(%r15)
    std %f11, 184(%r15)
    std %f12, 192(%r15)
    std %f13, 200(%r15)
    std %f14, 208(%r15)
    std %f15, 216(%r15)
    stg %r1, {entry_fp}(%r2)
    stg %r15, {entry_sp}(%r2)
    larl %r1, fake_guest_landing_pad
    stg %r1, {entry_trap_handler}(%r2)
    lgr %r1, %r3
    lgr %r3, %r4
    // The guest may use them as it likes.
    lghi %r6, -1
    lghi %r7, -1
    lghi %r8, -1
    lghi %r9, -1
    lghi %r10, -1
    lghi %r11, -1
    lghi %r12, -1
    lghi %r13, -1
    ldgr %f8, %r6
    ldgr %f9, %r6
    ldgr %f10, %r6
    ldgr %f11, %r6
    ldgr %f12, %r6
    ldgr %f13, %r6
    ldgr %f14, %r6
    ldgr %f15, %r6
    basr %r14, %r1
    lghi %r2, 1
    j 2f
fake_guest_landing_pad:
    lghi %r2, 0
2:
    ld %f8, 160(%r15)
    ld %f9, 168(%r15)
    ld %f10, 176(%r15)
    ld %f11, 184(%r15)
    ld %f12, 192(%r15)
    ld %f13, 200(%r15)
    ld %f14, 208(%r15)
    ld %f15, 216(%r15)
    lmg %r6, %r15, 272(%r15)
    br %r14

// A function that calls the next one.
fake_guest_frame:
    stmg %r14, %r15, 112(%r15)
    lgr %r1, %r15
    aghi %r15, -160
    stg %r1, 0(%r15)
    lg %r1, 0(%r3)
    aghi %r3, 8
    basr %r14, %r1
fake_guest_frame_return:
    lmg %r14, %r15, 272(%r15)
    br %r14

// A function that tail-calls the next one.
fake_guest_tail:
    lg %r1, 0(%r3)
    aghi %r3, 8
    br %r1

// A function that does nothing.
fake_guest_nothing:
    br %r14

// A function that calls a host function, and the next function afterwards.
// Program: exit trampoline, host function, its data, next function.
fake_guest_host_then:
    stmg %r14, %r15, 112(%r15)
    lgr %r1, %r15
    aghi %r15, -176
    stg %r1, 0(%r15)
    stmg %r2, %r3, 160(%r15)
    lg %r1, 0(%r3)
    aghi %r3, 8
    basr %r14, %r1
fake_guest_host_then_return:
    lmg %r2, %r3, 160(%r15)
    lg %r1, 24(%r3)
    aghi %r3, 32
    basr %r14, %r1
fake_guest_host_then_return_2:
    lmg %r14, %r15, 288(%r15)
    br %r14

// Exit trampoline that writes its own frame pointer. Program: host function,
// its data. If the host function returns false, the guest is left.
fake_guest_exit:
    stmg %r14, %r15, 112(%r15)
    lgr %r1, %r15
    aghi %r15, -160
    stg %r1, 0(%r15)
    stg %r1, {exit_fp}(%r2)
    stg %r14, {exit_pc}(%r2)
    lg %r1, 0(%r3)
    lg %r2, 8(%r3)
    basr %r14, %r1
    tmll %r2, 0xff
    jz 2f
    lmg %r14, %r15, 272(%r15)
    br %r14
2:
    brasl %r14, {raise}
    .short 0

// Exit trampoline that writes the frame pointer of the guest.
fake_guest_exit_guest_fp:
    lg %r1, 0(%r15)
    stg %r1, {exit_fp}(%r2)
    stg %r14, {exit_pc}(%r2)
    stmg %r14, %r15, 112(%r15)
    lgr %r1, %r15
    aghi %r15, -160
    stg %r1, 0(%r15)
    lg %r1, 0(%r3)
    lg %r2, 8(%r3)
    basr %r14, %r1
    tmll %r2, 0xff
    jz 2f
    lmg %r14, %r15, 272(%r15)
    br %r14
2:
    brasl %r14, {raise}
    .short 0

// A function with an instruction that traps: instead of an exception, what
// would handle it is called with the registers that it would find. Program:
// data for it.
fake_guest_trap:
    stmg %r14, %r15, 112(%r15)
    lgr %r1, %r15
    aghi %r15, -160
    stg %r1, 0(%r15)
    larl %r2, fake_guest_trap_site
    lg %r4, 0(%r3)
    lg %r3, 0(%r15)
    brasl %r14, {fault}
fake_guest_trap_site:
    bcr 0, %r0
    lmg %r14, %r15, 272(%r15)
    br %r14

    .p2align 4
fake_guest_end:

// The first function on a fiber's stack, reached by a jump: calls the fiber's
// main function with the first payload register.
fake_fiber_start:
    .cfi_startproc
    .cfi_undefined %r14
    aghi %r15, -160
    lgr %r2, %r6
    brasl %r14, {fiber_main}
    .short 0
    .cfi_endproc
