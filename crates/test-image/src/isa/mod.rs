//! The machines: one file for each instruction set, with the same items in the
//! same order. Each is about QEMU's usual machine for it, with 2 GiB of memory
//! and two CPUs.
//!
//! | item | what |
//! | --- | --- |
//! | `NAME` | of the instruction set |
//! | `_start` (symbol) | the image's entry: the first CPU gets a stack (`__boot_stack_top`), an identity mapping if Rust code cannot run without one, floating point switched on, the base register of CPU-locals set to 0, and calls [`kernel::start`](crate::kernel::start) |
//! | `RAM`, `DEVICES` | physical memory that is the image's, and registers of devices; the kernel maps both at their own addresses |
//! | `ORDER` | where in `RAM` the emulator puts the number of what the image is to do |
//! | `leaf`, `table`, `decode` | the entries of page tables, which all have four levels of 512 entries and pages of 4 KiB |
//! | `activate` | this CPU uses these page tables from now on |
//! | `after_mapping` | entries that were empty are not any more, of pages or of tables: makes all CPUs find them |
//! | `flush_everywhere` | entries were changed or removed, of pages or of tables: makes all CPUs forget what they were; first called when all CPUs take interrupts |
//! | `synchronize_code` | makes all CPUs fetch the instructions that were written there |
//! | `init_cpu` | this CPU takes exceptions on the stack given, by way of [`kernel::traps::handle`](crate::kernel::traps::handle); its timer and its part of the interrupt controller are ready |
//! | `start_cpu` | starts another CPU, in the same state as the first one, with the given page tables, on the given stack, at the given function |
//! | `enable_interrupts`, `disable_interrupts`, `wait_for_interrupt` | on this CPU |
//! | `set_timer` | one interrupt of this CPU, after some time |
//! | `send_ipi` | an interrupt of another CPU, which sees what was written before |
//! | `now`, `pause` | the time since some moment (the same for all CPUs); for loops that spin |
//! | `serial_write`, `exit` | one byte to the serial port; the end of the emulator, 0 meaning success |
//! | `TrapFrame` | what an exception interrupted: `pc`, `fp`, `sp`, `cause`, `take_interrupt`, `resume` |
//! | `UNAVAILABLE` | what the scenarios are to leave out here, with reasons |
//! | `CPU_FEATURES` | tells of the CPU what compiled code may count on, if code in the kernel cannot ask the CPU itself |
//!
//! # Exceptions
//!
//! They are taken on a stack of their own, since the guest's may be used up.
//! The entry saves all integer registers, and those of floating point that Rust
//! code may change, in a [`TrapFrame`], and restores them from there. Interrupts
//! are off meanwhile. An exception in the handler is taken as well, on what is
//! left of the stack or on another one: the kernel then stops with a message.

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub(crate) use x86_64::*;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub(crate) use aarch64::*;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        pub(crate) use riscv64::*;
    } else {
        compile_error!("there is no kernel for this instruction set");
    }
}

use trapline::VirtualAddress;

/// The size of a page and of a page table, in bytes.
pub(crate) const PAGE: usize = 4096;

/// The levels of page tables: level 3 is the root, level 0 has the pages.
pub(crate) const LEVELS: usize = 4;

/// How many bits of an address are the index into one page table.
pub(crate) const INDEX_BITS: usize = 9;

/// What may be done with a page, beside reading it. Only the kernel may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Constants.
    Read,
    /// Data.
    ReadWrite,
    /// Code.
    ReadExecute,
    /// Registers of a device: read and written, never cached.
    Device,
}

/// An entry of a page table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// Nothing is there: an access faults.
    Empty,
    /// The physical address of the next table.
    Table(usize),
    /// The physical address of what is mapped.
    Leaf(usize),
}

/// Why an exception was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Of the timer, or of another CPU: ask `TrapFrame::take_interrupt`.
    Interrupt,
    /// An access to this address, which is not mapped or not so.
    PageFault(VirtualAddress),
    /// An access to an address that no page table can map, where the hardware
    /// does not say which address it was.
    NonCanonicalAddress,
    /// An instruction that there is not, or one that exists to be illegal.
    IllegalInstruction,
    /// A division that has no result.
    Division,
    /// A breakpoint instruction.
    Breakpoint,
    /// Another one, by the number that the instruction set gives it.
    Other(usize),
}

/// What an interrupt is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interrupt {
    /// The time of `set_timer` is over.
    Timer,
    /// Another CPU called `send_ipi`.
    Ipi,
    /// Something of the machine's own, and done already.
    Served,
}

/// What a CPU that `start_cpu` starts finds, beside its stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct SecondaryStart {
    /// The physical address of the root page table.
    pub(crate) root: usize,
    /// The end of the CPU's stack.
    pub(crate) stack_top: usize,
    /// The CPU's number: 1 and up.
    pub(crate) index: usize,
    /// Called on the stack, with the number.
    pub(crate) entry: extern "C" fn(usize) -> !,
}
