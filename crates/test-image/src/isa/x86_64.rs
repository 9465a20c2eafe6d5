//! x86_64: QEMU's `q35` machine, entered by way of PVH.

use core::arch::x86_64::__cpuid;
use core::arch::{asm, global_asm};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use trapline::{Resume, VirtualAddress};

use super::{Access, Cause, Entry, Interrupt, PAGE, SecondaryStart};
use crate::kernel::cpus::COUNT;

mod apic;
mod hpet;

pub(crate) const NAME: &str = "x86_64";

global_asm!(
    include_str!("x86_64/boot.s"),
    start = sym start,
    handle = sym handle,
    vectors = const VECTORS,
    cpus = const COUNT,
    options(att_syntax)
);

/// Those of the architecture, 0 to 31, and ours.
const VECTORS: usize = 48;
const NMI: usize = 2;
const FIRST_INTERRUPT: usize = 32;
const VECTOR_TIMER: usize = 32;
const VECTOR_IPI: usize = 33;
/// Some local APICs want the low four bits set (Intel SDM volume 3, "Spurious
/// Interrupt").
const VECTOR_SPURIOUS: usize = 47;

/// The global descriptor table: the TSS descriptors of CPUs, of two words each, come after the
/// segments.
const FIRST_TSS: usize = 4;
const SELECTOR_CODE64: u64 = 0x08;

unsafe extern "C" {
    static vectors: u8;
    static gdt: [AtomicU64; FIRST_TSS + 2 * COUNT];
    static trampoline_start: u8;
    static trampoline_end: u8;
    /// `sti`, `hlt`.
    fn enable_and_halt();
    /// The `hlt` in there.
    static halt: u8;
    /// The address of what the CPU being started is to find.
    static secondary_start: AtomicUsize;
}

/// Where CPUs start, in real mode: a page below 1 MiB that nobody else uses.
const TRAMPOLINE: usize = 0x8000;

extern "C" fn start() -> ! {
    let code = &raw const trampoline_start;
    let len = (&raw const trampoline_end).addr() - code.addr();
    let trampoline = core::ptr::with_exposed_provenance_mut::<u8>(TRAMPOLINE);
    // SAFETY: the page is memory, mapped by the boot's tables, and nobody's.
    unsafe { trampoline.copy_from_nonoverlapping(code, len) };
    mask_legacy_interrupts();
    hpet::enable();
    crate::kernel::start()
}

/// The firmware has used the two 8259 interrupt controllers, whose interrupts would
/// look like exceptions.
fn mask_legacy_interrupts() {
    for mask_port in [0x21, 0xa1] {
        // SAFETY: the mask of an interrupt controller: delivers nothing any more.
        unsafe { outb(mask_port, 0xff) };
    }
}

// Below 1 MiB are the firmware's tables and the trampoline.
pub(crate) const RAM: Range<usize> = 0x10_0000..0x8000_0000;
pub(crate) const ORDER: usize = 0x2000_0000;
pub(crate) const DEVICES: &[Range<usize>] = &[
    hpet::BASE..hpet::BASE + PAGE, //
    apic::BASE..apic::BASE + PAGE,
];

// Page tables: Intel SDM volume 3, 4.5 "4-Level Paging and 5-Level Paging".
const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const PAGE_SIZE: u64 = 1 << 7;
const EXECUTE_DISABLE: u64 = 1 << 63;
const PHYSICAL: u64 = 0x000f_ffff_ffff_f000;

/// An entry that maps a page, or at a higher level a block, of memory.
pub(crate) const fn leaf(physical: usize, access: Access, level: usize) -> u64 {
    let access = match access {
        Access::Read => EXECUTE_DISABLE,
        Access::ReadWrite => WRITE | EXECUTE_DISABLE,
        Access::ReadExecute => 0,
        Access::Device => WRITE | EXECUTE_DISABLE | WRITE_THROUGH | CACHE_DISABLE,
    };
    let size = if level == 0 { 0 } else { PAGE_SIZE };
    physical as u64 | access | size | PRESENT
}

/// An entry that leads to the next table.
pub(crate) const fn table(physical: usize) -> u64 {
    physical as u64 | WRITE | PRESENT
}

