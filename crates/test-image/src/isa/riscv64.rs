//! riscv64: QEMU's `virt` machine. The image runs in S-mode; below it, in
//! M-mode, OpenSBI offers what the SBI specification says.

use core::arch::{asm, global_asm};
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use sbi_rt::HartMask;
use trapline::{Resume, VirtualAddress};

use super::{Access, Cause, Entry, Interrupt, PAGE, SecondaryStart};

pub(crate) const NAME: &str = "riscv64";

/// `sstatus.FS` and `.VS`: floating point and vectors are on, and their registers may
/// have been changed. VS stays 0 if there are no vectors.
const SSTATUS_FS_DIRTY: usize = 3 << 13;
const SSTATUS_VS_DIRTY: usize = 3 << 9;

/// The hart that OpenSBI chose to start the image on: not always number 0.
static BOOT_HART: AtomicUsize = AtomicUsize::new(0);

/// The harts that there are: `virt` numbers them from 0.
const HARTS: usize = crate::kernel::cpus::COUNT;

// OpenSBI calls with the number of the hart in a0 and the device tree in a1.
// Paging is off.
global_asm!(
    ".section .text.boot, \"ax\", @progbits",
    ".globl _start",
    "_start:",
    // The linker may have made accesses relative to gp, but not this one.
    ".option push",
    ".option norelax",
    "lla gp, __global_pointer$",
    ".option pop",
    "lla sp, __boot_stack_top",
    "li t0, {fs_vs}",
    "csrs sstatus, t0",
    // No CPU-locals yet.
    "li tp, 0",
    // The end of the chain of frames.
    "li s0, 0",
    "li ra, 0",
    "tail {start}",
    // SBI: hart_start leads here, with the hart in a0 and a `SecondaryStart` in a1.
    ".globl secondary_start",
    "secondary_start:",
    ".option push",
    ".option norelax",
    "lla gp, __global_pointer$",
    ".option pop",
    "li t0, {fs_vs}",
    "csrs sstatus, t0",
    "ld t0, 0(a1)",
    "ld sp, 8(a1)",
    "ld a0, 16(a1)",
    "ld t1, 24(a1)",
    // satp: Sv48 and the number of the root's frame. The code goes on at the
    // same addresses.
    "li t2, {sv48}",
    "srli t0, t0, 12",
    "or t0, t0, t2",
    "sfence.vma",
    "csrw satp, t0",
    "sfence.vma",
    "li tp, 0",
    "li s0, 0",
    "li ra, 0",
    "jr t1",
    ".text",
    fs_vs = const SSTATUS_FS_DIRTY | SSTATUS_VS_DIRTY,
    sv48 = const SATP_SV48,
    start = sym start,
);

unsafe extern "C" {
    fn secondary_start();
}

extern "C" fn start(hart: usize) -> ! {
    BOOT_HART.store(hart, Ordering::Relaxed);
    crate::kernel::start()
}

// Memory and devices: hw/riscv/virt.c, `virt_memmap`. OpenSBI keeps the first
// 2 MiB of memory for itself.
pub(crate) const RAM: Range<usize> = 0x8020_0000..0x1_0000_0000;
pub(crate) const ORDER: usize = 0xa000_0000;
pub(crate) const DEVICES: &[Range<usize>] = &[
    TEST_DEVICE..TEST_DEVICE + PAGE, //
    UART..UART + PAGE,
];
const TEST_DEVICE: usize = 0x10_0000;
const UART: usize = 0x1000_0000;

// Page tables: The RISC-V Instruction Set Manual, volume II, "Sv48". A and D are
// set from the start, so that no implementation has to trap for them.
const VALID: u64 = 1 << 0;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;
const SATP_SV48: usize = 9 << 60;

/// An entry that maps a page, or at a higher level a block, of memory.
pub(crate) const fn leaf(physical: usize, access: Access, _level: usize) -> u64 {
    let access = match access {
        Access::Read => READ,
        Access::ReadWrite | Access::Device => READ | WRITE,
        Access::ReadExecute => READ | EXECUTE,
    };
    frame_number(physical) | access | VALID | ACCESSED | DIRTY
}

/// An entry that leads to the next table.
pub(crate) const fn table(physical: usize) -> u64 {
    frame_number(physical) | VALID
}

/// Bits 10 to 53.
const fn frame_number(physical: usize) -> u64 {
    (physical as u64 >> 12) << 10
}

