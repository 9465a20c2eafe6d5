//! What writers show to readers.
//!
//! **Reached from signal and exception handlers: no allocation, no free, no
//! lock, no formatting, no thread-local, no panic in this module.**

use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Release, SeqCst};

use crate::announce::UsedStripes;
use crate::node::{Header, Link};
use crate::sync::{AtomicPtr, AtomicUsize, const_unless_loom};

/// The words that every reader loads, on a cache line of their own. The module `announce` says why they are loaded and stored in this order.
#[repr(align(128))]
pub(crate) struct Published {
    /// The tree, null if it is empty. Only [`publish`](Self::publish) writes
    /// it.
    root: AtomicPtr<Header>,
    /// Number of a write whose tree, or a later one, is in `root`.
    version: AtomicUsize,
    /// Readers' own, written by the first of each stripe.
    pub(crate) used_stripes: UsedStripes,
}

impl Published {
    const_unless_loom! {
        /// An empty tree, of write number 0.
        pub(crate) fn new() -> Self {
            Self {
                root: AtomicPtr::new(ptr::null_mut()),
                version: AtomicUsize::new(0),
                used_stripes: UsedStripes::new(),
            }
        }
    }

    /// Number of a write: whoever calls [`root`](Self::root) afterwards gets
    /// its tree, or a later one.
    #[inline]
    pub(crate) fn version(&self) -> usize {
        self.version.load(Acquire)
    }

    /// The tree.
    #[inline]
    pub(crate) fn root(&self) -> Option<Link> {
        // SAFETY: only `publish` writes it.
        unsafe { Link::from_ptr(self.root.load(SeqCst)) }
    }

    /// The number of the next write. For the writer that has the lock.
    pub(crate) fn next_version(&self) -> usize {
        self.version() + 1
    }

    /// Shows readers the tree of write number `version`, the next one. For the
    /// writer that has the lock.
    pub(crate) fn publish(&self, root: Option<Link>, version: usize) {
        let root = root.map_or(ptr::null_mut(), Link::as_ptr);
        self.root.store(root, SeqCst);
        self.version.store(version, Release);
    }
}