/// What an entry says.
pub(crate) const fn decode(entry: u64, level: usize) -> Entry {
    let physical = (entry & PHYSICAL) as usize;
    if entry & PRESENT == 0 {
        Entry::Empty
    } else if level == 0 || entry & PAGE_SIZE != 0 {
        Entry::Leaf(physical)
    } else {
        Entry::Table(physical)
    }
}

/// Uses the page tables below `root` from now on.
///
/// # Safety
///
/// * They map all that this CPU uses, at the addresses where it uses it, until
///   others are activated.
pub(crate) unsafe fn activate(root: usize) {
    // SAFETY: the caller's duty.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// To be called when entries were filled that had been empty. CPUs never remember
/// that an entry was empty (Intel SDM volume 3, 4.10.2.3).
pub(crate) fn after_mapping(_start: usize, _bytes: usize) {}

/// To be called when entries were changed or removed, before what they mapped
/// is used for something else.
pub(crate) fn flush_everywhere(start: usize, bytes: usize) {
    flush_here(start, bytes);
    shootdown::flush_elsewhere(start, bytes);
}

fn flush_here(start: usize, bytes: usize) {
    /// From here on it is cheaper to forget everything.
    const MANY_PAGES: usize = 32;
    if bytes > MANY_PAGES * PAGE {
        // SAFETY: the same tables as before; no entry is marked global, so that
        // all are forgotten.
        unsafe {
            asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags));
        }
    } else {
        for page in (start..start + bytes).step_by(PAGE) {
            // SAFETY: forgets what the tables say.
            unsafe { asm!("invlpg [{}]", in(reg) page, options(nostack, preserves_flags)) };
        }
    }
}

/// How a CPU makes others forget what page tables said.
///
/// By NMI, so that it works whether they have interrupts disabled or not: a
/// CPU that waits for a lock with interrupts disabled does not keep the owner of the lock
/// from changing page tables.
///
/// **What runs in the NMI takes no lock, allocates and formats nothing, and cannot panic.**
mod shootdown {
    use super::{apic, cpu_index, flush_here, pause};
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// One bit for each CPU that takes NMIs.
    static ONLINE: AtomicUsize = AtomicUsize::new(0);
    /// One bit for each CPU that has yet to do what is asked for.
    static PENDING: AtomicUsize = AtomicUsize::new(0);
    static START: AtomicUsize = AtomicUsize::new(0);
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    /// Whether a CPU is asking.
    static ASKING: AtomicBool = AtomicBool::new(false);

    /// From now on this CPU is asked. What it has remembered so far it must forget
    /// itself, afterwards.
    pub(super) fn take_part(cpu: usize) {
        ONLINE.fetch_or(1 << cpu, Ordering::SeqCst);
    }

    pub(super) fn flush_elsewhere(start: usize, bytes: usize) {
        // Another CPU that is asking is served by NMI while this one waits. An
        // interrupt handler of this CPU must not come here in the middle: the
        // kernel's change no page tables.
        while ASKING.swap(true, Ordering::Acquire) {
            pause();
        }
        let others = ONLINE.load(Ordering::SeqCst) & !(1 << cpu_index());
        if others != 0 {
            START.store(start, Ordering::Relaxed);
            BYTES.store(bytes, Ordering::Relaxed);
            PENDING.store(others, Ordering::Release);
            apic::send_nmi_to_others();
            while PENDING.load(Ordering::Acquire) != 0 {
                pause();
            }
        }
        ASKING.store(false, Ordering::Release);
    }

    /// Does what is asked for; `false` if nothing is.
    pub(super) fn serve() -> bool {
        let this = 1 << cpu_index();
        if PENDING.load(Ordering::Acquire) & this == 0 {
            return false;
        }
        flush_here(START.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        PENDING.fetch_and(!this, Ordering::Release);
        true
    }
}

/// To be called when instructions were written, before they are executed.
///
/// The caches see to it themselves (Intel SDM volume 3, 8.1.3 "Handling Self- and
/// Cross-Modifying Code"): another CPU gets to know the address by an access to memory and an
/// indirect branch, and the pages were not executable before, so that it
/// cannot have fetched from there.
pub(crate) fn synchronize_code(_start: usize, _bytes: usize) {}

/// The task state segment: 26 words of 32 bits (Intel SDM volume 3, figure 8-11
/// "64-Bit TSS Format"). Only its stacks for exceptions are used.
#[repr(C, align(16))]
struct TaskState([AtomicU32; 26]);

impl TaskState {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 26])
    }

    /// The stack of gates that say `number`, 1 to 7.
    fn set_stack(&self, number: usize, top: usize) {
        let low = 9 + 2 * (number - 1);
        self.0[low].store(top as u32, Ordering::Relaxed);
        self.0[low + 1].store((top >> 32) as u32, Ordering::Relaxed);
    }

    fn stack(&self, number: usize) -> usize {
        let low = 9 + 2 * (number - 1);
        self.0[low].load(Ordering::Relaxed) as usize
            | (self.0[low + 1].load(Ordering::Relaxed) as usize) << 32
    }
}

