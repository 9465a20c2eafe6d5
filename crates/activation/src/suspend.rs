//! Fibers: taking activations off one CPU and putting them back on another.

use core::ptr;

use crate::activation::{Activation, head, replace_head};
use crate::order;

/// A place in this CPU's chain: everything pushed after it was taken is
/// "since" it.
#[derive(Clone, Copy, Debug)]
pub struct ActivationMark(*const Activation);

impl ActivationMark {
    /// The chain as it is now. Taken by a scheduler before it switches to a
    /// fiber.
    #[must_use]
    pub fn here() -> Self {
        Self(head())
    }
}

/// The activations of a fiber that does not run: off every chain.
///
/// If it is dropped, the fiber can't be gone on with.
#[derive(Debug)]
#[must_use = "the fiber whose activations these are can't go on without them"]
pub struct SuspendedActivations {
    /// The oldest; linked through `previous` to the next *newer* one.
    oldest: *const Activation,
}

// SAFETY: the activations lie on the stack of a fiber that does not run; the
// duties of `resume` see to it that whoever runs it next has it alone.
unsafe impl Send for SuspendedActivations {}

/// Takes the activations pushed since `mark` off this CPU, because the fiber
/// that they belong to stops running. The words of their stores are put back to
/// what they were before the fiber ran.
///
/// # Safety
///
/// * `mark` was taken on this CPU, below the fiber: what it names is still in
///   the chain, and everything above it belongs to the fiber.
/// * The fiber does not run until its activations are resumed; no fault in its
///   guests is handled meanwhile, and the stores of its guests are alive.
/// * What compiled code reads from a store's context beside the words of its
///   [`LAYOUT`](crate::Store::LAYOUT) and that belongs to a stack, above all a
///   stack limit, the caller exchanges itself if the store runs elsewhere
///   meanwhile.
///
/// # Panics
///
/// If `mark` is not in this CPU's chain; the chain is lost then, and nobody may unwind
/// into a `catch_traps` that it had.
pub unsafe fn suspend_activations(mark: ActivationMark) -> SuspendedActivations {
    let mut newer = ptr::null();
    let mut next = ptr::null();
    // First, so that this CPU's chain is whole at every moment.
    replace_head(|innermost, _| {
        next = innermost;
        mark.0
    });
    while !ptr::eq(next, mark.0) {
        // SAFETY: between the head and the mark there are live activations of
        // the fiber; the chain ends with null.
        let Some(activation) = (unsafe { next.as_ref() }) else {
            panic!("the mark is not in this CPU's chain of activations");
        };
        // SAFETY: newest first, so that this is the innermost of its store.
        unsafe { activation.swap_words() };
        next = activation.previous_ptr();
        // Nobody may unlink what is in no chain.
        activation.link(newer, order::in_no_chain());
        newer = activation;
    }
    SuspendedActivations { oldest: newer }
}

impl SuspendedActivations {
    /// Puts the activations on this CPU, on top of what is there, because the
    /// fiber goes on here.
    ///
    /// # Safety
    ///
    /// * The fiber goes on, on this CPU, and nothing else happens on it before.
    /// * If that is another CPU than before: the stores of the fiber's guests, and
    ///   all that is alive on its stack, may be used from there (is `Send`).
    /// * The stores of its guests are not in use on another CPU.
    /// * If guests rely on hardware traps, this CPU (thread) is prepared to have them caught, as one is on
    ///   which a guest is entered: by what installs signal handlers' stacks, or sets up exceptions.
    pub unsafe fn resume(self) {
        replace_head(|innermost, head| {
            let mut older = innermost;
            let mut next = self.oldest;
            while !next.is_null() {
                // SAFETY: activations on the stack of the fiber, which is alive.
                let activation = unsafe { &*next };
                next = activation.previous_ptr();
                activation.link(older, head);
                // SAFETY: oldest first, so that this is the innermost of its store
                // among those that are back.
                unsafe { activation.swap_words() };
                older = activation;
            }
            older
        });
    }

    /// Whether the fiber was in no guest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.oldest.is_null()
    }
}
