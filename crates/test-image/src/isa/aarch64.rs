//! aarch64: QEMU's `virt` machine. The image runs at EL1.

use core::arch::{asm, global_asm};
use core::ops::Range;
use core::time::Duration;

use trapline::{Resume, VirtualAddress};

use super::{Access, Cause, Entry, Interrupt, PAGE, SecondaryStart};
use crate::kernel::cpus::COUNT;

mod gic;

pub(crate) const NAME: &str = "aarch64";

// The machine is reset to EL1. (It would be to EL2 if it were asked for a
// hypervisor's level; then its firmware would want another instruction than
// `hvc`. Nobody asks.)
//
// Rust code needs the MMU: without it memory is treated like a device, where
// accesses must be aligned and exclusive ones may fail.
//
// Normal code runs with the stack pointer SP_EL0, so that SP_EL1 is the
// exceptions' own.
global_asm!(
    ".macro enter, level_3",
    // Floating point is on: CPACR_EL1.FPEN.
    "mov x1, #(3 << 20)",
    "msr cpacr_el1, x1",
    "ldr x1, ={memory_attributes}",
    "msr mair_el1, x1",
    "ldr x1, ={translation_control}",
    "msr tcr_el1, x1",
    "msr ttbr0_el1, \\level_3",
    "dsb sy",
    "tlbi vmalle1",
    "ic iallu",
    "dsb sy",
    "isb",
    "ldr x1, ={system_control}",
    "msr sctlr_el1, x1",
    "isb",
    "msr spsel, #0",
    // No CPU-locals yet.
    "msr tpidr_el1, xzr",
    // The end of the chain of frames.
    "mov x29, xzr",
    "mov x30, xzr",
    ".endm",
    "",
    ".section .text.boot, \"ax\", @progbits",
    ".globl _start",
    "_start:",
    "adrp x2, boot_level_3",
    "add x2, x2, :lo12:boot_level_3",
    "enter x2",
    "adrp x1, __boot_stack_top",
    "add x1, x1, :lo12:__boot_stack_top",
    "mov sp, x1",
    "b {start}",
    "",
    // CPU_ON leads here, with a `SecondaryStart` in x0. It was written by way of
    // caches, which this CPU looks into only when the MMU is on: the boot's
    // tables, which were there from the start, are of use once more.
    "secondary_start:",
    "adrp x2, boot_level_3",
    "add x2, x2, :lo12:boot_level_3",
    "enter x2",
    "ldp x2, x3, [x0, #0]",
    "ldp x0, x4, [x0, #16]",
    "orr x2, x2, #{asid}",
    "msr ttbr0_el1, x2",
    "isb",
    "tlbi vmalle1",
    "dsb ish",
    "isb",
    "mov sp, x3",
    "br x4",
    ".ltorg",
    "",
    // The first GiB, devices, and the two of memory, with all rights.
    ".section .data.boot, \"aw\", @progbits",
    ".balign 4096",
    "boot_level_3:",
    ".quad boot_level_2 + {table}",
    ".zero 4096 - 8",
    "boot_level_2:",
    ".quad {device}",
    ".quad 0x40000000 + {memory}",
    ".quad 0x80000000 + {memory}",
    ".zero 4096 - 24",
    ".text",
    memory_attributes = const MEMORY_ATTRIBUTES,
    translation_control = const TRANSLATION_CONTROL,
    system_control = const SYSTEM_CONTROL,
    table = const VALID | TABLE_OR_PAGE,
    device = const VALID | ACCESSED | DEVICE | NEVER_EXECUTE | NOT_GLOBAL,
    memory = const VALID | ACCESSED | INNER_SHAREABLE | NOT_GLOBAL,
    asid = const ASID,
    start = sym start,
);

// Arm ARM, D19.2 "General system control registers", by name.
/// MAIR_EL1: attribute 0 is memory, cached; attribute 1 a device, nGnRE.
const MEMORY_ATTRIBUTES: u64 = 0x04ff;
/// TCR_EL1: 48 bits of virtual addresses below TTBR0 in pages of 4 KiB, tables cached and
/// inner shareable; none below TTBR1; 40 bits of physical addresses.
const TRANSLATION_CONTROL: u64 = 16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
/// SCTLR_EL1: the bits that are 1 where an extension is missing (29, 28, 23, 22, 20,
/// 11), instruction cache (12), stack alignment checked (3, 4), data cache (2), MMU (0).
const SYSTEM_CONTROL: u64 = 0x30d0_0800 | 1 << 12 | 1 << 4 | 1 << 3 | 1 << 2 | 1;

