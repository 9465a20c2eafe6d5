//! A word on why a signal of the processor was no trap, for who asked for it. (Part of the handler: see
//! the rule in the parent module.)

use core::sync::atomic::{AtomicBool, Ordering};

use libc::c_int;
use trapline_activation::NotATrap;

use super::line::Line;
use crate::signals::name_of;

/// Whether somebody wants to know.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether the handlers say on standard error, from now on and on all threads, why a signal that the processor
/// raised is no trap of a guest, before they pass it on. By default they say nothing.
///
/// For who embeds guests and finds that the process dies without a word: a guest that is entered wrongly (its code
/// is not registered, outside of `catch_traps`, past its entry trampoline) traps like any other, and
/// nobody may take it for one. What is said names the check that found so, and what to do:
///
/// ```text
/// trapline: SIGILL at pc 0x7f12a0c01230 is no trap: a guest trapped, but none was entered on this thread: enter it inside of catch_traps
/// ```
///
/// So does a fault of the host, which is what most of these are in a program that embeds guests rightly; and in one
/// with handlers that live on faults (those of other runtimes) each of them. Hence it is not for production.
///
/// Where the handlers are not asked at all, there is nobody to say anything: see [`missing_on_this_thread`].
///
/// [`missing_on_this_thread`]: crate::missing_on_this_thread
pub fn set_diagnosis(wanted: bool) {
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Why a signal that the processor raised is no trap.
pub(super) enum Why {
    /// What it interrupted ran on the thread's alternate stack.
    OnSignalStack,
    /// The activation crate says so.
    Not(NotATrap),
}

/// Says why, if somebody wants to know.
#[inline]
pub(super) fn tell(signal: c_int, pc: usize, why: &Why) {
    if WANTED.load(Ordering::Relaxed) {
        describe(signal, pc, why).write_to_stderr();
    }
}

#[cold]
fn describe(signal: c_int, pc: usize, why: &Why) -> Line {
    let mut line = Line::new();
    line.text_part("trapline: ");
    line.text_part(name_of(signal));
    line.text_part(" at pc ");
    line.address(pc);
    line.text_part(" is no trap: ");
    match why {
        Why::OnSignalStack => line.text_part(
            "it was raised on a signal stack, in a handler: enter no guest from a signal handler",
        ),
        Why::Not(why) => {
            line.text_part(why.message());
            if let NotATrap::FrameNotOfGuest { fp, entry_fp } = why {
                line.text_part(" (frame ");
                line.address(fp.get());
                line.text_part(", entry frame ");
                line.address(entry_fp.get());
                line.text_part(")");
            }
        }
    }
    line.text_part("\n");
    line
}
