//! What a host function is told of its caller.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use trapline_activation::VMContext;

use crate::objects::handles::Extern;
use crate::objects::instance::InstanceHeader;
use crate::store::context::StoreContext;
use crate::store::store_core::StoreCore;

/// The store of a guest that called a host function, and the instance that the
/// call came from. Dereferences to the [`StoreContext`].
pub struct Caller<'a, T: 'static> {
    store: &'a mut StoreContext<T>,
    instance: &'a InstanceHeader,
}

impl<T> Caller<'_, T> {
    /// The caller of a host function.
    ///
    /// # Safety
    ///
    /// * `core` is that of a `Store<T>` and lives until the result is gone.
    /// * No other exclusive context of the store is used until then.
    /// * `vmctx` is the context of an instance of the store.
    #[inline]
    pub(crate) unsafe fn new(core: NonNull<StoreCore>, vmctx: NonNull<VMContext>) -> Self {
        // SAFETY: the caller's duties.
        unsafe {
            Self {
                store: StoreContext::from_core(core),
                instance: InstanceHeader::from_vmctx(vmctx),
            }
        }
    }

    /// What the calling instance exports under this name. `None` if there is
    /// no such export, or if it was the host that called.
    #[must_use]
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        self.instance.export(name)
    }
}

impl<T> Deref for Caller<'_, T> {
    type Target = StoreContext<T>;

    #[inline]
    fn deref(&self) -> &StoreContext<T> {
        self.store
    }
}

impl<T> DerefMut for Caller<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut StoreContext<T> {
        self.store
    }
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("store", self.store.core())
            .finish_non_exhaustive()
    }
}