unsafe extern "C" {
    fn secondary_start();
}

extern "C" fn start() -> ! {
    enable_uart();
    crate::kernel::start()
}

// Memory and devices: QEMU, hw/arm/virt.c, `base_memmap`.
pub(crate) const RAM: Range<usize> = 0x4000_0000..0xc000_0000;
pub(crate) const ORDER: usize = 0x6000_0000;
pub(crate) const DEVICES: &[Range<usize>] = &[
    gic::DISTRIBUTOR..gic::DISTRIBUTOR + PAGE,
    gic::CPU_INTERFACE..gic::CPU_INTERFACE + 2 * PAGE,
    UART..UART + PAGE,
];
const UART: usize = 0x0900_0000;

// Page tables: Arm ARM, D8.3 "Translation table descriptor formats".
const VALID: u64 = 1 << 0;
/// In a valid entry: not a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// The number of the attribute in MAIR_EL1.
const DEVICE: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
/// Remembered for the current address space only.
const NOT_GLOBAL: u64 = 1 << 11;
/// At EL1 and at EL0.
const NEVER_EXECUTE: u64 = 3 << 53;
const PHYSICAL: u64 = 0x0000_ffff_ffff_f000;

/// An entry that maps a page, or at a higher level a block, of memory.
pub(crate) const fn leaf(physical: usize, access: Access, level: usize) -> u64 {
    let access = match access {
        Access::Read => INNER_SHAREABLE | READ_ONLY | NEVER_EXECUTE,
        Access::ReadWrite => INNER_SHAREABLE | NEVER_EXECUTE,
        // Not guarded (GP, bit 50): nobody says here whether the code marks the
        // targets of its indirect branches. Marks do nothing then.
        Access::ReadExecute => INNER_SHAREABLE | READ_ONLY,
        Access::Device => DEVICE | NEVER_EXECUTE,
    };
    let page = if level == 0 { TABLE_OR_PAGE } else { 0 };
    physical as u64 | access | ACCESSED | page | VALID
}

/// An entry that leads to the next table.
pub(crate) const fn table(physical: usize) -> u64 {
    physical as u64 | TABLE_OR_PAGE | VALID
}

/// What an entry says.
pub(crate) const fn decode(entry: u64, level: usize) -> Entry {
    let physical = (entry & PHYSICAL) as usize;
    if entry & VALID == 0 {
        Entry::Empty
    } else if level == 0 || entry & TABLE_OR_PAGE == 0 {
        Entry::Leaf(physical)
    } else {
        Entry::Table(physical)
    }
}

/// The kernel's address space, in TTBR0_EL1. The boot's tables are those of number 0, with entries
/// that are not global: its blocks of 1 GiB and the kernel's pages at the same addresses are never
/// remembered for one address space at once, which a change of tables alone would not rule
/// out (Arm ARM, D8.16.1 "Using break-before-make when updating translation table entries").
const ASID: usize = 1 << 48;

/// Uses the page tables below `root` from now on.
///
/// # Safety
///
/// * They map all that this CPU uses, at the addresses where it uses it, until
///   others are activated.
pub(crate) unsafe fn activate(root: usize) {
    // SAFETY: the caller's duty. The barrier orders earlier writes of entries before it.
    unsafe {
        asm!(
            "dsb ish",
            "msr ttbr0_el1, {}",
            "isb",
            "tlbi vmalle1",
            "dsb ish",
            "isb",
            in(reg) root | ASID,
            options(nostack, preserves_flags),
        );
    }
}

