//! Where the exceptions arrive.
//!
//! **Rule of this module: no allocation, no lock, no formatting, no lazily made
//! thread-local, no panic**, unless the kernel is about to stop.

use core::cell::Cell;
use core::ops::ControlFlow;
use core::ptr;
use core::time::Duration;

use trapline::cpu_local::cpu_local;
use trapline::{
    JmpBuf, Outcome, VirtualAddress, call_with_setjmp, handle_wasm_exception, lookup_code,
};

use super::panic::stop;
use crate::isa::{self, Cause, Interrupt, TrapFrame};

/// What trapline is told of an address that the hardware did not tell us, because
/// no page table can map it. It is in no memory of any guest, and not in the page
/// at address 0.
const UNKNOWN_ADDRESS: VirtualAddress = VirtualAddress::new(usize::MAX);

/// Called by the exception entry, on this CPU's exception stack. When it returns,
/// the registers in `frame` are restored and the exception is over.
pub(crate) extern "C" fn handle(frame: &mut TrapFrame) {
    let faulting_addr = match frame.cause() {
        Cause::Interrupt => return interrupt(frame),
        Cause::PageFault(address) => Some(address),
        Cause::NonCanonicalAddress => Some(UNKNOWN_ADDRESS),
        Cause::IllegalInstruction | Cause::Division => None,
        // What guests do not do: a breakpoint, an error of the machine that happened to
        // be noticed in a guest.
        Cause::Breakpoint | Cause::Other(_) => return kernel_exception(frame),
    };

    // SAFETY: called in an exception, with the values of what it interrupted, and
    // what it says is done below.
    match unsafe { handle_wasm_exception(frame.pc(), frame.fp(), faulting_addr) } {
        // A guest trapped: it is left from here.
        ControlFlow::Break(Outcome::Resume(registers)) => {
            LAST_TRAP.set(Some(frame.cause()));
            frame.resume(&registers);
        }
        // A hook of the store has mapped what was missing.
        ControlFlow::Break(Outcome::Retry) => {}
        ControlFlow::Break(Outcome::SandboxEscape(escape)) => stop(format_args!("{escape}")),
        // Not a guest's: a bug of the kernel, or what it was prepared for.
        ControlFlow::Continue(()) => kernel_exception(frame),
    }
}

fn kernel_exception(frame: &mut TrapFrame) {
    let expected = EXPECTED.replace(ptr::null());
    // SAFETY: set by `expect_exception` on this CPU, whose frame is there until
    // it takes the pointer away.
    let Some(expected) = (unsafe { expected.as_ref() }) else {
        stop(format_args!(
            "{:?} on CPU {}: pc {:#x}, fp {:#x}, sp {:#x}",
            frame.cause(),
            super::cpus::index(),
            frame.pc(),
            frame.fp(),
            frame.sp(),
        ))
    };
    expected.cause.set(Some(frame.cause()));
    // SAFETY: what lies below `expect_exception` is given up, by its duties.
    let landing = unsafe { &*expected.back.get() }.landing_point();
    frame.resume(&landing.with_payload(1, 0));
}

/// What [`expect_exception`] is prepared for.
struct Expected {
    back: Cell<JmpBuf>,
    cause: Cell<Option<Cause>>,
    /// The one that this CPU goes back to.
    outer: *const Self,
}

/// On each of the ways out, a panic's included.
impl Drop for Expected {
    fn drop(&mut self) {
        EXPECTED.set(self.outer);
    }
}

cpu_local! {
    /// The innermost [`expect_exception`] of this CPU; null if there is none.
    static EXPECTED: Cell<*const Expected> = const { Cell::new(ptr::null()) };
    /// What the hardware said of the last trap of a guest on this CPU.
    static LAST_TRAP: Cell<Option<Cause>> = const { Cell::new(None) };
    /// Interrupts of this CPU so far.
    static INTERRUPTS: Cell<Interrupts> = const { Cell::new(Interrupts::NONE) };
    /// How long from one interrupt of the timer to the next; zero: no next one.
    static TICK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Runs `f`, in which the kernel itself is expected to cause an exception that it
/// cannot go on after; says which one, or `None` if there was none. For tests of
/// the kernel's protection.
///
/// # Safety
///
/// * No frame between here and the exception has a destructor that must run.
pub(crate) unsafe fn expect_exception(f: impl FnOnce()) -> Option<Cause> {
    let expected = Expected {
        back: Cell::new(ptr::null()),
        cause: Cell::new(None),
        outer: EXPECTED.get(),
    };
    EXPECTED.set(&raw const expected);
    call_with_setjmp(|back| {
        expected.back.set(back);
        f();
        0
    });
    expected.cause.get()
}

/// Causes an exception whose handler causes another one: the kernel stops for that.
pub(crate) fn fault_in_the_handler() {
    /// In the page at address 0, which is never mapped.
    const NOWHERE: usize = 0x400;
    EXPECTED.set(ptr::without_provenance(NOWHERE));
    // SAFETY: there is nothing to read, and the kernel stops for the attempt to.
    unsafe { ptr::without_provenance::<u8>(1).read_volatile() };
}

/// What the hardware said of the last trap of a guest on this CPU; asked for once.
pub(crate) fn take_last_trap() -> Option<Cause> {
    LAST_TRAP.take()
}

/// From now on, this CPU is interrupted by its timer again and again, `period`
/// after it has dealt with the last interrupt; never if it is zero.
pub(crate) fn tick(period: Duration) {
    TICK.set(period);
    if !period.is_zero() {
        isa::set_timer(period);
    }
}

/// How often a CPU was interrupted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupts {
    /// By its timer, in the code of a guest.
    pub(crate) timer_in_guest: u64,
    /// By its timer, anywhere else.
    pub(crate) timer_in_kernel: u64,
    /// By other CPUs.
    pub(crate) ipi: u64,
}

impl Interrupts {
    const NONE: Self = Self {
        timer_in_guest: 0,
        timer_in_kernel: 0,
        ipi: 0,
    };
}

/// This CPU's interrupts so far.
pub(crate) fn interrupts() -> Interrupts {
    INTERRUPTS.get()
}

fn interrupt(frame: &TrapFrame) {
    let mut interrupts = INTERRUPTS.get();
    match frame.take_interrupt() {
        Interrupt::Timer => {
            // Wait-free, whatever was interrupted.
            match lookup_code(frame.pc()) {
                Some(_) => interrupts.timer_in_guest += 1,
                None => interrupts.timer_in_kernel += 1,
            }
            let period = TICK.get();
            if !period.is_zero() {
                isa::set_timer(period);
            }
        }
        Interrupt::Ipi => interrupts.ipi += 1,
        Interrupt::Served => {}
    }
    INTERRUPTS.set(interrupts);
}
