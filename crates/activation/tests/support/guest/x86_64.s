// x86_64 (Intel syntax).

    .text
    .p2align 4
fake_guest_start:

// Entry trampoline. rdi: the store's words; rsi: guest function; rdx: program.
// Returns 1, or 0 if the guest was left for the landing pad.
fake_guest_enter:
    push rbp
    mov rbp, rsp
    push rbx
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    mov [rdi + {entry_fp}], rbp
    mov [rdi + {entry_sp}], rsp
    lea rax, [rip + fake_guest_landing_pad]
    mov [rdi + {entry_trap_handler}], rax
    mov rax, rsi
    mov rsi, rdx
    // The guest may use them as it likes.
    mov rbx, -1
    mov r12, -1
    mov r13, -1
    mov r14, -1
    mov r15, -1
    call rax
    mov eax, 1
    jmp 2f
fake_guest_landing_pad:
    xor eax, eax
2:
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

// A function that calls the next one.
fake_guest_frame:
    push rbp
    mov rbp, rsp
    mov rax, [rsi]
    add rsi, 8
    call rax
fake_guest_frame_return:
    pop rbp
    ret

// A function that tail-calls the next one.
fake_guest_tail:
    mov rax, [rsi]
    add rsi, 8
    jmp rax

// A function that does nothing.
fake_guest_nothing:
    ret

// A function that calls a host function, and the next function afterwards.
// Program: exit trampoline, host function, its data, next function.
fake_guest_host_then:
    push rbp
    mov rbp, rsp
    push rdi
    push rsi
    mov rax, [rsi]
    add rsi, 8
    call rax
fake_guest_host_then_return:
    mov rdi, [rbp - 8]
    mov rsi, [rbp - 16]
    mov rax, [rsi + 24]
    add rsi, 32
    call rax
fake_guest_host_then_return_2:
    leave
    ret

// Exit trampoline that writes its own frame pointer. Program: host function,
// its data. If the host function returns false, the guest is left.
fake_guest_exit:
    push rbp
    mov rbp, rsp
    mov [rdi + {exit_fp}], rbp
    mov rax, [rbp + 8]
    mov [rdi + {exit_pc}], rax
    mov rax, [rsi]
    mov rdi, [rsi + 8]
    call rax
    test al, al
    jz 2f
    pop rbp
    ret
2:
    call {raise}
    ud2

// Exit trampoline that writes the frame pointer of the guest.
fake_guest_exit_guest_fp:
    mov [rdi + {exit_fp}], rbp
    mov rax, [rsp]
    mov [rdi + {exit_pc}], rax
    push rbp
    mov rbp, rsp
    mov rax, [rsi]
    mov rdi, [rsi + 8]
    call rax
    test al, al
    jz 2f
    pop rbp
    ret
2:
    call {raise}
    ud2

// A function with an instruction that traps: instead of an exception, what
// would handle it is called with the registers that it would find. Program:
// data for it.
fake_guest_trap:
    push rbp
    mov rbp, rsp
    lea rdi, [rip + fake_guest_trap_site]
    mov rdx, [rsi]
    mov rsi, rbp
    call {fault}
fake_guest_trap_site:
    nop
    pop rbp
    ret

    .p2align 4
fake_guest_end:

// The first function on a fiber's stack, reached by a jump: calls the fiber's
// main function with the first payload register.
fake_fiber_start:
    .cfi_startproc
    .cfi_undefined rip
    mov rdi, rax
    call {fiber_main}
    ud2
    .cfi_endproc
