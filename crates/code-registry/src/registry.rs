//! The registry itself.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use trapline_arch::VirtualAddress;

use crate::announce::{Announcement, Readers};
use crate::lock::{SpinLock, SpinLockGuard};
use crate::node::{self, Entry, Header, Link};
use crate::reclaim::Retired;
use crate::sync::{AtomicPtr, AtomicUsize, const_unless_loom};
use crate::{CodeObject, RegisterError};

/// The registry of this process or kernel.
#[cfg(not(loom))]
static GLOBAL: CodeRegistry = CodeRegistry::new();

/// Makes the text range of `code` known to [`lookup_code`], until the returned
/// registration is dropped.
///
/// See [`CodeRegistry::register`].
///
/// # Errors
///
/// If the range contains no address, or one that belongs to registered code.
#[cfg(not(loom))]
pub fn register_code(code: Arc<dyn CodeObject>) -> Result<Registration, RegisterError> {
    GLOBAL.register(code)
}

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

/// Which code owns which addresses.
///
/// Most programs need only the one behind [`register_code`] and
/// [`lookup_code`]; a kernel may have several, for instance one for each
/// address space. A registry lives for ever, in a `static` or leaked.
pub struct CodeRegistry {
    published: Published,
    readers: Readers,
    retired: SpinLock<Retired>,
}

/// The two words that every reader loads and every writer stores; alone on
/// their cache line.
#[repr(align(128))]
struct Published {
    /// The current tree, null if it is empty.
    root: AtomicPtr<Header>,
    /// Number of a write whose tree, or a later one, is in `root`.
    version: AtomicUsize,
}

impl CodeRegistry {
    const_unless_loom! {
        /// An empty registry.
        #[must_use]
        pub fn new() -> Self {
            Self {
                published: Published {
                    root: AtomicPtr::new(ptr::null_mut()),
                    version: AtomicUsize::new(0),
                },
                readers: Readers::new(),
                retired: SpinLock::new(Retired::new()),
            }
        }
    }

    /// Makes the text range of `code` known to [`lookup`](Self::lookup), until
    /// the returned registration is dropped.
    ///
    /// The range is read once, here.
    ///
    /// # Errors
    ///
    /// If the range contains no address, or one that belongs to registered
    /// code. The registry is then as it was before.
    pub fn register(
        &'static self,
        code: Arc<dyn CodeObject>,
    ) -> Result<Registration, RegisterError> {
        let text = code.text();
        let result = self.try_insert(&text, &code);
        #[cfg(feature = "tracing")]
        match &result {
            Ok(()) => tracing::debug!(start = %text.start, end = %text.end, "code registered"),
            Err(error) => tracing::warn!(%error, "code not registered"),
        }
        result.map(|()| Registration {
            registry: self,
            text,
            code,
        })
    }

    fn try_insert(
        &'static self,
        text: &Range<VirtualAddress>,
        code: &Arc<dyn CodeObject>,
    ) -> Result<(), RegisterError> {
        let (start, end) = (text.start.get(), text.end.get());
        if start >= end {
            return Err(RegisterError::Empty {
                requested: text.clone(),
            });
        }
        let mut retired = self.retired.lock();
        let root = self.root(&retired);
        // Ranges are disjoint, so if any of them overlaps, then the last one
        // that starts before the end does.
        // SAFETY: only writers free nodes, and this is the only one now.
        let last = unsafe { node::predecessor(root, end - 1) };
        if let Some((other, entry)) = last
            && entry.end > start
        {
            return Err(RegisterError::Overlap {
                requested: text.clone(),
                registered: VirtualAddress::new(other)..VirtualAddress::new(entry.end),
            });
        }
        let code = Arc::into_raw(Arc::clone(code)).cast_mut();
        // SAFETY: an Arc's pointer is never null.
        let code = unsafe { NonNull::new_unchecked(code) };
        let version = self.next_version(&retired);
        // SAFETY: as above.
        let root = unsafe {
            retired
                .edit(version)
                .insert(root, start, Entry { end, code })
        };
        self.publish(Some(root), version);
        let free = self.reclaim_if_due(&mut retired);
        drop(retired);
        drop(free);
        Ok(())
    }

