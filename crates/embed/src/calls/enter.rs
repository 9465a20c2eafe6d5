//! Entering guests, and what the activation crate asks of their store.

use alloc::boxed::Box;
use core::mem;
use core::ptr::NonNull;

use trapline_activation::{
    FaultVerdict, GuestFault, Left, PassedOn, Preparation, Store, VMContext, VMStoreContextLayout,
    WasmFault, catch_traps_into, catch_traps_with_landing_pad_into, raise_preexisting_trap,
};
use trapline_arch::{VirtualAddress, stack_pointer};
use trapline_wasmtime::vm::{
    STORE_CONTEXT_LAYOUT, VMArrayCallFunction, VMArrayCallNative, VMFuncRef, VMOpaqueContext,
    ValRaw, VmPtr,
};

use crate::calls::error::Error;
use crate::calls::passed_on;
use crate::store::fault;
use crate::store::settings::Landing;
use crate::store::store_core::StoreCore;
use crate::usage::UsageError;

impl StoreCore {
    /// The error for what a guest of this store was left for.
    #[inline]
    fn error(&self, left: Left<'_>) -> Error {
        Error::new(left, || self.modules())
    }

    /// Calls a function of this store.
    ///
    /// # Safety
    ///
    /// * `func_ref` is of this store.
    /// * `slots` has room for the larger number of the function's parameters and
    ///   results, which is `len`; it holds arguments of the parameters' types.
    //
    // In line, and what it calls, for the reason that the typed call is.
    #[inline(always)]
    pub(crate) unsafe fn call(
        &self,
        func_ref: NonNull<VMFuncRef>,
        slots: *mut ValRaw,
        len: usize,
    ) -> Result<(), Error> {
        // SAFETY: function references live as long as their store.
        let (code, callee) = unsafe {
            let func_ref = func_ref.as_ptr();
            ((*func_ref).array_call, (*func_ref).vmctx)
        };
        // SAFETY: the reference's own code and context; slots by the caller's
        // duty.
        unsafe { self.enter(code, callee.get(), slots, len) }
    }

    /// Enters a guest, or a host function as if it were one.
    ///
    /// # Safety
    ///
    /// * `code` is that of a function of this store with the array calling
    ///   convention, `callee` its context.
    /// * `slots` and `len` are as for [`call`](Self::call).
    #[inline(always)]
    pub(crate) unsafe fn enter(
        &self,
        code: VmPtr<VMArrayCallFunction>,
        callee: NonNull<VMOpaqueContext>,
        slots: *mut ValRaw,
        len: usize,
    ) -> Result<(), Error> {
        // SAFETY: by this function's duties the address is that of such a
        // function.
        let code = unsafe {
            mem::transmute::<NonNull<VMArrayCallFunction>, VMArrayCallNative>(code.get())
        };
        // An entry that is on the stack has done this for those within.
        if self.entries.get() == 0 {
            self.limit_stack();
        }
        let _entry = Entry::new(self);
        match self.landing.get() {
            Landing::Pad => {
                let guest = |caller| {
                    // SAFETY: by this function's duties; the entry trampoline has
                    // a landing pad, and a host function returns by itself.
                    unsafe { code(callee, caller, slots, len) }.then_some(())
                };
                catch_traps_with_landing_pad_into(self, guest, |left| self.error(left))
            }
            // SAFETY: by this function's duties.
            Landing::SavedContext => unsafe {
                self.enter_with_saved_context(code, callee, slots, len)
            },
        }
    }

    /// Sets the limit of the guest's stack, below here. Entries within keep to it: a
    /// recursion of host and guest is bounded like one of the guest alone.
    #[inline]
    fn limit_stack(&self) {
        let sp = stack_pointer().get();
        let limit = sp.saturating_sub(self.max_wasm_stack.get());
        // SAFETY: no guest of the store is running that could read it, and
        // nobody holds a reference to the context.
        unsafe { self.context().as_ref().stack_limit.get().write(limit) };
    }

    /// [`enter`](Self::enter) where the guest is left for a saved context; apart, so that
    /// the other one's frame does not have room for it.
    ///
    /// # Safety
    ///
    /// * As for [`enter`](Self::enter).
    #[inline(never)]
    unsafe fn enter_with_saved_context(
        &self,
        code: VMArrayCallNative,
        callee: NonNull<VMOpaqueContext>,
        slots: *mut ValRaw,
        len: usize,
    ) -> Result<(), Error> {
        let guest = |caller| {
            // SAFETY: by this function's duties.
            if !unsafe { code(callee, caller, slots, len) } {
                // A host function called as it is: compiled code would
                // have raised what it recorded.
                // SAFETY: nothing in this closure has a destructor.
                unsafe { raise_preexisting_trap() }
            }
        };
        catch_traps_into(self, guest, |left| self.error(left))
    }
}

/// One entry on the stack.
struct Entry<'a>(&'a StoreCore);

impl<'a> Entry<'a> {
    #[inline]
    fn new(store: &'a StoreCore) -> Self {
        store.entries.set(store.entries.get() + 1);
        Self(store)
    }
}

impl Drop for Entry<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.entries.set(self.0.entries.get() - 1);
    }
}

// SAFETY: the context is a field and described by the layout of the compiler
// that the artifacts come from, checked in trapline-wasmtime; artifacts have
// frame pointers, which the loader checks; the methods that handlers reach
// only read, and a fault is a memory's if its address is in a range that the
// memory owns.
unsafe impl Store for StoreCore {
    const LAYOUT: VMStoreContextLayout = STORE_CONTEXT_LAYOUT;

    #[inline]
    fn default_caller(&self) -> NonNull<VMContext> {
        self.host_vmctx()
    }

    #[inline]
    fn vm_store_context(&self) -> NonNull<trapline_activation::VMStoreContext> {
        self.context().cast()
    }

    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault> {
        fault::in_guests_terms(self.objects().memories(), faulting_addr)
    }

    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        fault::ask(self.fault_hook(), fault)
    }

    fn backtrace_limit(&self) -> usize {
        self.backtrace_limit.get()
    }

    #[inline]
    fn preparation(&self) -> Option<Preparation> {
        Self::preparation(self)
    }

    fn prepare(&self) -> Result<(), PassedOn> {
        let prepared = self.engine().platform().prepare_thread();
        // No guest is left for it: what comes out is a mistake of use, and no trap.
        prepared.map_err(|error| PassedOn::Error(Box::new(UsageError::HardwareTraps(error))))
    }

    fn carries_trap(&self, cause: &(dyn core::error::Error + 'static)) -> bool {
        passed_on::trap_in(cause).is_some()
    }

    fn pass_on(&self, error: anyhow::Error) -> PassedOn {
        passed_on::pass_on(error)
    }
}
