//! Functions of the host that guests call, as a store has them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use trapline_wasmtime::vm::{
    VMArrayCallFunction, VMArrayCallHostFuncContext, VMArrayCallNative, VMFuncRef, VMOpaqueContext,
    VMWasmCallFunction, VmPtr,
};
use trapline_wasmtime::wasmtime_environ::VMSharedTypeIndex;

use crate::engine::Engine;
use crate::types::TypeIndex;

/// A function of the host's, not yet in any store.
pub(crate) struct HostFunc {
    ty: TypeIndex,
    erased: TypeIndex,
    shim: VMArrayCallNative,
    /// What the shim expects: a closure, behind a box.
    closure: Box<dyn Any + Send + Sync>,
}

impl HostFunc {
    /// A function of this type; `shim` expects the closure that is in the box.
    pub(crate) fn with_shim(
        engine: &Engine,
        ty: TypeIndex,
        shim: VMArrayCallNative,
        closure: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let erased = engine.types().erased(ty).expect("interned by the caller");
        Self {
            ty,
            erased,
            shim,
            closure,
        }
    }
}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunc")
            .field("ty", &self.ty)
            .finish_non_exhaustive()
    }
}

/// A function of the host's in a store, an `S`: what compiled code passes to the shim.
/// `repr(C)`: compiled code knows the record at the start.
#[repr(C)]
pub(crate) struct HostFuncContext<S> {
    record: UnsafeCell<VMArrayCallHostFuncContext>,
    store: NonNull<S>,
    func: Arc<HostFunc>,
}

impl<S> HostFuncContext<S> {
    /// A context that must be [`link`](Self::link)ed once it is where it stays.
    pub(crate) fn new(store: NonNull<S>, func: Arc<HostFunc>) -> Self {
        let shim = NonNull::new(func.shim as *mut VMArrayCallFunction);
        let record = VMArrayCallHostFuncContext {
            magic: VMArrayCallHostFuncContext::MAGIC,
            func_ref: VMFuncRef {
                array_call: shim.expect("functions are not at address 0").into(),
                wasm_call: None,
                type_index: VMSharedTypeIndex::new(func.ty.0),
                vmctx: VmPtr::dangling(),
            },
        };
        Self {
            record: record.into(),
            store,
            func,
        }
    }

    /// Lets the function reference point to this context.
    pub(crate) fn link(&self) {
        let context = NonNull::from(self).cast::<VMOpaqueContext>();
        // SAFETY: nobody else uses the record yet.
        unsafe { (*self.record.get()).func_ref.vmctx = context.into() };
    }

    /// Gives the function an exit trampoline, if it has none yet and there is one.
    ///
    /// Compiled code that can call the function through a reference has one, of
    /// its own module, which the store knew before it ran.
    pub(crate) fn set_exit_trampoline(
        &self,
        find: impl FnOnce(TypeIndex) -> Option<VmPtr<VMWasmCallFunction>>,
    ) {
        // SAFETY: no guest is running that could use the record, and nobody
        // keeps a reference to it.
        let wasm_call = unsafe { &mut (*self.record.get()).func_ref.wasm_call };
        if wasm_call.is_none() {
            *wasm_call = find(self.func.erased);
        }
    }

    pub(crate) fn func_ref(&self) -> NonNull<VMFuncRef> {
        // SAFETY: the address of a field of a record is not null.
        unsafe { NonNull::new_unchecked(&raw mut (*self.record.get()).func_ref) }
    }

    /// The store.
    #[inline]
    pub(crate) fn store(&self) -> NonNull<S> {
        self.store
    }

    /// The closure.
    ///
    /// # Safety
    ///
    /// * It is an `F`.
    #[inline]
    pub(crate) unsafe fn closure<F: 'static>(&self) -> &F {
        let closure: *const (dyn Any + Send + Sync) = &*self.func.closure;
        debug_assert!(self.func.closure.is::<F>());
        // SAFETY: the caller's duty.
        unsafe { &*closure.cast::<F>() }
    }
}

impl<S> fmt::Debug for HostFuncContext<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFuncContext")
            .field("func", &self.func)
            .finish_non_exhaustive()
    }
}