/// To be called when entries were filled that had been empty. CPUs never remember
/// that an entry was empty (Arm ARM, D8.16 "TLB maintenance"); the barriers let the next access see
/// what was written.
pub(crate) fn after_mapping(_start: usize, _bytes: usize) {
    // SAFETY: barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// To be called when entries were changed or removed, before what they mapped
/// is used for something else.
pub(crate) fn flush_everywhere(start: usize, bytes: usize) {
    /// From here on it is cheaper to forget everything.
    const MANY_PAGES: usize = 64;
    // SAFETY: forgets what the tables say. These reach all CPUs (inner shareable), and the
    // second barrier waits until they have done it.
    unsafe {
        asm!("dsb ishst", options(nostack, preserves_flags));
        if bytes > MANY_PAGES * PAGE {
            asm!("tlbi vmalle1is", options(nostack, preserves_flags));
        } else {
            for page in (start..start + bytes).step_by(PAGE) {
                asm!("tlbi vaae1is, {}", in(reg) page >> 12, options(nostack, preserves_flags));
            }
        }
        asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// To be called when instructions were written, before they are executed.
pub(crate) fn synchronize_code(start: usize, bytes: usize) {
    // Arm ARM, B2.7.4.2 "Synchronization and coherency issues between data and instruction
    // accesses". CTR_EL0: log2 of the smallest cache lines, in words.
    let cache_type: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) cache_type, options(nomem, nostack)) };
    let data_line = 4 << (cache_type >> 16 & 0xf);
    let instruction_line = 4 << (cache_type & 0xf);
    let lines = |size: usize| (start & !(size - 1)..start + bytes).step_by(size);
    for line in lines(data_line) {
        // SAFETY: writes a cache line back, which changes no memory.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in lines(instruction_line) {
        // SAFETY: forgets a cache line of instructions, on all CPUs.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
    rendezvous::synchronize_others();
}

/// How a CPU makes others drop the instructions that they have fetched already:
/// no instruction does that for another CPU, but taking an exception does it for
/// one's own (Arm ARM, "Context synchronization event").
///
/// **What runs in the interrupt takes no lock, allocates and formats nothing, and cannot panic.**
mod rendezvous {
    use super::{COUNT, cpu_index, gic, pause};
    use core::sync::atomic::{AtomicUsize, Ordering};

    /// One bit for each CPU that takes interrupts.
    static ONLINE: AtomicUsize = AtomicUsize::new(0);
    /// How often each CPU was asked.
    static ASKED: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];
    /// What each CPU had been asked when it took its latest interrupt.
    static ANSWERED: [AtomicUsize; COUNT] = [const { AtomicUsize::new(0) }; COUNT];

    pub(super) fn take_part(cpu: usize) {
        ONLINE.fetch_or(1 << cpu, Ordering::SeqCst);
    }

    /// Returns when all other CPUs have taken an interrupt. They run with
    /// interrupts enabled, so that it will not be long, except in handlers, which wait
    /// for nobody.
    pub(super) fn synchronize_others() {
        let this = cpu_index();
        let online = ONLINE.load(Ordering::SeqCst);
        for cpu in (0..COUNT).filter(|&cpu| cpu != this && online & 1 << cpu != 0) {
            let number = ASKED[cpu].fetch_add(1, Ordering::SeqCst) + 1;
            gic::send(cpu, gic::SYNCHRONIZE);
            while ANSWERED[cpu].load(Ordering::SeqCst) < number {
                pause();
            }
        }
    }

    /// In the interrupt.
    pub(super) fn serve() {
        let this = cpu_index();
        let asked = ASKED[this].load(Ordering::SeqCst);
        ANSWERED[this].store(asked, Ordering::SeqCst);
    }
}

