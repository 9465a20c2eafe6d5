//! The CPUs, and what they do: jobs.

use alloc::boxed::Box;
use core::cell::Cell;

use trapline::cpu_local::cpu_local;

use super::stack::Stack;
use crate::isa;

/// How many CPUs there are.
pub(crate) const COUNT: usize = 2;

/// Guests get 512 KiB by default, also those that a job runs which was begun inside of
/// another guest's host call.
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

/// Makes this CPU the first one, and goes on with `main` on a stack with a guard.
/// Called once, with interrupts disabled.
pub(crate) fn start(main: fn() -> !) -> ! {
    extern "C" fn enter(main: usize) -> ! {
        // SAFETY: the argument is the function that is cast below.
        let main = unsafe { core::mem::transmute::<usize, fn() -> !>(main) };
        isa::enable_interrupts();
        main()
    }

    set_up_this_cpu(0);
    let stack = new_stack(STACK);
    // SAFETY: a new stack; this one is never gone back to, and nothing on it has a
    // destructor.
    unsafe { stack.entry(enter, main as usize).jump() }
}

/// A stack for as long as the kernel runs.
fn new_stack(bytes: usize) -> &'static Stack {
    let stack = Stack::new(bytes).expect("there is memory for the CPUs' stacks");
    Box::leak(Box::new(stack))
}

/// Gives this CPU what is its own.
fn set_up_this_cpu(index: usize) {
    INDEX.set(index);
    let exceptions = new_stack(EXCEPTION_STACK);
    // SAFETY: a new stack, large enough; interrupts are disabled.
    unsafe { isa::init_cpu(index, exceptions.top()) };
}