static TASK_STATES: [TaskState; COUNT] = [const { TaskState::new() }; COUNT];

/// The stack of all vectors but the NMI, which may come while it is in use.
const STACK: usize = 1;
const STACK_OF_NMI: usize = 2;

const NMI_STACK_BYTES: usize = 4 * 1024;

/// How much of the exception stack belongs to the handler of an exception in
/// the handler, the NMI's stack included.
const NESTED_STACK: usize = 16 * 1024;

#[repr(C, align(16))]
struct Gates([AtomicU64; 2 * VECTORS]);

static GATES: Gates = Gates([const { AtomicU64::new(0) }; 2 * VECTORS]);

/// The operand of `lidt`.
#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Sets this CPU up to take exceptions and interrupts (which stay disabled),
/// on the stack that ends at `exception_stack_top`.
///
/// # Safety
///
/// * The stack is this CPU's alone, and has 32 KiB at least.
/// * Interrupts are disabled.
pub(crate) unsafe fn init_cpu(index: usize, exception_stack_top: usize) {
    let task_state = &TASK_STATES[index];
    task_state.set_stack(STACK, exception_stack_top);
    task_state.set_stack(
        STACK_OF_NMI,
        exception_stack_top - 2 * NESTED_STACK + NMI_STACK_BYTES,
    );

    // Intel SDM volume 3, figure 8-4 "Format of TSS and LDT Descriptors in 64-bit Mode".
    const AVAILABLE_TSS: u64 = 0x89 << 40;
    let base = core::ptr::from_ref(task_state).expose_provenance() as u64;
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | AVAILABLE_TSS | (base >> 24 & 0xff) << 56;
    let slot = FIRST_TSS + 2 * index;
    // SAFETY: defined in the assembly, with this type.
    let descriptors = unsafe { &gdt };
    descriptors[slot].store(low, Ordering::Relaxed);
    descriptors[slot + 1].store(base >> 32, Ordering::Relaxed);

    // All CPUs have the same gates; each writes them, the same values.
    for vector in 0..VECTORS {
        // Intel SDM volume 3, figure 6-8 "64-Bit IDT Gate Descriptors".
        const INTERRUPT_GATE: u64 = 0x8e << 40;
        let stack = if vector == NMI { STACK_OF_NMI } else { STACK } as u64;
        let entry = ((&raw const vectors).addr() + 16 * vector) as u64;
        let low = (entry & 0xffff)
            | SELECTOR_CODE64 << 16
            | stack << 32
            | INTERRUPT_GATE
            | (entry >> 16 & 0xffff) << 48;
        GATES.0[2 * vector].store(low, Ordering::Relaxed);
        GATES.0[2 * vector + 1].store(entry >> 32, Ordering::Relaxed);
    }
    let pointer = TablePointer {
        limit: size_of::<Gates>() as u16 - 1,
        base: GATES.0.as_ptr().expose_provenance() as u64,
    };
    // SAFETY: both tables are statics, complete, and lead to the code above and
    // the stack that the caller gives.
    unsafe {
        asm!("ltr {:x}", in(reg) 8 * slot, options(nostack, preserves_flags));
        asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags));
    }
    enable_wide_vectors();
    apic::init();
    shootdown::take_part(index);
    flush_here(0, usize::MAX);
}

