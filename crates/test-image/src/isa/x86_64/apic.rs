//! This CPU's local APIC (Intel SDM volume 3, chapter 11): its timer, and
//! interrupts of other CPUs.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use super::{VECTOR_IPI, VECTOR_SPURIOUS, VECTOR_TIMER, now, pause};

/// Where the registers are after a reset. QEMU's emulated CPUs have them in memory only:
/// no x2APIC before version 9.
pub(super) const BASE: usize = 0xfee0_0000;

// Table 11-1 "Local APIC Register Address Map".
const TASK_PRIORITY: usize = 0x080;
const END_OF_INTERRUPT: usize = 0x0b0;
const SPURIOUS_VECTOR: usize = 0x0f0;
const COMMAND: usize = 0x300;
const COMMAND_DESTINATION: usize = 0x310;
const TIMER_VECTOR: usize = 0x320;
const TIMER_INITIAL_COUNT: usize = 0x380;
const TIMER_CURRENT_COUNT: usize = 0x390;
const TIMER_DIVIDER: usize = 0x3e0;

// Figure 11-12 "Interrupt Command Register".
const COMMAND_FIXED: u32 = 0 << 8;
const COMMAND_NMI: u32 = 4 << 8;
const COMMAND_INIT: u32 = 5 << 8;
const COMMAND_START_UP: u32 = 6 << 8;
const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_ASSERT: u32 = 1 << 14;
const COMMAND_ALL_BUT_THIS: u32 = 3 << 18;

/// How much the timers count in [`CALIBRATION`]; all run at the same speed.
static COUNTS: AtomicU32 = AtomicU32::new(0);
const CALIBRATION: Duration = Duration::from_millis(1);

pub(super) fn init() {
    const ENABLE: u32 = 1 << 8;
    const MASKED: u32 = 1 << 16;
    const DIVIDE_BY_1: u32 = 0b1011;
    write(TASK_PRIORITY, 0);
    write(SPURIOUS_VECTOR, ENABLE | VECTOR_SPURIOUS as u32);
    write(TIMER_DIVIDER, DIVIDE_BY_1);
    if COUNTS.load(Ordering::Relaxed) == 0 {
        write(TIMER_VECTOR, MASKED | VECTOR_TIMER as u32);
        write(TIMER_INITIAL_COUNT, u32::MAX);
        wait(CALIBRATION);
        let counts = u32::MAX - read(TIMER_CURRENT_COUNT);
        COUNTS.store(counts.max(1), Ordering::Relaxed);
        write(TIMER_INITIAL_COUNT, 0);
    }
    // One interrupt for each time that a count is written.
    write(TIMER_VECTOR, VECTOR_TIMER as u32);
}

pub(super) fn set_timer(time: Duration) {
    let counts =
        u128::from(COUNTS.load(Ordering::Relaxed)) * time.as_nanos() / CALIBRATION.as_nanos();
    write(
        TIMER_INITIAL_COUNT,
        counts.clamp(1, u128::from(u32::MAX)) as u32,
    );
}

pub(super) fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

pub(super) fn send_ipi(cpu: usize) {
    command(cpu, COMMAND_FIXED | COMMAND_ASSERT | VECTOR_IPI as u32);
}

/// Non-maskable interrupts of all CPUs but this one. (Those that have not been started ignore
/// them.)
pub(super) fn send_nmi_to_others() {
    write(COMMAND, COMMAND_ALL_BUT_THIS | COMMAND_ASSERT | COMMAND_NMI);
    wait_until_sent();
}

/// Starts another CPU in real mode, at the start of a page below 1 MiB: section
/// 9.4.4.1 "Typical BSP Initialization Sequence".
pub(super) fn start(cpu: usize, page: usize) {
    let start_up = COMMAND_START_UP | COMMAND_ASSERT | (page >> 12) as u32;
    command(cpu, COMMAND_INIT | COMMAND_ASSERT);
    wait(Duration::from_millis(10));
    for _ in 0..2 {
        command(cpu, start_up);
        wait(Duration::from_micros(200));
    }
}

/// CPUs of `q35` have the numbers of their APICs, from 0.
fn command(cpu: usize, command: u32) {
    let interrupts_were_enabled = interrupts_enabled();
    // The two registers belong together.
    super::disable_interrupts();
    write(COMMAND_DESTINATION, (cpu as u32) << 24);
    write(COMMAND, command);
    wait_until_sent();
    if interrupts_were_enabled {
        super::enable_interrupts();
    }
}

fn wait_until_sent() {
    while read(COMMAND) & COMMAND_PENDING != 0 {
        pause();
    }
}

fn interrupts_enabled() -> bool {
    const INTERRUPT_FLAG: usize = 1 << 9;
    let flags: usize;
    // SAFETY: reads a register, by way of the stack.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags & INTERRUPT_FLAG != 0
}

fn wait(time: Duration) {
    let end = now() + time;
    while now() < end {
        pause();
    }
}

fn read(register: usize) -> u32 {
    // SAFETY: a register of the device, mapped as long as the image runs.
    unsafe { pointer(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the device, mapped as long as the image runs; what is
    // written follows the manual.
    unsafe { pointer(register).write_volatile(value) };
}

fn pointer(register: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(BASE + register)
}
