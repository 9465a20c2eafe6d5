//! Fibers: code with a stack of its own, which stops in the middle and goes on
//! later, on any CPU. Switching is two of trapline-arch's jumps.

use alloc::boxed::Box;
use core::any::Any;
use core::cell::Cell;
use core::ptr;

use trapline::activation::panic;
use trapline::{
    ActivationMark, JmpBuf, SuspendedActivations, call_with_setjmp, longjmp, suspend_activations,
};

use crate::kernel::memory::OutOfFrames;
use crate::kernel::stack::Stack;

const SUSPENDED: i32 = 1;
const FINISHED: i32 = 2;

type Body = Box<dyn FnOnce(&Inside) + Send>;

/// What both sides of a switch look at; never moves.
struct Shared {
    /// Where [`Fiber::run`] waits.
    outside: Cell<JmpBuf>,
    /// Where the fiber waits; null before its first run.
    inside: Cell<JmpBuf>,
    body: Cell<Option<Body>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

/// A fiber that does not run. Dropped before it has finished, it leaves what is on its
/// stack as it is.
pub(crate) struct Fiber {
    stack: Stack,
    shared: Box<Shared>,
    suspended: Option<SuspendedActivations>,
}

// SAFETY: by the duties of `new`.
unsafe impl Send for Fiber {}

/// The fiber, as its body sees it.
pub(crate) struct Inside(*const Shared);

impl Fiber {
    /// A fiber that has not started.
    ///
    /// # Safety
    ///
    /// * What lies on its stack while it is suspended may be used on any CPU.
    pub(crate) unsafe fn new(
        body: impl FnOnce(&Inside) + Send + 'static,
    ) -> Result<Self, OutOfFrames> {
        const BYTES: usize = 1 << 20;
        Ok(Self {
            stack: Stack::new(BYTES)?,
            shared: Box::new(Shared {
                outside: Cell::new(ptr::null()),
                inside: Cell::new(ptr::null()),
                body: Cell::new(Some(Box::new(body))),
                panic: Cell::new(None),
            }),
            suspended: None,
        })
    }

    /// Runs the fiber on this CPU until it suspends itself, and gives it back, or
    /// until it has finished.
    ///
    /// # Panics
    ///
    /// With the panic of the fiber's body.
    pub(crate) fn run(mut self) -> Option<Self> {
        let mark = ActivationMark::here();
        if let Some(suspended) = self.suspended.take() {
            // SAFETY: the fiber goes on right below.
            unsafe { suspended.resume() };
        }
        let shared = &*self.shared;
        let status = call_with_setjmp(|outside| {
            shared.outside.set(outside);
            let inside = shared.inside.get();
            if inside.is_null() {
                let argument = ptr::from_ref(shared).expose_provenance();
                // SAFETY: nobody runs on the fiber's stack yet; nothing here has a
                // destructor.
                unsafe { self.stack.entry(main, argument).jump() }
            }
            // SAFETY: the fiber waits there; nothing here has a destructor.
            unsafe { longjmp(inside, 1) }
        });
        // SAFETY: the mark was taken above, right before the fiber ran, which does not
        // run now.
        let suspended = unsafe { suspend_activations(mark) };
        if status == SUSPENDED {
            self.suspended = Some(suspended);
            return Some(self);
        }
        assert!(suspended.is_empty(), "a finished fiber is in no guest");
        if let Some(payload) = self.shared.panic.take() {
            panic::resume(payload);
        }
        None
    }

    /// Whether the fiber is in no guest.
    pub(crate) fn is_in_no_guest(&self) -> bool {
        let suspended = self.suspended.as_ref();
        suspended.is_none_or(SuspendedActivations::is_empty)
    }
}

impl Inside {
    /// Stops the fiber until it is run again, on any CPU.
    // Not inlined: nothing that was found out about the CPU may be used afterwards.
    #[inline(never)]
    pub(crate) fn suspend(&self) {
        // SAFETY: lives as long as the fiber.
        let shared = unsafe { &*self.0 };
        call_with_setjmp(|inside| {
            shared.inside.set(inside);
            // SAFETY: `run` waits there; nothing here has a destructor.
            unsafe { longjmp(shared.outside.get(), SUSPENDED) }
        });
    }
}

/// The first function on a fiber's stack.
extern "C" fn main(shared: usize) -> ! {
    // SAFETY: `run` passes it; it lives as long as the fiber.
    let shared = unsafe { &*ptr::with_exposed_provenance::<Shared>(shared) };
    if let Some(body) = shared.body.take() {
        let outcome = panic::catch(|| body(&Inside(shared)));
        shared.panic.set(outcome.err());
    }
    // SAFETY: `run` waits there; nothing here has a destructor any more.
    unsafe { longjmp(shared.outside.get(), FINISHED) }
}
