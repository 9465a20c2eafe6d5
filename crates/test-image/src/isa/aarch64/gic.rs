//! The interrupt controller: version 2 of the Generic Interrupt Controller, which
//! `virt` has unless it is asked for another (Arm GIC Architecture Specification,
//! IHI 0048).

use core::arch::asm;

use crate::isa::Interrupt;

/// QEMU, hw/arm/virt.c, `base_memmap`.
pub(super) const DISTRIBUTOR: usize = 0x0800_0000;
pub(super) const CPU_INTERFACE: usize = 0x0801_0000;

// The numbers of interrupts. Those below 16 are sent by software; the virtual timer's is
// that of Arm's Base System Architecture (DEN 0094).
pub(super) const IPI: u32 = 0;
pub(super) const SYNCHRONIZE: u32 = 1;
pub(super) const TIMER: u32 = 27;
/// Those from here on say that there is none.
const SPECIAL: u32 = 1020;

// Chapter 4, "Programmers' Model".
const GICD_CTLR: usize = DISTRIBUTOR;
const GICD_ISENABLER: usize = DISTRIBUTOR + 0x100;
const GICD_SGIR: usize = DISTRIBUTOR + 0xf00;
const GICC_CTLR: usize = CPU_INTERFACE;
const GICC_PMR: usize = CPU_INTERFACE + 0x004;
const GICC_IAR: usize = CPU_INTERFACE + 0x00c;
const GICC_EOIR: usize = CPU_INTERFACE + 0x010;

const ENABLE: u32 = 1;

pub(super) fn init_distributor() {
    write(GICD_CTLR, ENABLE);
}

/// This CPU's part. (The first word of enable bits is each CPU's own.)
pub(super) fn init_cpu() {
    const LOWEST_PRIORITY: u32 = 0xff;
    write(GICD_ISENABLER, 1 << IPI | 1 << SYNCHRONIZE | 1 << TIMER);
    write(GICC_PMR, LOWEST_PRIORITY);
    write(GICC_CTLR, ENABLE);
}

/// Sends interrupt `number` to a CPU, which sees what was written to memory before.
pub(super) fn send(cpu: usize, number: u32) {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    write(GICD_SGIR, 1 << (16 + cpu) | number);
}

/// Takes the interrupt that is pending on this CPU, and ends it after `serve`.
pub(super) fn take(serve: impl FnOnce(u32) -> Interrupt) -> Interrupt {
    /// The rest says which CPU has sent it.
    const NUMBER: u32 = 0x3ff;
    let taken = read(GICC_IAR);
    if taken & NUMBER >= SPECIAL {
        return Interrupt::Served;
    }
    let interrupt = serve(taken & NUMBER);
    write(GICC_EOIR, taken);
    interrupt
}

fn read(register: usize) -> u32 {
    // SAFETY: a register of the device, mapped as long as the image runs.
    unsafe { core::ptr::with_exposed_provenance::<u32>(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the device, mapped as long as the image runs; what is
    // written follows the manual.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(register).write_volatile(value) };
}
