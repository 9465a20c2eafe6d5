//! What was installed for each signal before us. (Part of the handler: see the
//! rule in the parent module.)
//!
//! ```text
//!            PREVIOUS[i]
//!               │ one word, swapped atomically
//!               ▼
//!   SavedAction { handler, flags, mask }    never changed, never freed
//! ```
//!
//! A handler may run on any thread between any two instructions of an
//! installation on another, so the saved action is published *before* the new
//! handler is installed, as one pointer to something immutable.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, sigaction};

use crate::signals::{SIGNALS, index_of};

/// A disposition of a signal, as `sigaction` reports and takes it.
pub(crate) struct SavedAction(sigaction);

// SAFETY: plain numbers, one of which is the address of a function; nothing of
// it is tied to a thread.
unsafe impl Send for SavedAction {}
// SAFETY: as above, and never changed.
unsafe impl Sync for SavedAction {}

/// The default disposition.
static DEFAULT: SavedAction = SavedAction(default_action());

static PREVIOUS: [AtomicPtr<SavedAction>; SIGNALS.len()] =
    [const { AtomicPtr::new((&raw const DEFAULT).cast_mut()) }; SIGNALS.len()];

/// What `sigaction` takes to mean the default disposition.
pub(crate) const fn default_action() -> sigaction {
    // SAFETY: a structure of integers, for which all zeros is a value.
    let mut action: sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    action
}

impl SavedAction {
    /// Keeps `action`.
    pub(crate) const fn new(action: sigaction) -> Self {
        Self(action)
    }

    /// The address of the handler, or `SIG_DFL` or `SIG_IGN`.
    pub(crate) fn handler(&self) -> usize {
        self.0.sa_sigaction
    }

    /// The `SA_*` flags.
    pub(crate) fn flags(&self) -> c_int {
        self.0.sa_flags
    }

    /// All of it.
    pub(crate) fn action(&self) -> &sigaction {
        &self.0
    }
}

/// What was there before us for `signal`; the default for signals that are not
/// ours.
pub(crate) fn of(signal: c_int) -> &'static SavedAction {
    let Some(slot) = slot(signal) else {
        return &DEFAULT;
    };
    // SAFETY: the slot only ever holds pointers to statics and to what
    // `publish` was given, both of which live for ever and do not change.
    // Acquire pairs with the release in `publish`.
    unsafe { &*slot.load(Ordering::Acquire) }
}

/// Makes `action` what was there before us for `signal`.
pub(crate) fn publish(signal: c_int, action: &'static SavedAction) {
    if let Some(slot) = slot(signal) {
        slot.store(ptr::from_ref(action).cast_mut(), Ordering::Release);
    }
}

/// Takes `action`, which is to be run one time only, out of use: from now on
/// the default disposition is what was there before us. `false` if this is no
/// longer what is there: somebody else took it.
pub(super) fn take_one_shot(signal: c_int, action: &'static SavedAction) -> bool {
    slot(signal).is_some_and(|slot| {
        slot.compare_exchange(
            ptr::from_ref(action).cast_mut(),
            (&raw const DEFAULT).cast_mut(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .is_ok()
    })
}

fn slot(signal: c_int) -> Option<&'static AtomicPtr<SavedAction>> {
    PREVIOUS.get(index_of(signal)?)
}
