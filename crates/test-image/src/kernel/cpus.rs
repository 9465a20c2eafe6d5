//! The CPUs: how they start, and what each has of its own.

use alloc::alloc::{alloc, handle_alloc_error};
use alloc::boxed::Box;
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};

use trapline::cpu_local::{area_layout, cpu_local, init_cpu};

use super::stack::Stack;
use super::{jobs, memory};
use crate::isa::{self, SecondaryStart};

/// How many CPUs there are at most.
pub(crate) const COUNT: usize = 2;

/// Guests get 512 KiB by default, also those that a job runs which a CPU began while it
/// waited in a host call of another guest.
const STACK: usize = 4 << 20;

/// The handler itself and what it calls in trapline need little.
const EXCEPTION_STACK: usize = 64 << 10;

cpu_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The number of this CPU.
pub(crate) fn index() -> usize {
    INDEX.get()
}

/// CPUs that take interrupts.
static ONLINE: AtomicUsize = AtomicUsize::new(0);

/// Makes this CPU the first one, starts the others that the order needs, and goes on with
/// `main` on a stack with a guard. Called once, with interrupts disabled.
pub(crate) fn start(main: fn() -> !) -> ! {
    extern "C" fn enter(main: usize) -> ! {
        let main = core::ptr::with_exposed_provenance::<()>(main);
        // SAFETY: the argument is the function whose address is exposed below.
        let main = unsafe { core::mem::transmute::<*const (), fn() -> !>(main) };
        go_online();
        let count = super::wanted_cpus();
        for index in 1..count {
            start_secondary(index);
        }
        while ONLINE.load(Ordering::Acquire) < count {
            isa::pause();
        }
        main()
    }

    set_up_this_cpu(0);
    let main = (main as *const ()).expose_provenance();
    // SAFETY: a new stack; the one we are on is never gone back to, and nothing on it
    // has a destructor.
    unsafe { new_stack(STACK).entry(enter, main).jump() }
}

fn start_secondary(index: usize) {
    extern "C" fn enter(index: usize) -> ! {
        set_up_this_cpu(index);
        go_online();
        jobs::run_for_ever()
    }

    let start = Box::leak(Box::new(SecondaryStart {
        root: memory::root(),
        stack_top: new_stack(STACK).top(),
        index,
        entry: enter,
    }));
    // SAFETY: each CPU is started once, with the kernel's page tables, a stack of its own
    // and a function that is at home there.
    unsafe { isa::start_cpu(start) };
}

fn go_online() {
    isa::enable_interrupts();
    ONLINE.fetch_add(1, Ordering::Release);
}

/// Gives this CPU what is its own: CPU-locals, and a stack for exceptions.
fn set_up_this_cpu(index: usize) {
    let layout = area_layout();
    // SAFETY: an area is never empty.
    let area = unsafe { alloc(layout) };
    if area.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: as large and aligned as it has to be, and never used for anything else.
    // Nothing has used CPU-locals on this CPU. The base register is changed by
    // nobody else, and images are not relocated.
    unsafe { init_cpu(area) };
    INDEX.set(index);

    // SAFETY: a new stack, large enough; interrupts are disabled.
    unsafe { isa::init_cpu(index, new_stack(EXCEPTION_STACK).top()) };
}

/// A stack for as long as the kernel runs.
fn new_stack(bytes: usize) -> &'static Stack {
    let stack = Stack::new(bytes).expect("there is memory for the CPUs' stacks");
    Box::leak(Box::new(stack))
}
