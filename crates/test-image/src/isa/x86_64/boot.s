// The way into 64-bit mode, for the first CPU and for others, and the
// exception vectors. AT&T syntax.

// A loader that knows PVH enters at the address in Xen's note
// XEN_ELFNOTE_PHYS32_ENTRY (18), in 32-bit protected mode with flat segments
// and without paging (Xen, docs/misc/pvh.pandoc).
.section .note.pvh, "a", @note
.balign 4
.long 4, 8, 18
.asciz "Xen"
.quad _start

// Control registers: Intel SDM volume 3, 2.5 and 2.2.1.
// CR4: PAE (bit 5), OSFXSR (9), OSXMMEXCPT (10).
.set CR4_ON, 0x620
// CR0: PE (0), MP (1), NE (5), WP (16), PG (31) on, EM (2) and TS (3) off: floating
// point works, and pages that are not writable bind the kernel too.
.set CR0_ON, 0x80010023
.set CR0_OFF, 0x0000000c
// IA32_EFER: LME (8), NXE (11).
.set IA32_EFER, 0xc0000080
.set EFER_ON, 0x900
.set IA32_GS_BASE, 0xc0000101

.set SELECTOR_CODE64, 0x08
.set SELECTOR_DATA, 0x10
.set SELECTOR_CODE32, 0x18

.section .text.boot, "ax", @progbits
.code32
.globl _start
_start:
    cli
    cld
    // No SecondaryStart: the first CPU.
    xorl %ebx, %ebx
enter_64_bit_mode:
    movl $boot_level_3, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $CR4_ON, %eax
    movl %eax, %cr4
    movl $IA32_EFER, %ecx
    rdmsr
    orl $EFER_ON, %eax
    wrmsr
    movl %cr0, %eax
    andl $~CR0_OFF, %eax
    orl $CR0_ON, %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $SELECTOR_CODE64, $in_64_bit_mode

.code64
in_64_bit_mode:
    movw $SELECTOR_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    lldt %ax
    fninit
    // No CPU-locals yet. (The firmware may have left a base.)
    xorl %edx, %edx
    movl $IA32_GS_BASE, %ecx
    wrmsr
    // The end of the chain of frames.
    xorl %ebp, %ebp
    testl %ebx, %ebx
    jnz 2f
    leaq __boot_stack_top(%rip), %rsp
    call {start}
    ud2
2:  movq 0(%rbx), %rax
    movq 8(%rbx), %rsp
    movq 16(%rbx), %rdi
    movq 24(%rbx), %rcx
    movq %rax, %cr3
    // All is read: the place is free for the next CPU.
    movq $0, secondary_start(%rip)
    call *%rcx
    ud2

// Copied below 1 MiB. A CPU that is started comes here in real mode, with cs:0
// at the start.
.section .rodata.trampoline, "a", @progbits
.code16
.globl trampoline_start, trampoline_end
trampoline_start:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    // The suffix: with operands of 16 bits, only 24 bits of the base are loaded.
    lgdtl trampoline_gdt_pointer - trampoline_start
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $SELECTOR_CODE32, $in_protected_mode
.balign 4
trampoline_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

.section .text.boot, "ax", @progbits
.code32
in_protected_mode:
    movw $SELECTOR_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl secondary_start, %ebx
    jmp enter_64_bit_mode

// One entry for each vector, 16 bytes apart. Exceptions that have an error code
// of their own (Intel SDM volume 3, table 6-1) get none from us.
.section .text.vectors, "ax", @progbits
.code64
.balign 16
.globl vectors
vectors:
.set number, 0
.rept {vectors}
    .balign 16
    .if (number == 8) || (number >= 10 && number <= 14) || (number == 17) || (number == 21)
    .else
    pushq $0
    .endif
    pushq $number
    jmp trap_entry
    .set number, number + 1
.endr

// On the stack that the vector's gate names, which the CPU has aligned to 16
// bytes before it pushed five words. What is pushed is a TrapFrame.
.balign 16
trap_entry:
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rbp
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rbx
    pushq %rax
    // First of all: a page fault in the handler would overwrite it.
    movq %cr2, %rax
    pushq %rax
    pushq $0
    xorl %ebp, %ebp
    cld
    movq %rsp, %rdi
    call {handle}
    addq $16, %rsp
    popq %rax
    popq %rbx
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rbp
    popq %r8
    popq %r9
    popq %r10
    popq %r11
    popq %r12
    popq %r13
    popq %r14
    popq %r15
    // The vector and the error code.
    addq $16, %rsp
    iretq

// void enable_and_halt(): waits for an interrupt. A function, so that there is one `hlt`.
.text
.globl enable_and_halt, halt
enable_and_halt:
    sti
halt:
    hlt
    ret

.section .data.boot, "aw", @progbits
.balign 16
.globl gdt
gdt:
    // Null, code of 64 bits, data, code of 32 bits (Intel SDM volume 3, 3.4.5),
    // then two words for the TSS of each CPU, which init_cpu writes.
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
    .zero 16 * {cpus}
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

.balign 8
.globl secondary_start
secondary_start:
    .quad 0

// The first 4 GiB at their own addresses, in pages of 2 MiB with all rights: until
// the kernel activates its own tables.
.balign 4096
boot_level_3:
    .quad boot_level_2 + 3
    .zero 4096 - 8
boot_level_2:
    .quad boot_level_1 + 0x0003, boot_level_1 + 0x1003
    .quad boot_level_1 + 0x2003, boot_level_1 + 0x3003
    .zero 4096 - 32
boot_level_1:
.set number, 0
.rept 4 * 512
    .quad number << 21 | 0x83
    .set number, number + 1
.endr

.text
