//! What a thread lacks to have the traps of its guests caught. (Normal context only.)

use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;

use libc::c_int;

use crate::signals::{SIGNALS, name_of};
use crate::{alt_stack, install};

/// Something without which a trap of a guest on this thread ends the process, or may.
#[derive(Debug)]
#[non_exhaustive]
pub enum Missing {
    /// For this signal our handler is not the one that the kernel calls: it was not installed, or another one was,
    /// on top, which has to pass on to ours what it does not know.
    Handler {
        /// The number of the signal.
        signal: i32,
    },
    /// The thread blocks this signal: the kernel ends a process whose fault it cannot deliver.
    Unblocked {
        /// The number of the signal.
        signal: i32,
    },
    /// Nobody has called [`prepare_thread`](crate::prepare_thread): an overflow of the stack is not survived.
    SignalStack,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler { signal } => write!(
                f,
                "{} does not come to trapline's handler: call ensure_installed, last of those who install one",
                name_of(*signal)
            ),
            Self::Unblocked { signal } => write!(
                f,
                "{} is blocked on this thread: unblock it where guests run",
                name_of(*signal)
            ),
            Self::SignalStack => {
                f.write_str("this thread has no signal stack: call prepare_thread")
            }
        }
    }
}

impl std::error::Error for Missing {}

/// What this thread lacks, now, to have the hardware traps of guests caught; nothing, if all is in order. For
/// diagnosis: a process whose handlers are not asked can say nothing when it dies.
#[must_use]
pub fn missing_on_this_thread() -> Vec<Missing> {
    let blocked = blocked_signals();
    let mut missing = Vec::new();
    for signal in SIGNALS {
        if !install::comes_to_us(signal) {
            missing.push(Missing::Handler { signal });
        }
        // SAFETY: an initialised set and a valid signal number.
        if unsafe { libc::sigismember(&raw const blocked, signal) } == 1 {
            missing.push(Missing::Unblocked { signal });
        }
    }
    if !alt_stack::is_prepared() {
        missing.push(Missing::SignalStack);
    }
    missing
}

/// The signals that this thread blocks.
fn blocked_signals() -> libc::sigset_t {
    let how: c_int = libc::SIG_BLOCK;
    let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: asks only; the set is writable.
    unsafe { libc::pthread_sigmask(how, ptr::null(), blocked.as_mut_ptr()) };
    // SAFETY: a set without signals is all zeros, and what the call has filled in is one.
    unsafe { blocked.assume_init() }
}
