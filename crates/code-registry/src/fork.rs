//! Readers of threads that do not exist in a forked child.
//!
//! Writers are `trapline-lock`'s business: `fork` waits for them. Readers are not waited for, and what those
//! of other threads announced is in the child, too, and never taken back there: a guard keeps its one code
//! object, which a child can bear, but a search keeps all that is taken out from then on.
//!
//! So in the child searches are forgotten, in all registries that were ever written to. In others nobody
//! announces any. The thread that lives on there has none, as a search calls nobody's
//! code.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::CodeRegistry;

/// The first of the registries that have been written to; each one leads to the next.
static FIRST: AtomicPtr<CodeRegistry> = AtomicPtr::new(ptr::null_mut());

/// A registry's place among them.
#[derive(Debug)]
pub(crate) struct Listed {
    is_listed: AtomicBool,
    next: AtomicPtr<CodeRegistry>,
}

impl Listed {
    pub(crate) const fn new() -> Self {
        Self {
            is_listed: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// Sees to children that are forked later. Before a writer takes its lock.
#[inline]
pub(crate) fn watch() {
    static WATCHES: AtomicBool = AtomicBool::new(false);
    if !WATCHES.load(Ordering::Relaxed) {
        // Several threads may come here at once; forgetting twice does no harm.
        trapline_lock::call_in_children(forget_searches);
        WATCHES.store(true, Ordering::Relaxed);
    }
}

/// Puts `registry` on the list. For the writer that has its lock, so that no fork comes in between.
#[inline]
pub(crate) fn list(registry: &'static CodeRegistry) {
    let listed = &registry.listed;
    // Only under the lock, hence `Relaxed`.
    if listed.is_listed.load(Ordering::Relaxed) {
        return;
    }
    listed.is_listed.store(true, Ordering::Relaxed);
    // Others list theirs meanwhile, under locks of their own.
    let _ = FIRST.fetch_update(Ordering::AcqRel, Ordering::Acquire, |first| {
        listed.next.store(first, Ordering::Relaxed);
        Some(ptr::from_ref(registry).cast_mut())
    });
}

/// For a child that has just been forked.
extern "C" fn forget_searches() {
    let mut registry = FIRST.load(Ordering::Acquire);
    // SAFETY: only registries are listed, which live for ever.
    while let Some(listed) = unsafe { registry.as_ref() } {
        // SAFETY: the only thread of the child is in `fork`, and not in a search.
        unsafe { listed.readers.forget_searches() };
        registry = listed.listed.next.load(Ordering::Relaxed);
    }
}