/// AVX, if the CPU has it. Code of guests may use it.
fn enable_wide_vectors() {
    // Intel SDM volume 1, 13.2 "Enumeration of CPU Support for XSAVE Instructions" and 14.3.
    const ECX_XSAVE: u32 = 1 << 26;
    const ECX_AVX: u32 = 1 << 28;
    const XCR0_X87_SSE_AVX: u32 = 0b111;
    const CR4_OSXSAVE: usize = 18;
    let features = __cpuid(1).ecx;
    if features & ECX_XSAVE == 0 || features & ECX_AVX == 0 {
        return;
    }
    // SAFETY: the CPU has both; the state that is enabled is nobody's yet.
    unsafe {
        asm!(
            "mov {0}, cr4",
            "bts {0}, {bit}",
            "mov cr4, {0}",
            out(reg) _,
            bit = const CR4_OSXSAVE,
            options(nostack),
        );
        asm!(
            "xsetbv",
            in("ecx") 0,
            in("eax") XCR0_X87_SSE_AVX,
            in("edx") 0,
            options(nostack, preserves_flags),
        );
    }
}

/// The number of this CPU, told by which TSS it uses.
fn cpu_index() -> usize {
    let selector: usize;
    // SAFETY: reads a register.
    unsafe { asm!("str {:r}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    (selector / 8 - FIRST_TSS) / 2
}

/// Starts CPU `start.index`.
///
/// # Safety
///
/// * It has not been started before.
/// * What `start` says is right, and is there as long as the CPU runs.
pub(crate) unsafe fn start_cpu(start: &'static SecondaryStart) {
    // SAFETY: defined in the assembly, with this type.
    let place = unsafe { &secondary_start };
    // Taken by the CPU that was started before.
    while place.load(Ordering::Acquire) != 0 {
        pause();
    }
    place.store(
        core::ptr::from_ref(start).expose_provenance(),
        Ordering::Release,
    );
    apic::start(start.index, TRAMPOLINE);
}

pub(crate) fn enable_interrupts() {
    // SAFETY: the gates are set before interrupts are first enabled, and
    // interrupts change nothing of what they interrupt.
    unsafe { asm!("sti", options(nostack)) };
}

pub(crate) fn disable_interrupts() {
    // SAFETY: delays interrupts only.
    unsafe { asm!("cli", options(nostack)) };
}

/// Waits for an interrupt, and takes it. Called with interrupts disabled, so that
/// none gets lost between a look at what there is to do and the wait; returns
/// with interrupts enabled.
pub(crate) fn wait_for_interrupt() {
    // Interrupts are enabled one instruction after `sti`, so that none can come before
    // `hlt`. The NMI can: `handle` knows what to do.
    // SAFETY: as for `enable_interrupts`.
    unsafe { enable_and_halt() };
}

/// One interrupt of this CPU after `time`, instead of the one asked for before.
pub(crate) fn set_timer(time: Duration) {
    apic::set_timer(time);
}

/// An interrupt of CPU `index`.
pub(crate) fn send_ipi(index: usize) {
    apic::send_ipi(index);
}

pub(crate) fn now() -> Duration {
    hpet::now()
}

pub(crate) fn pause() {
    core::hint::spin_loop();
}

/// Writes to the serial port: a 16550.
pub(crate) fn serial_write(byte: u8) {
    const DATA: u16 = 0x3f8;
    const LINE_STATUS: u16 = DATA + 5;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;
    // SAFETY: the registers of the device, which only this function uses.
    unsafe {
        while inb(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {
            pause();
        }
        outb(DATA, byte);
    }
}

/// Ends the emulator. Its device makes `(value << 1) | 1` of what is written (QEMU,
/// hw/misc/debugexit.c), which cannot be 0: success is 33. A bit is flipped in other
/// statuses too, which have 7 bits, so that each can be told from the emulator's own.
pub(crate) fn exit(status: u8) -> ! {
    const PORT: u16 = 0xf4;
    const FLIPPED: u32 = 0x10;
    let value = u32::from(status) ^ FLIPPED;
    loop {
        // SAFETY: the register of the device; nothing happens afterwards.
        unsafe {
            asm!("out dx, eax", in("dx") PORT, in("eax") value, options(nomem, nostack));
        }
    }
}

/// # Safety
///
/// * What the device does with this is harmless.
unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller's duty.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags));
    }
}

/// # Safety
///
/// * What the device does when this is read is harmless.
unsafe fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: the caller's duty.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags));
    }
    value
}