/// Sets this CPU up to take exceptions and interrupts (which stay disabled),
/// on the stack that ends at `exception_stack_top`.
///
/// # Safety
///
/// * The stack is this CPU's alone, and has 32 KiB at least.
/// * Interrupts are disabled.
pub(crate) unsafe fn init_cpu(index: usize, exception_stack_top: usize) {
    // SAFETY: the vectors lead to the code below; the stack is the caller's duty, and
    // nothing is pushed while it is selected.
    unsafe {
        asm!(
            "msr vbar_el1, {vectors}",
            "msr spsel, #1",
            "mov sp, {stack}",
            "msr spsel, #0",
            // Errors of the memory system are not to wait: PSTATE.A.
            "msr daifclr, #4",
            "isb",
            vectors = in(reg) (&raw const vectors).addr(),
            stack = in(reg) exception_stack_top,
            options(nostack, preserves_flags),
        );
    }
    enable_pointer_authentication();
    if index == 0 {
        gic::init_distributor();
    }
    gic::init_cpu();
    rendezvous::take_part(index);
    // What was fetched before others knew of this CPU.
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// If the CPU has it, code of guests that signs its return addresses does so for
/// real. The same key on all CPUs: stacks move between them.
fn enable_pointer_authentication() {
    /// ID_AA64ISAR1_EL1: APA (bits 4 to 7) or API (8 to 11), with one algorithm or another.
    const ADDRESS_AUTHENTICATION: usize = 0xff << 4;
    /// SCTLR_EL1: EnIA and EnIB, for keys A and B of instruction addresses.
    const ENABLE: usize = 1 << 31 | 1 << 30;
    const KEY: [usize; 2] = [0x7472_6170_6c69_6e65, 0x6b65_7920_666f_7220];
    let features: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, id_aa64isar1_el1", out(reg) features, options(nomem, nostack)) };
    if features & ADDRESS_AUTHENTICATION == 0 {
        return;
    }
    // SAFETY: the CPU has these registers. No return address has been signed yet on this CPU: the
    // kernel is compiled without.
    unsafe {
        asm!(
            ".arch_extension pauth",
            "msr apiakeylo_el1, {low}",
            "msr apiakeyhi_el1, {high}",
            "msr apibkeylo_el1, {low}",
            "msr apibkeyhi_el1, {high}",
            "mrs {control}, sctlr_el1",
            "orr {control}, {control}, {enable}",
            "msr sctlr_el1, {control}",
            "isb",
            low = in(reg) KEY[0],
            high = in(reg) KEY[1],
            enable = in(reg) ENABLE,
            control = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// The number of this CPU: `virt` counts in the lowest byte.
fn cpu_index() -> usize {
    let affinity: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, mpidr_el1", out(reg) affinity, options(nomem, nostack)) };
    affinity & 0xff
}

/// Starts CPU `start.index`.
///
/// # Safety
///
/// * It has not been started before.
/// * What `start` says is right, and is there as long as the CPU runs.
pub(crate) unsafe fn start_cpu(start: &'static SecondaryStart) {
    /// Arm Power State Coordination Interface (DEN 0022), 5.6 "CPU_ON", in the
    /// calling convention of 64 bits.
    const CPU_ON: usize = 0xc400_0003;
    const SUCCESS: usize = 0;
    let result: usize;
    // SAFETY: the entry expects what is given here. The calling convention (Arm DEN 0028) keeps x18 and up.
    unsafe {
        asm!(
            // The call orders nothing; what was written is seen by the CPU.
            "dsb ishst",
            "hvc #0",
            inout("x0") CPU_ON => result,
            in("x1") start.index,
            in("x2") secondary_start as *const () as usize,
            in("x3") core::ptr::from_ref(start).expose_provenance(),
            clobber_abi("C"),
            options(nostack),
        );
    }
    assert_eq!(result, SUCCESS, "the firmware starts CPU {}", start.index);
}

pub(crate) fn enable_interrupts() {
    // SAFETY: the vectors are set before interrupts are first enabled, and
    // interrupts change nothing of what they interrupt.
    unsafe { asm!("msr daifclr, #2", options(nostack)) };
}

pub(crate) fn disable_interrupts() {
    // SAFETY: delays interrupts only.
    unsafe { asm!("msr daifset, #2", options(nostack)) };
}

/// Waits for an interrupt, and takes it. Called with interrupts disabled, so that
/// none gets lost between a look at what there is to do and the wait; returns
/// with interrupts enabled.
pub(crate) fn wait_for_interrupt() {
    // A pending interrupt ends the wait, also when it is disabled.
    // SAFETY: as for `enable_interrupts`.
    unsafe { asm!("dsb sy", "wfi", "msr daifclr, #2", options(nostack)) };
}

/// One interrupt of this CPU after `time`, instead of the one asked for before.
pub(crate) fn set_timer(time: Duration) {
    let ticks = time.as_nanos() * u128::from(ticks_per_second()) / NANOSECONDS;
    // SAFETY: the virtual timer is the kernel's alone: CNTV_CTL_EL0.ENABLE.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {deadline}",
            "msr cntv_ctl_el0, {enable}",
            "isb",
            deadline = in(reg) ticks_now() + ticks as u64,
            enable = in(reg) 1_usize,
            options(nostack, preserves_flags),
        );
    }
}

fn stop_timer() {
    // SAFETY: as above.
    unsafe {
        asm!(
            "msr cntv_ctl_el0, xzr",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// An interrupt of CPU `index`.
pub(crate) fn send_ipi(index: usize) {
    gic::send(index, gic::IPI);
}

const NANOSECONDS: u128 = 1_000_000_000;

pub(crate) fn now() -> Duration {
    let nanoseconds = u128::from(ticks_now()) * NANOSECONDS / u128::from(ticks_per_second());
    Duration::from_nanos(nanoseconds as u64)
}

fn ticks_now() -> u64 {
    let ticks;
    // SAFETY: reads a counter; the barrier keeps it from being read early.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack)) };
    ticks
}

fn ticks_per_second() -> u64 {
    let frequency;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack)) };
    frequency
}

pub(crate) fn pause() {
    core::hint::spin_loop();
}

// The serial port: Arm PrimeCell UART (PL011), DDI 0183, 3.2 "Summary of registers".
const UART_DATA: usize = 0x00;
const UART_FLAGS: usize = 0x18;
const UART_CONTROL: usize = 0x30;

fn enable_uart() {
    const ENABLE_TRANSMITTER: u32 = 1 << 0 | 1 << 8;
    // SAFETY: a register of the device, mapped as long as the image runs.
    unsafe { uart(UART_CONTROL).write_volatile(ENABLE_TRANSMITTER) };
}

/// Writes to the serial port: a PL011.
pub(crate) fn serial_write(byte: u8) {
    const TRANSMITTER_FULL: u32 = 1 << 5;
    // SAFETY: registers of the device, mapped as long as the image runs.
    unsafe {
        while uart(UART_FLAGS).read_volatile() & TRANSMITTER_FULL != 0 {
            pause();
        }
        uart(UART_DATA).write_volatile(u32::from(byte));
    }
}

fn uart(register: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(UART + register)
}

/// Ends the emulator with this status, by semihosting (Arm semihosting
/// specification, "SYS_EXIT (0x18)").
pub(crate) fn exit(status: u8) -> ! {
    const SYS_EXIT: usize = 0x18;
    const APPLICATION_EXIT: usize = 0x2_0026;
    let parameters = [APPLICATION_EXIT, usize::from(status)];
    loop {
        // SAFETY: the emulator reads the parameters; nothing happens afterwards.
        unsafe {
            asm!(
                "hlt #0xf000",
                in("x0") SYS_EXIT,
                in("x1") &raw const parameters,
                lateout("x0") _,
                options(nostack),
            );
        }
    }
}

/// What an exception interrupted. The layout is known to `trap_entry`.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct TrapFrame {
    x: [usize; 31],
    sp: usize,
    pc: usize,
    pstate: usize,
    syndrome: usize,
    faulting_addr: usize,
    fpsr: usize,
    fpcr: usize,
    /// Which of the vectors it was, 0 to 15.
    vector: usize,
    padding: usize,
    /// All of them: the handler is Rust code, which may use them for anything.
    q: [u128; 32],
}

const _: () = assert!(size_of::<TrapFrame>() == 832);
const _: () = assert!(core::mem::offset_of!(TrapFrame, q) == 320);

impl TrapFrame {
    /// The instruction that was interrupted or could not be executed.
    pub(crate) fn pc(&self) -> VirtualAddress {
        VirtualAddress::new(self.pc)
    }

    /// The frame pointer there.
    pub(crate) fn fp(&self) -> VirtualAddress {
        VirtualAddress::new(self.x[29])
    }

    /// The stack pointer there.
    pub(crate) fn sp(&self) -> VirtualAddress {
        VirtualAddress::new(self.sp)
    }

    /// Why. Exception classes: Arm ARM, "ESR_EL1".
    pub(crate) fn cause(&self) -> Cause {
        /// Of four vectors, for one state of the interrupted code each, the
        /// second is that of interrupts.
        const SYNCHRONOUS: usize = 0;
        const INTERRUPT: usize = 1;
        /// Numbers of the exceptions that have no class.
        const ASYNCHRONOUS: usize = 0x100;
        match self.vector % 4 {
            SYNCHRONOUS => {}
            INTERRUPT => return Cause::Interrupt,
            kind => return Cause::Other(ASYNCHRONOUS + kind),
        }
        let class = self.syndrome >> 26 & 0x3f;
        match class {
            // "Unknown reason": instructions that there are not.
            0x00 => Cause::IllegalInstruction,
            // Aborts of instructions and of data, from the level of the handler.
            0x21 | 0x25 if is_fault_of_tables(self.syndrome) => {
                Cause::PageFault(VirtualAddress::new(self.faulting_addr))
            }
            0x3c => Cause::Breakpoint,
            class => Cause::Other(class),
        }
    }

    /// Tells the interrupt controller that this interrupt is served, and says
    /// what it is about.
    pub(crate) fn take_interrupt(&self) -> Interrupt {
        gic::take(|number| match number {
            gic::TIMER => {
                // It stays pending until then.
                stop_timer();
                Interrupt::Timer
            }
            gic::IPI => Interrupt::Ipi,
            gic::SYNCHRONIZE => {
                rendezvous::serve();
                Interrupt::Served
            }
            _ => Interrupt::Served,
        })
    }

    /// Makes the exception return with these registers.
    pub(crate) fn resume(&mut self, registers: &Resume) {
        /// PSTATE.BTYPE: the target of an indirect branch was reached by one. Nothing of the
        /// kind is true any more.
        const BRANCH_TYPE: usize = 3 << 10;
        self.pc = registers.pc;
        self.sp = registers.sp;
        self.x[29] = registers.fp;
        [self.x[0], self.x[1]] = registers.payload;
        self.pstate &= !BRANCH_TYPE;
    }
}

/// Whether an abort is a fault of translation, access flag or permission (status codes
/// 0b0001xx to 0b0011xx, or 0b000000 to 0b000011 for an address of too many bits), and not
/// one of the memory itself or of alignment. Arm ARM, "ESR_EL1", "ISS encoding for an
/// exception from a Data Abort".
const fn is_fault_of_tables(syndrome: usize) -> bool {
    syndrome & 0x3f <= 0b00_1111
}

unsafe extern "C" {
    static vectors: u8;
}

// VBAR_EL1 points here: sixteen vectors 128 bytes apart. In the first four the interrupted code
// used SP_EL0: it is the kernel's normal code, or a guest. In the next four it
// used SP_EL1: it is a handler, whose stack goes on to be used. The others, of lower
// exception levels, are never used.
global_asm!(
    ".section .text.vectors, \"ax\", @progbits",
    ".balign 2048",
    ".globl vectors",
    "vectors:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    ".balign 128",
    "sub sp, sp, #{size}",
    "stp x0, x1, [sp, #0]",
    "mov x0, #\\n",
    "str x0, [sp, #{vector}]",
    ".if \\n < 4",
    "mrs x0, sp_el0",
    ".else",
    "add x0, sp, #{size}",
    ".endif",
    "b trap_entry",
    ".endr",
    "",
    // With the interrupted stack pointer in x0.
    "trap_entry:",
    "stp x2, x3, [sp, #16*1]",
    "stp x4, x5, [sp, #16*2]",
    "stp x6, x7, [sp, #16*3]",
    "stp x8, x9, [sp, #16*4]",
    "stp x10, x11, [sp, #16*5]",
    "stp x12, x13, [sp, #16*6]",
    "stp x14, x15, [sp, #16*7]",
    "stp x16, x17, [sp, #16*8]",
    "stp x18, x19, [sp, #16*9]",
    "stp x20, x21, [sp, #16*10]",
    "stp x22, x23, [sp, #16*11]",
    "stp x24, x25, [sp, #16*12]",
    "stp x26, x27, [sp, #16*13]",
    "stp x28, x29, [sp, #16*14]",
    "stp x30, x0, [sp, #16*15]",
    "mrs x0, elr_el1",
    "mrs x1, spsr_el1",
    "stp x0, x1, [sp, #16*16]",
    "mrs x0, esr_el1",
    "mrs x1, far_el1",
    "stp x0, x1, [sp, #16*17]",
    "mrs x0, fpsr",
    "mrs x1, fpcr",
    "stp x0, x1, [sp, #16*18]",
    "add x0, sp, #{q}",
    "stp q0, q1, [x0, #16*0]",
    "stp q2, q3, [x0, #16*2]",
    "stp q4, q5, [x0, #16*4]",
    "stp q6, q7, [x0, #16*6]",
    "stp q8, q9, [x0, #16*8]",
    "stp q10, q11, [x0, #16*10]",
    "stp q12, q13, [x0, #16*12]",
    "stp q14, q15, [x0, #16*14]",
    "stp q16, q17, [x0, #16*16]",
    "stp q18, q19, [x0, #16*18]",
    "stp q20, q21, [x0, #16*20]",
    "stp q22, q23, [x0, #16*22]",
    "stp q24, q25, [x0, #16*24]",
    "stp q26, q27, [x0, #16*26]",
    "stp q28, q29, [x0, #16*28]",
    "stp q30, q31, [x0, #16*30]",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {handle}",
    // A store-exclusive of the interrupted code must not succeed because of a
    // load-exclusive in here: the return clears the monitor (Arm ARM, B2.12.3).
    "add x0, sp, #{q}",
    "ldp q0, q1, [x0, #16*0]",
    "ldp q2, q3, [x0, #16*2]",
    "ldp q4, q5, [x0, #16*4]",
    "ldp q6, q7, [x0, #16*6]",
    "ldp q8, q9, [x0, #16*8]",
    "ldp q10, q11, [x0, #16*10]",
    "ldp q12, q13, [x0, #16*12]",
    "ldp q14, q15, [x0, #16*14]",
    "ldp q16, q17, [x0, #16*16]",
    "ldp q18, q19, [x0, #16*18]",
    "ldp q20, q21, [x0, #16*20]",
    "ldp q22, q23, [x0, #16*22]",
    "ldp q24, q25, [x0, #16*24]",
    "ldp q26, q27, [x0, #16*26]",
    "ldp q28, q29, [x0, #16*28]",
    "ldp q30, q31, [x0, #16*30]",
    "ldp x0, x1, [sp, #16*18]",
    "msr fpsr, x0",
    "msr fpcr, x1",
    "ldp x0, x1, [sp, #16*16]",
    "msr elr_el1, x0",
    "msr spsr_el1, x1",
    "ldp x30, x0, [sp, #16*15]",
    // After an exception of a handler the stack pointer needs no restoring, and SP_EL0
    // is still that of what the first exception interrupted.
    "tbnz x1, #0, 2f",
    "msr sp_el0, x0",
    "2:",
    "ldp x28, x29, [sp, #16*14]",
    "ldp x26, x27, [sp, #16*13]",
    "ldp x24, x25, [sp, #16*12]",
    "ldp x22, x23, [sp, #16*11]",
    "ldp x20, x21, [sp, #16*10]",
    "ldp x18, x19, [sp, #16*9]",
    "ldp x16, x17, [sp, #16*8]",
    "ldp x14, x15, [sp, #16*7]",
    "ldp x12, x13, [sp, #16*6]",
    "ldp x10, x11, [sp, #16*5]",
    "ldp x8, x9, [sp, #16*4]",
    "ldp x6, x7, [sp, #16*3]",
    "ldp x4, x5, [sp, #16*2]",
    "ldp x2, x3, [sp, #16*1]",
    "ldp x0, x1, [sp, #0]",
    "add sp, sp, #{size}",
    "eret",
    ".text",
    size = const size_of::<TrapFrame>(),
    vector = const core::mem::offset_of!(TrapFrame, vector),
    q = const core::mem::offset_of!(TrapFrame, q),
    handle = sym crate::kernel::traps::handle,
);

/// What the hardware does not have, by the name of the scenario that would need it.
pub(crate) const UNAVAILABLE: &[(&str, &str)] = &[(
    "hardware_division",
    "a division without a result gives a number on aarch64: compiled code checks for it",
)];

/// What compiled code may count on, which the code of an image cannot find out: nothing.
pub(crate) const CPU_FEATURES: Option<fn(&str) -> Option<bool>> = None;
