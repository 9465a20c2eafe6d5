//! The registry, and what writers do to it.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

use trapline_arch::VirtualAddress;
use trapline_lock::{Mutex, MutexGuard};

use crate::announce::Readers;
#[cfg(all(feature = "std", unix, not(loom)))]
use crate::fork;
use crate::node::Entry;
use crate::published::Published;
use crate::reclaim::{Free, Retired};
use crate::sync::const_unless_loom;
use crate::{CodeObject, RegisterError};

/// The registry of this process or kernel.
#[cfg(not(loom))]
pub(crate) static GLOBAL: CodeRegistry = CodeRegistry::new();

/// Makes the text range of `code` known to [`lookup_code`](crate::lookup_code), until the
/// returned registration is dropped.
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

/// Which code owns which addresses.
///
/// Most programs need only the one behind [`register_code`] and
/// [`lookup_code`](crate::lookup_code); a kernel may have several, for instance one for each
/// address space. A registry lives for ever, in a `static` or leaked.
pub struct CodeRegistry {
    pub(crate) published: Published,
    pub(crate) readers: Readers,
    retired: Mutex<Retired>,
    #[cfg(all(feature = "std", unix, not(loom)))]
    pub(crate) listed: fork::Listed,
}

impl CodeRegistry {
    const_unless_loom! {
        /// An empty registry.
        #[must_use]
        pub fn new() -> Self {
            Self {
                published: Published::new(),
                readers: Readers::new(),
                retired: Mutex::new(Retired::new()),
                #[cfg(all(feature = "std", unix, not(loom)))]
                listed: fork::Listed::new(),
            }
        }
    }

    /// Makes the text range of `code` known to [`lookup`](Self::lookup), until
    /// the returned registration is dropped.
    ///
    /// The range is read once, here. That what `code` says is true is the promise of its type:
    /// see [`CodeObject`].
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

    /// Waits until nobody else writes.
    fn write(&'static self) -> MutexGuard<'static, Retired> {
        #[cfg(all(feature = "std", unix, not(loom)))]
        fork::watch();
        let retired = self.retired.lock();
        #[cfg(all(feature = "std", unix, not(loom)))]
        fork::list(self);
        retired
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
        // The registry's own count.
        let code = Arc::clone(code);
        let entry = Entry {
            end,
            // SAFETY: an Arc's pointer is never null.
            code: unsafe { NonNull::new_unchecked(Arc::as_ptr(&code).cast_mut()) },
        };
        let mut retired = self.write();
        let root = self.published.root();
        let version = self.published.next_version();
        // SAFETY: only writers free nodes, and this is the only one now.
        let root =
            unsafe { retired.edit(version).insert(root, start, entry) }.map_err(|other| {
                RegisterError::Overlap {
                    requested: text.clone(),
                    registered: VirtualAddress::new(other.start)..VirtualAddress::new(other.end),
                }
            })?;
        // The tree has the count from now on; this is the pointer that it has already.
        let _ = Arc::into_raw(code);
        self.published.publish(Some(root), version);
        let free = self.reclaim_if_due(&mut retired);
        drop(retired);
        drop(free);
        Ok(())
    }

    /// Takes out the range that starts at `start`, and frees what can be freed.
    fn remove(&'static self, start: VirtualAddress) {
        let mut retired = self.write();
        let version = self.published.next_version();
        let root = self.published.root();
        // SAFETY: only writers free nodes, and this is the only one now.
        let removed = unsafe { retired.edit(version).remove(root, start.get()) };
        debug_assert!(removed.is_some(), "a registration's range is registered");
        if let Some((root, entry)) = removed {
            self.published.publish(root, version);
            retired.retire_object(version, entry.code);
        }
        let free = self.reclaim_if_due(&mut retired);
        drop(retired);
        drop(free);
    }

    fn reclaim_if_due(&self, retired: &mut Retired) -> Free {
        if retired.is_due() {
            // SAFETY: all that is retired came from this registry, and every
            // write publishes before it comes here.
            unsafe { retired.reclaim(&self.readers, &self.published.used_stripes) }
        } else {
            Free::default()
        }
    }

    /// Lets go of removed code objects, and frees memory, that guards kept
    /// alive when they were removed. Returns how many removed code objects are
    /// still kept by a guard.
    pub fn reclaim(&'static self) -> usize {
        let mut retired = self.write();
        // SAFETY: as for `reclaim_if_due`.
        let free = unsafe { retired.reclaim(&self.readers, &self.published.used_stripes) };
        let waiting = retired.objects();
        drop(retired);
        drop(free);
        waiting
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