/// What an entry says.
pub(crate) const fn decode(entry: u64, _level: usize) -> Entry {
    let physical = ((entry >> 10) << 12) as usize;
    match entry & (VALID | READ | WRITE | EXECUTE) {
        0 => Entry::Empty,
        VALID => Entry::Table(physical),
        _ => Entry::Leaf(physical),
    }
}

/// Uses the page tables below `root` from now on.
///
/// # Safety
///
/// * They map all that this CPU uses, at the addresses where it uses it, until
///   others are activated.
pub(crate) unsafe fn activate(root: usize) {
    // SAFETY: the caller's duty; the fences order earlier writes of entries
    // before, and later accesses after it.
    unsafe {
        asm!("sfence.vma", "csrw satp, {}", "sfence.vma", in(reg) SATP_SV48 | root >> 12, options(nostack));
    }
}

/// To be called when entries were filled that had been empty. Implementations
/// may have remembered that they were empty.
pub(crate) fn after_mapping(start: usize, bytes: usize) {
    flush_everywhere(start, bytes);
}

/// To be called when entries were changed or removed, before what they mapped
/// is used for something else.
///
/// All that the harts remember is forgotten, whatever the range: a fence of addresses orders
/// leaf entries only, and a table may have been linked or unlinked (volume II, "Supervisor
/// Memory-Management Fence Instruction").
pub(crate) fn flush_everywhere(_start: usize, _bytes: usize) {
    publish();
    // It reaches the harts that run; others start with a fence of their own.
    sbi_rt::remote_sfence_vma(all_harts(), 0, usize::MAX)
        .into_result()
        .expect("the SBI has remote fences, and the harts exist");
}

/// To be called when instructions were written, before they are executed.
pub(crate) fn synchronize_code(_start: usize, _bytes: usize) {
    publish();
    // Includes this hart.
    sbi_rt::remote_fence_i(all_harts())
        .into_result()
        .expect("the SBI has remote fences, and the harts exist");
}

/// Lets other harts see what was written so far, before a call of the SBI makes them look:
/// the call itself orders nothing.
fn publish() {
    // SAFETY: a barrier.
    unsafe { asm!("fence rw, rw", options(nostack, preserves_flags)) };
}

fn all_harts() -> HartMask {
    HartMask::from_mask_base((1 << HARTS) - 1, 0)
}

/// The hart that CPU `index` is: the one that the image was started on is CPU 0.
fn hart(index: usize) -> usize {
    (BOOT_HART.load(Ordering::Relaxed) + index) % HARTS
}

/// How much of the exception stack belongs to the handler of an exception in
/// the handler.
const NESTED_STACK: usize = 16 * 1024;

/// Sets this CPU up to take exceptions and interrupts (which stay disabled),
/// on the stack that ends at `exception_stack_top`.
///
/// # Safety
///
/// * The stack is this CPU's alone, and has 32 KiB at least.
/// * Interrupts are disabled.
pub(crate) unsafe fn init_cpu(_index: usize, exception_stack_top: usize) {
    /// `sie`: interrupts of software and timer.
    const SSIE_STIE: usize = 1 << 1 | 1 << 5;
    // SAFETY: the vector leads to the code below, which finds its stack in
    // sscratch.
    unsafe {
        asm!(
            "csrw sscratch, {stack}",
            "csrw stvec, {vector}",
            "csrs sie, {interrupts}",
            stack = in(reg) exception_stack_top,
            vector = in(reg) trap_entry as *const () as usize,
            interrupts = in(reg) SSIE_STIE,
            options(nostack),
        );
    }
}

/// Starts CPU `start.index`.
///
/// # Safety
///
/// * It has not been started before.
/// * What `start` says is right, and is there as long as the CPU runs.
pub(crate) unsafe fn start_cpu(start: &'static SecondaryStart) {
    let argument = core::ptr::from_ref(start).expose_provenance();
    publish();
    sbi_rt::hart_start(
        hart(start.index),
        secondary_start as *const () as usize,
        argument,
    )
    .into_result()
    .expect("the hart exists and is stopped");
}

/// `sstatus.SIE`.
const SSTATUS_SIE: usize = 1 << 1;

pub(crate) fn enable_interrupts() {
    // SAFETY: the vector is set before interrupts are first enabled, and
    // interrupts change nothing of what they interrupt.
    unsafe { asm!("csrsi sstatus, {}", const SSTATUS_SIE) };
}