/// What an exception interrupted. The layout is known to `trap_entry`.
///
/// The registers of SSE and AVX are not here: the handler is compiled for a
/// target without them (its floats are in integer registers), so that they
/// are still the guest's when the exception returns. Neither do they matter to a
/// guest that does not go on: in this ABI no function keeps them for its caller.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct TrapFrame {
    /// Makes the size a multiple of the stack's alignment.
    padding: u64,
    cr2: usize,
    rax: usize,
    rbx: usize,
    rcx: usize,
    rdx: usize,
    rsi: usize,
    rdi: usize,
    rbp: usize,
    r8: usize,
    r9: usize,
    r10: usize,
    r11: usize,
    r12: usize,
    r13: usize,
    r14: usize,
    r15: usize,
    vector: usize,
    error: usize,
    rip: usize,
    cs: usize,
    rflags: usize,
    rsp: usize,
    ss: usize,
}

const _: () = assert!(size_of::<TrapFrame>() == 24 * 8);
// What the handler's code must not use, the frame need not hold.
const _: () = assert!(cfg!(not(target_feature = "sse")));

impl TrapFrame {
    /// The instruction that was interrupted or could not be executed.
    pub(crate) fn pc(&self) -> VirtualAddress {
        VirtualAddress::new(self.rip)
    }

    /// The frame pointer there.
    pub(crate) fn fp(&self) -> VirtualAddress {
        VirtualAddress::new(self.rbp)
    }

    /// The stack pointer there.
    pub(crate) fn sp(&self) -> VirtualAddress {
        VirtualAddress::new(self.rsp)
    }

    /// Why. The numbers are those of the Intel SDM, volume 3, table 6-1.
    pub(crate) fn cause(&self) -> Cause {
        match self.vector {
            0 => Cause::Division,
            3 => Cause::Breakpoint,
            6 => Cause::IllegalInstruction,
            // Error code 0: no segment is to blame. By way of rbp or rsp it is a
            // stack fault (12). Alignment of vectors in memory is checked by the
            // same exception; compiled guests load them unaligned.
            12 | 13 if self.error == 0 => Cause::NonCanonicalAddress,
            14 => Cause::PageFault(VirtualAddress::new(self.cr2)),
            FIRST_INTERRUPT.. => Cause::Interrupt,
            vector => Cause::Other(vector),
        }
    }

    /// Tells the interrupt controller that this interrupt is served, and says
    /// what it is about.
    pub(crate) fn take_interrupt(&self) -> Interrupt {
        match self.vector {
            VECTOR_TIMER => {
                apic::end_of_interrupt();
                Interrupt::Timer
            }
            VECTOR_IPI => {
                apic::end_of_interrupt();
                Interrupt::Ipi
            }
            // A spurious interrupt has no end.
            _ => Interrupt::Served,
        }
    }

    /// Makes the exception return with these registers.
    pub(crate) fn resume(&mut self, registers: &Resume) {
        self.rip = registers.pc;
        self.rsp = registers.sp;
        self.rbp = registers.fp;
        [self.rax, self.rdx] = registers.payload;
    }
}

/// Called by `trap_entry`.
extern "C" fn handle(frame: &mut TrapFrame) {
    if frame.vector == NMI {
        // Between `sti` and its `hlt`. The return would let an interrupt in before the
        // `hlt`, which would then wait for one that has been: it is stepped over, as if
        // the NMI had ended the wait.
        if frame.rip == (&raw const halt).addr() {
            const HLT_BYTES: usize = 1;
            frame.rip += HLT_BYTES;
        }
        if shootdown::serve() {
            return;
        }
    }
    // An exception in the handler must not start on the stack at the same place.
    let task_state = &TASK_STATES[cpu_index()];
    let stack = task_state.stack(STACK);
    task_state.set_stack(STACK, stack - NESTED_STACK);
    crate::kernel::traps::handle(frame);
    task_state.set_stack(STACK, stack);
}

/// What the hardware does not have, by the name of the scenario that would need it.
pub(crate) const UNAVAILABLE: &[(&str, &str)] = &[];

/// What compiled code may count on, which the code of an image cannot find out: nothing.
pub(crate) const CPU_FEATURES: Option<fn(&str) -> Option<bool>> = None;
