//! The record that compiled code reads of a memory, table or global: in the
//! context of the instance that defines it, or, for those that the host makes,
//! on its own.

use alloc::boxed::Box;
use core::ptr::NonNull;

use trapline_activation::VMContext;

/// Where a record is, and whose it is.
#[derive(Debug)]
pub(crate) struct Definition<T> {
    record: NonNull<T>,
    own: bool,
}

impl<T> Definition<T> {
    /// A record in the context of an instance.
    ///
    /// # Safety
    ///
    /// * The record outlives the result, and belongs to its user.
    pub(crate) const unsafe fn in_instance(record: NonNull<T>) -> Self {
        Self { record, own: false }
    }

    /// A record of its own.
    pub(crate) fn own(record: T) -> Self {
        Self {
            record: NonNull::from(Box::leak(Box::new(record))),
            own: true,
        }
    }

    pub(crate) const fn as_non_null(&self) -> NonNull<T> {
        self.record
    }
}

impl<T> Drop for Definition<T> {
    fn drop(&mut self) {
        if self.own {
            // SAFETY: made from a box in `own`, and this is the last use.
            drop(unsafe { Box::from_raw(self.record.as_ptr()) });
        }
    }
}

/// By what compiled code names a memory or table when it calls a builtin: the
/// context of the instance that owns it, and its index there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) vmctx: NonNull<VMContext>,
    pub(crate) index: u32,
}