pub(crate) fn disable_interrupts() {
    // SAFETY: delays interrupts only.
    unsafe { asm!("csrci sstatus, {}", const SSTATUS_SIE) };
}

/// Waits for an interrupt, and takes it. Called with interrupts disabled, so that
/// none gets lost between a look at what there is to do and the wait; returns
/// with interrupts enabled.
pub(crate) fn wait_for_interrupt() {
    // A pending interrupt ends the wait, also when it is disabled.
    // SAFETY: as for `enable_interrupts`.
    unsafe { asm!("wfi", "csrsi sstatus, {}", const SSTATUS_SIE) };
}

/// The timer counts at 10 MHz: hw/intc/riscv_aclint.h, `RISCV_ACLINT_DEFAULT_TIMEBASE_FREQ`.
const NANOSECONDS_PER_TICK: u64 = 100;

/// One interrupt of this CPU after `time`, instead of the one asked for before.
pub(crate) fn set_timer(time: Duration) {
    let ticks = time.as_nanos() as u64 / NANOSECONDS_PER_TICK;
    set_timer_at(ticks_now() + ticks);
}

fn set_timer_at(ticks: u64) {
    sbi_rt::set_timer(ticks)
        .into_result()
        .expect("the SBI has a timer");
}

/// An interrupt of CPU `index`, which sees what was written before.
pub(crate) fn send_ipi(index: usize) {
    publish();
    sbi_rt::send_ipi(HartMask::from_mask_base(1, hart(index)))
        .into_result()
        .expect("the hart exists");
}

pub(crate) fn now() -> Duration {
    Duration::from_nanos(ticks_now() * NANOSECONDS_PER_TICK)
}

