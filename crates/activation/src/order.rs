//! Last in, first out: the rule of the chain of activations, and the end of who breaks it.
//!
//! A guest is left for the CPU's innermost activation, which is only right if that is the one that
//! was entered last on the stack that runs. Code that switches stacks while it is in a guest (a
//! coroutine, a fiber) takes its activations along, by [`suspend_activations`](crate::suspend_activations)
//! and [`resume`](crate::SuspendedActivations::resume). If it does not, the innermost activation may
//! be one of a stack that does not run:
//!
//! ```text
//!  main stack                 a coroutine's stack
//!  catch_traps: A
//!    guest
//!      host function ───────► catch_traps: B        chain: B ─► A
//!                               guest
//!                                 host function
//!      an error, for A  ◄─────────  yields          the innermost one is B
//! ```
//!
//! | what is done | what is looked at |
//! | --- | --- |
//! | an activation is left | it is the innermost |
//! | a reason is recorded or raised | the innermost guest runs on this stack (`Activation::owner_of`) |
//! | a guest traps by the hardware | the frame that trapped is of the innermost guest (the same) |
//! | frames are captured | the guest was left from a frame of its own (the same; no frames, else) |
//!
//! There is no way on from there: an unwinding would go through frames of a stack that is not the
//! right one, too. So the process stops, or the CPU.

use crate::activation::ActivationHead;

/// What somebody does that is against the rule.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum OutOfOrder {
    /// `catch_traps` returns, but its activation is not the innermost.
    Left,
    /// The same on another CPU than the one that the activation is in the chain of.
    LeftElsewhere,
    /// A reason to leave the innermost guest comes from another stack.
    Recorded,
    /// So does the order to leave it.
    Raised,
    /// The hardware has found a trap in another guest than the innermost.
    Trapped,
}

impl OutOfOrder {
    const fn message(self) -> &'static str {
        match self {
            Self::Left => "a guest was left that is not the one entered last",
            Self::LeftElsewhere => {
                "a guest was left on another CPU (thread) than the one that it was entered or resumed on"
            }
            Self::Recorded => {
                "a reason to leave the innermost guest was recorded on a stack that this guest does not run on"
            }
            Self::Raised => {
                "the innermost guest was to be left from a stack that this guest does not run on"
            }
            Self::Trapped => "a guest trapped that is not the one entered last",
        }
    }
}

/// Says what rule was broken, and does not return: a panic that may not unwind.
#[cold]
#[inline(never)]
pub(crate) extern "C" fn stop(what: OutOfOrder) -> ! {
    panic!(
        "{}: activations are last in, first out, on each CPU (thread). A coroutine or fiber that is switched away from while it is in a guest takes its activations along: trapline_activation::suspend_activations when it stops, SuspendedActivations::resume before it goes on",
        what.message()
    )
}

/// The head of a chain that nobody is in: suspended activations have it.
#[inline]
pub(crate) fn in_no_chain() -> *const ActivationHead {
    struct Nobody(ActivationHead);

    // SAFETY: nobody writes to it: only an activation that is the innermost of a head is
    // unlinked there, and this one never has any.
    unsafe impl Sync for Nobody {}

    static NOBODY: Nobody = Nobody(ActivationHead::none());
    &raw const NOBODY.0
}