    /// Takes out the range that starts at `start`, and frees what can be freed.
    fn remove(&'static self, start: VirtualAddress) {
        let mut retired = self.retired.lock();
        let version = self.next_version(&retired);
        let root = self.root(&retired);
        // SAFETY: only writers free nodes, and this is the only one now.
        let removed = unsafe { retired.edit(version).remove(root, start.get()) };
        debug_assert!(removed.is_some(), "a registration's range is registered");
        if let Some((root, entry)) = removed {
            self.publish(root, version);
            retired.retire_object(version, entry.code);
        }
        let free = self.reclaim_if_due(&mut retired);
        drop(retired);
        drop(free);
    }

    /// The current tree, for writers.
    fn root(&self, _lock: &SpinLockGuard<'_, Retired>) -> Option<Link> {
        // Relaxed: written by this thread, or before it took the lock.
        // SAFETY: only `publish` writes it.
        unsafe { Link::from_ptr(self.published.root.load(Relaxed)) }
    }

    /// The number of the write that is under way.
    fn next_version(&self, _lock: &SpinLockGuard<'_, Retired>) -> usize {
        self.published.version.load(Relaxed) + 1
    }

    /// Shows readers the tree of write number `version`.
    fn publish(&self, root: Option<Link>, version: usize) {
        let root = root.map_or(ptr::null_mut(), Link::as_ptr);
        self.published.root.store(root, SeqCst);
        // After the root, so that whoever reads this number finds at least
        // that tree.
        self.published.version.store(version, Release);
    }

    fn reclaim_if_due(&self, retired: &mut Retired) -> Vec<Arc<dyn CodeObject>> {
        if retired.is_due() {
            // SAFETY: all that is retired came from this registry, and every
            // write publishes before it comes here.
            unsafe { retired.reclaim(&self.readers) }
        } else {
            Vec::new()
        }
    }

    /// Lets go of removed code objects, and frees memory, that guards kept
    /// alive when they were removed. Returns how many removed code objects are
    /// still kept by a guard.
    pub fn reclaim(&'static self) -> usize {
        let mut retired = self.retired.lock();
        // SAFETY: as for `reclaim_if_due`.
        let free = unsafe { retired.reclaim(&self.readers) };
        let waiting = retired.objects();
        drop(retired);
        drop(free);
        waiting
    }

    /// The registered code that contains `pc`, and the offset of `pc` from the
    /// start of its text in bytes.
    ///
    /// For signal and exception handlers: wait-free, also while a writer on
    /// this or another CPU is interrupted half-way; allocates, frees and locks
    /// nothing.
    #[inline]
    #[must_use]
    pub fn lookup(&'static self, pc: VirtualAddress) -> Option<(CodeRef, usize)> {
        // Acquire: the tree of that write is found below.
        let version = self.published.version.load(Acquire);
        let announcement = self.readers.announce(version);
        // SAFETY: only `publish` writes it.
        let root = unsafe { Link::from_ptr(self.published.root.load(SeqCst)) };
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

impl fmt::Debug for CodeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRegistry").finish_non_exhaustive()
    }
}

impl Default for CodeRegistry {
    fn default() -> Self {
        Self::new()
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

/// Code that is registered until this is dropped.
#[must_use = "dropping this removes the code from the registry"]
pub struct Registration {
    registry: &'static CodeRegistry,
    text: Range<VirtualAddress>,
    code: Arc<dyn CodeObject>,
}

impl Registration {
    /// The code that is registered.
    #[inline]
    #[must_use]
    pub fn code(&self) -> &Arc<dyn CodeObject> {
        &self.code
    }

    /// The range that lookups find it in.
    #[inline]
    #[must_use]
    pub fn text(&self) -> Range<VirtualAddress> {
        self.text.clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.remove(self.text.start);
        #[cfg(feature = "tracing")]
        tracing::debug!(start = %self.text.start, end = %self.text.end, "code removed");
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("text", &self.text)
            .finish_non_exhaustive()
    }
}
