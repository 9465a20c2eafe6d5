//! Functions as a store hands them out.

use core::ptr::{self, NonNull};

use trapline_wasmtime::vm::VMFuncRef;

use crate::objects::id::StoreId;
use crate::types::TypeIndex;
use crate::usage::UsageError;

/// A function of a store: of a guest or of the host.
///
/// Equal handles are the same function; the same function may have different
/// handles (through an import, and through the export that it came from).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Func {
    store: StoreId,
    /// Lives as long as the store.
    func_ref: NonNull<VMFuncRef>,
    ty: TypeIndex,
}

// SAFETY: the pointer is followed only with the store at hand, where its
// target is alive, and not used by another thread.
unsafe impl Send for Func {}
// SAFETY: as for `Send`.
unsafe impl Sync for Func {}

impl Func {
    /// The function behind a reference.
    ///
    /// # Safety
    ///
    /// * The reference is of the store with this id, which is alive.
    #[inline]
    pub(crate) unsafe fn new_in(store: StoreId, func_ref: NonNull<VMFuncRef>) -> Self {
        // SAFETY: the caller's duty. Only this field is read: others may be
        // changed meanwhile.
        let ty = unsafe { (&raw const (*func_ref.as_ptr()).type_index).read() };
        Self {
            store,
            func_ref,
            ty: TypeIndex(ty.bits()),
        }
    }

    #[inline]
    pub(crate) fn check(self, store: StoreId) -> Result<(), UsageError> {
        if self.store == store {
            Ok(())
        } else {
            Err(UsageError::ForeignStore { what: "function" })
        }
    }

    #[inline]
    pub(crate) fn to_pointer(this: Option<Self>) -> *mut VMFuncRef {
        this.map_or(ptr::null_mut(), |func| func.func_ref.as_ptr())
    }

    pub(crate) fn func_ref(self) -> NonNull<VMFuncRef> {
        self.func_ref
    }

    pub(crate) fn type_index(self) -> TypeIndex {
        self.ty
    }
}