fn ticks_now() -> u64 {
    let ticks;
    // SAFETY: reads a counter.
    unsafe { asm!("rdtime {}", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

pub(crate) fn pause() {
    core::hint::spin_loop();
}

/// Writes to the serial port: a 16550.
pub(crate) fn serial_write(byte: u8) {
    /// Offset of the line status register, and the bit that says that the
    /// transmitter takes a byte.
    const LINE_STATUS: usize = 5;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;
    let uart = core::ptr::with_exposed_provenance_mut::<u8>(UART);
    // SAFETY: the registers of the device, mapped as long as the image runs.
    unsafe {
        while uart.add(LINE_STATUS).read_volatile() & TRANSMITTER_EMPTY == 0 {
            pause();
        }
        uart.write_volatile(byte);
    }
}

/// Ends the emulator with this status. hw/misc/sifive_test.c.
pub(crate) fn exit(status: u8) -> ! {
    const PASS: u32 = 0x5555;
    const FAIL: u32 = 0x3333;
    let command = match status {
        0 => PASS,
        status => u32::from(status) << 16 | FAIL,
    };
    let device = core::ptr::with_exposed_provenance_mut::<u32>(TEST_DEVICE);
    loop {
        // SAFETY: the register of the device, mapped as long as the image runs.
        unsafe { device.write_volatile(command) };
    }
}

/// What an exception interrupted. The layout is known to `trap_entry`.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct TrapFrame {
    pc: usize,
    /// x1 to x31; x0 is always 0.
    x: [usize; 31],
    f: [u64; 32],
    fcsr: usize,
    scause: usize,
    stval: usize,
}

const _: () = assert!(size_of::<TrapFrame>() == 544);

/// The number of x`n` in [`TrapFrame::x`].
const fn x(n: usize) -> usize {
    n - 1
}

impl TrapFrame {
    /// The instruction that was interrupted or could not be executed.
    pub(crate) fn pc(&self) -> VirtualAddress {
        VirtualAddress::new(self.pc)
    }

    /// The frame pointer there.
    pub(crate) fn fp(&self) -> VirtualAddress {
        VirtualAddress::new(self.x[x(8)])
    }

    /// The stack pointer there.
    pub(crate) fn sp(&self) -> VirtualAddress {
        VirtualAddress::new(self.x[x(2)])
    }

    /// Why. The numbers are those of the privileged specification, "Supervisor
    /// Cause Register".
    pub(crate) fn cause(&self) -> Cause {
        match self.scause as isize {
            ..0 => Cause::Interrupt,
            2 => Cause::IllegalInstruction,
            3 => Cause::Breakpoint,
            12 | 13 | 15 => Cause::PageFault(VirtualAddress::new(self.stval)),
            number => Cause::Other(number as usize),
        }
    }

    /// Tells the interrupt controller that this interrupt is served, and says
    /// what it is about.
    pub(crate) fn take_interrupt(&self) -> Interrupt {
        const SOFTWARE: usize = 1;
        const TIMER: usize = 5;
        match self.scause & !(1 << 63) {
            SOFTWARE => {
                // SAFETY: clears the pending bit only.
                unsafe { asm!("csrci sip, {}", const 1 << SOFTWARE) };
                Interrupt::Ipi
            }
            TIMER => {
                set_timer_at(u64::MAX);
                Interrupt::Timer
            }
            _ => Interrupt::Served,
        }
    }

    /// Makes the exception return with these registers.
    pub(crate) fn resume(&mut self, registers: &Resume) {
        self.pc = registers.pc;
        self.x[x(2)] = registers.sp;
        self.x[x(8)] = registers.fp;
        [self.x[x(10)], self.x[x(11)]] = registers.payload;
    }
}

unsafe extern "C" {
    fn trap_entry();
}

// Where stvec leads, with interrupts off. In normal code sscratch holds the end
// of this CPU's exception stack; in the handler that of the lower part of it,
// for an exception of the handler itself.
// (`.option arch`: see trapline-arch's file for this instruction set.)
global_asm!(
    ".option push",
    ".option arch, +a, +d",
    // Said here: without it, what follows goes where assembly of another file has left off.
    ".section .text.vectors, \"ax\", @progbits",
    ".balign 4",
    ".globl trap_entry",
    "trap_entry:",
    "csrrw sp, sscratch, sp",
    "addi sp, sp, -{size}",
    ".irp n, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "sd x\\n, 8*\\n(sp)",
    ".endr",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "fsd f\\n, 8*(32+\\n)(sp)",
    ".endr",
    "csrr t0, sscratch",
    "sd t0, 8*2(sp)",
    "csrr t0, sepc",
    "sd t0, 0(sp)",
    "csrr t0, fcsr",
    "sd t0, 8*64(sp)",
    "csrr t0, scause",
    "sd t0, 8*65(sp)",
    "csrr t0, stval",
    "sd t0, 8*66(sp)",
    "li t0, {size} - {nested}",
    "add t0, sp, t0",
    "csrw sscratch, t0",
    "mv a0, sp",
    "call {handle}",
    // An sc of the interrupted code must not succeed because of an lr in here.
    // (Stores what is there already.)
    "ld t0, 0(sp)",
    "sc.d zero, t0, (sp)",
    "csrw sepc, t0",
    "ld t0, 8*2(sp)",
    "csrw sscratch, t0",
    "ld t0, 8*64(sp)",
    "csrw fcsr, t0",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "fld f\\n, 8*(32+\\n)(sp)",
    ".endr",
    ".irp n, 1,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "ld x\\n, 8*\\n(sp)",
    ".endr",
    "addi sp, sp, {size}",
    "csrrw sp, sscratch, sp",
    "sret",
    ".option pop",
    size = const size_of::<TrapFrame>(),
    nested = const NESTED_STACK,
    handle = sym crate::kernel::traps::handle,
);

/// What the hardware does not have, by the name of the scenario that would need it.
pub(crate) const UNAVAILABLE: &[(&str, &str)] = &[(
    "hardware_division",
    "a division without a result gives a number on riscv64: compiled code checks for it",
)];

/// What compiled code may count on, which the code of an image cannot find out.
pub(crate) const CPU_FEATURES: Option<fn(&str) -> Option<bool>> = Some(has_cpu_feature);

/// What the image itself was compiled for; and vectors, if the CPU took the word that
/// they are on.
fn has_cpu_feature(flag: &str) -> Option<bool> {
    match flag {
        "has_m" | "has_a" | "has_f" | "has_d" | "has_c" | "has_zca" | "has_zcd" | "has_zicsr"
        | "has_zifencei" => Some(true),
        "has_v" => {
            let sstatus: usize;
            // SAFETY: reads a register.
            unsafe { asm!("csrr {}, sstatus", out(reg) sstatus, options(nomem, nostack)) };
            Some(sstatus & SSTATUS_VS_DIRTY != 0)
        }
        _ => None,
    }
}
