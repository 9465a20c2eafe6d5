//! Lookups, and the guards that they return.
//!
//! **Reached from signal and exception handlers: no allocation, no free, no
//! lock, no formatting, no thread-local, no panic in this module**, but for
//! [`CodeRef::to_arc`] and the `Debug` implementation.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use trapline_arch::VirtualAddress;

use crate::announce::Announcement;
#[cfg(not(loom))]
use crate::registry::GLOBAL;
use crate::{CodeObject, CodeRegistry, node};

/// The registered code that contains `pc`, and the offset of `pc` from the
/// start of its text in bytes.
///
/// See [`CodeRegistry::lookup`].
#[cfg(not(loom))]
#[inline]
#[must_use]
pub fn lookup_code(pc: VirtualAddress) -> Option<(CodeRef, usize)> {
    GLOBAL.lookup(pc)
}

impl CodeRegistry {
    /// The registered code that contains `pc`, and the offset of `pc` from the
    /// start of its text in bytes.
    ///
    /// For signal and exception handlers: wait-free, also while a writer on
    /// this or another CPU is interrupted half-way; allocates, frees and locks
    /// nothing.
    #[inline]
    #[must_use]
    pub fn lookup(&'static self, pc: VirtualAddress) -> Option<(CodeRef, usize)> {
        let published = &self.published;
        let announcement = self
            .readers
            .announce(&published.used_stripes, published.version())?;
        let root = published.root();
        // SAFETY: the announcement keeps all nodes of this tree alive.
        let (start, entry) = unsafe { node::predecessor(root, pc.get()) }?;
        if pc.get() >= entry.end {
            return None;
        }
        announcement.hold(entry.code.cast::<()>().addr().get());
        let code = CodeRef {
            code: entry.code,
            _announcement: announcement,
        };
        Some((code, pc.get() - start))
    }
}

/// Registered code that a lookup found; keeps it alive.
///
/// Made and dropped in handlers: dropping it frees nothing and runs no
/// destructor. If the code was removed meanwhile, a writer lets go of it later.
/// Keep it short; [`to_arc`](Self::to_arc) is for keeping.
pub struct CodeRef {
    code: NonNull<dyn CodeObject>,
    _announcement: Announcement,
}

// SAFETY: gives out shared references to a code object, which may be shared
// between threads. The announcement is a word that any thread may take back.
unsafe impl Send for CodeRef {}
// SAFETY: as above.
unsafe impl Sync for CodeRef {}

impl CodeRef {
    /// The code object, to keep for as long as one likes. Not for handlers:
    /// dropping the result may free it.
    #[must_use]
    pub fn to_arc(&self) -> Arc<dyn CodeObject> {
        let code = self.code.as_ptr().cast_const();
        // SAFETY: from `Arc::into_raw`; the announcement keeps the registry's
        // count, so it is alive, and this makes another one.
        unsafe {
            Arc::increment_strong_count(code);
            Arc::from_raw(code)
        }
    }
}

impl Deref for CodeRef {
    type Target = dyn CodeObject;

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: the announcement keeps it alive as long as `self` is.
        unsafe { self.code.as_ref() }
    }
}

impl fmt::Debug for CodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRef")
            .field("text", &self.text())
            .finish_non_exhaustive()
    }
}
