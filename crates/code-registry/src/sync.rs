//! The atomics of this crate, so that a model checker can put its own in their
//! place (`--cfg loom`).

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicPtr, AtomicUsize};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize};

/// Defines a function that is `const`, except in a model check, whose atomics
/// can't be made at compile time.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident() -> $ret:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name() -> $ret $body
        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name() -> $ret $body
    };
}
pub(crate) use const_unless_loom;

/// Stands where the order of two `SeqCst` accesses to different words matters.
///
/// The language has one order of all `SeqCst` accesses, so nothing is left to
/// do. The model checker takes them for acquire and release (loom's README,
/// "Limitations"), but knows `SeqCst` fences, hence the fence there.
#[inline]
pub(crate) fn seq_cst_accesses_are_ordered() {
    #[cfg(loom)]
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
}

/// Lets the model checker see each read of a node and the moment it is freed:
/// a read that does not happen before that moment fails the check.
///
/// Nothing at all outside of a model check.
#[derive(Debug)]
pub(crate) struct Lifetime {
    #[cfg(loom)]
    freed: loom::cell::UnsafeCell<bool>,
}

impl Lifetime {
    /// Of something just allocated.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(loom)]
            freed: loom::cell::UnsafeCell::new(false),
        }
    }

    /// The owner of this is read now.
    #[inline]
    pub(crate) fn read(&self) {
        #[cfg(loom)]
        self.freed.with(|freed| {
            // SAFETY: the checker fails the model if a write runs concurrently.
            assert!(!unsafe { *freed }, "read after free");
        });
    }

    /// The owner of this is freed now; whether the memory may really be given
    /// back (it is kept in a model check, where a faulty model still reads it).
    #[inline]
    pub(crate) fn end(&self) -> bool {
        #[cfg(loom)]
        self.freed.with_mut(|freed| {
            // SAFETY: the checker fails the model if another access runs
            // concurrently.
            let freed = unsafe { &mut *freed };
            assert!(!*freed, "freed twice");
            *freed = true;
        });
        cfg!(not(loom))
    }
}
