//! The part of a store that does not depend on the embedder's data: what its
//! guests run with.
//!
//! Compiled code, builtins and host functions reach it through raw pointers
//! while the embedder's own borrow of the store waits further out on the
//! stack, so everything in it is changed through shared references.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell, UnsafeCell};
use core::fmt;
use core::mem;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use trapline_activation::{
    FaultVerdict, GuestFault, Preparation, Store, Trap, TrapReason, UnwindReason, VMContext,
    VMStoreContextLayout, WasmFault, catch_traps_into, catch_traps_with_landing_pad_into,
    raise_preexisting_trap, record_caught_reason, record_unwind,
};
use trapline_arch::VirtualAddress;
use trapline_wasmtime::vm::{
    STORE_CONTEXT_LAYOUT, VMArrayCallFunction, VMArrayCallNative, VMFuncRef, VMLazyThread,
    VMMemoryDefinition, VMOpaqueContext, VMStackChain, VMStoreContext, VMWasmCallFunction, ValRaw,
    VmPtr,
};

use crate::append_list::AppendList;
use crate::calls::error::{Carried, Caught, Error, UsageError};
use crate::compiled::definition::Owner;
use crate::engine::Engine;
use crate::module::{Module, ModuleList};
use crate::objects::global::GlobalObject;
use crate::objects::host_func::{Failure, HostFailure, HostFunc, HostFuncContext};
use crate::objects::instance::InstanceBox;
use crate::objects::memory::MemoryObject;
use crate::objects::shared_memory::SharedMemory;
use crate::objects::table::TableObject;
use crate::store::context::{Landing, MemoryRelocation};
use crate::store::fault;
use crate::types::TypeIndex;

/// Which store something belongs to; different for all stores of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StoreId(u64);

impl StoreId {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A hook for faults of the guest, see
/// [`StoreContext::set_fault_hook`](crate::StoreContext::set_fault_hook).
pub(crate) type FaultHook = Box<dyn Fn(&GuestFault) -> FaultVerdict + Send>;

/// What a guest may use of its stack by default, in bytes.
const DEFAULT_MAX_WASM_STACK: usize = 512 * 1024;

/// The part of a store that does not depend on the embedder's data.
pub(crate) struct StoreCore {
    /// What compiled code reads and writes.
    context: UnsafeCell<VMStoreContext>,
    id: StoreId,
    engine: Engine,

    /// How many entries into guests of this store are on the stack, those into host
    /// functions that are called as if they were guests included.
    entries: Cell<usize>,
    max_wasm_stack: Cell<usize>,
    landing: Cell<Landing>,
    relocation: Cell<MemoryRelocation>,
    backtrace_limit: Cell<usize>,
    /// What the error carries that a host function has failed with: from when it is
    /// recorded until the guest has been left for it.
    carried: Cell<Carried>,
    /// Of an error that is nothing but a trap, what it has beside the reason.
    caught: Cell<Option<Box<Caught>>>,
    /// What a thread has to be prepared for, if any of the modules relies on hardware traps.
    preparation: Cell<Option<Preparation>>,
    fault_hook: UnsafeCell<Option<FaultHook>>,

    modules: RefCell<ModuleList>,
    /// The exit trampoline for each (erased) type of host functions, from any
    /// of the modules, all of which live as long as the store.
    exit_trampolines: RefCell<BTreeMap<TypeIndex, VmPtr<VMWasmCallFunction>>>,
    host_funcs: AppendList<HostFuncContext>,
    /// Which host functions the store has, by the address of their closure.
    known_host_funcs: RefCell<BTreeMap<usize, usize>>,
    memories: AppendList<MemoryObject>,
    tables: AppendList<TableObject>,
    globals: AppendList<GlobalObject>,
    instances: AppendList<InstanceBox>,
    /// The instance that stands for the host: the caller of what the host
    /// calls, the owner of memories and tables that the host makes.
    host: Option<InstanceBox>,
    /// The context of that instance.
    host_vmctx: NonNull<VMContext>,
}

impl StoreCore {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self {
            context: UnsafeCell::new(new_context()),
            id: StoreId::new(),
            engine: engine.clone(),
            entries: Cell::new(0),
            max_wasm_stack: Cell::new(DEFAULT_MAX_WASM_STACK),
            landing: Cell::new(Landing::default()),
            relocation: Cell::new(MemoryRelocation::default()),
            backtrace_limit: Cell::new(usize::MAX),
            carried: Cell::default(),
            caught: Cell::default(),
            preparation: Cell::new(None),
            fault_hook: UnsafeCell::new(None),
            modules: RefCell::default(),
            exit_trampolines: RefCell::default(),
            host_funcs: AppendList::new(),
            known_host_funcs: RefCell::default(),
            memories: AppendList::new(),
            tables: AppendList::new(),
            globals: AppendList::new(),
            instances: AppendList::new(),
            host: None,
            host_vmctx: NonNull::dangling(),
        }
    }

    /// Makes the instance that stands for the host.
    ///
    /// # Safety
    ///
    /// * `this` points to a store that stays there until it is dropped, and
    ///   nobody else uses it yet.
    pub(crate) unsafe fn add_host(this: NonNull<Self>) {
        let host = InstanceBox::for_host(this);
        // SAFETY: the caller's duty.
        unsafe {
            (*this.as_ptr()).host_vmctx = host.vmctx();
            (*this.as_ptr()).host = Some(host);
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn memories(&self) -> &AppendList<MemoryObject> {
        &self.memories
    }

    pub(crate) fn tables(&self) -> &AppendList<TableObject> {
        &self.tables
    }

    pub(crate) fn globals(&self) -> &AppendList<GlobalObject> {
        &self.globals
    }

    pub(crate) fn instances(&self) -> &AppendList<InstanceBox> {
        &self.instances
    }

    pub(crate) fn modules(&self) -> ModuleList {
        Arc::clone(&self.modules.borrow())
    }

    pub(crate) fn context(&self) -> NonNull<VMStoreContext> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.context.get()) }
    }

    /// What compiled code is told of the owner of a memory or table that the
    /// host makes: the builtins take the index as that in the store's own list.
    pub(crate) fn host_owner(&self, index: usize) -> Owner {
        let index = u32::try_from(index).expect("fewer than 2^32 memories or tables");
        Owner {
            vmctx: self.host_vmctx,
            index,
        }
    }

    pub(crate) fn set_max_wasm_stack(&self, bytes: usize) {
        self.max_wasm_stack.set(bytes);
    }

    pub(crate) fn set_landing(&self, landing: Landing) {
        self.landing.set(landing);
    }

    pub(crate) fn set_relocation(&self, relocation: MemoryRelocation) {
        self.relocation.set(relocation);
    }

    pub(crate) fn always_moves_memories(&self) -> bool {
        self.relocation.get() == MemoryRelocation::MoveOnGrow
    }

    pub(crate) fn set_backtrace_limit(&self, frames: usize) {
        self.backtrace_limit.set(frames);
    }

    /// # Safety
    ///
    /// * The hook holds to the rules of an exception handler.
    pub(crate) unsafe fn set_fault_hook(&self, hook: Option<FaultHook>) {
        // SAFETY: no guest is running that could fault, so nobody is in the
        // hook; and nobody else looks at it.
        let old = unsafe { mem::replace(&mut *self.fault_hook.get(), hook) };
        drop(old);
    }

    /// Makes a module known, whose instances are to run in this store.
    pub(crate) fn add_module(&self, module: &Module) -> Result<(), UsageError> {
        if module.uses_hardware_traps() && self.preparation.get().is_none() {
            self.engine
                .platform()
                .prepare_thread()
                .map_err(UsageError::HardwareTraps)?;
            self.preparation.set(Some(self.engine.preparation()));
        }
        let mut modules = self.modules.borrow_mut();
        if modules.iter().any(|known| known.same(module)) {
            return Ok(());
        }
        Arc::make_mut(&mut *modules).push(module.clone());
        let mut trampolines = self.exit_trampolines.borrow_mut();
        for (ty, location) in module.exit_trampolines() {
            trampolines
                .entry(ty)
                .or_insert_with(|| module.address(location).into());
        }
        for func in self.host_funcs.iter() {
            func.set_exit_trampoline(|ty| trampolines.get(&ty).copied());
        }
        Ok(())
    }

    /// The context of a host function in this store; made the first time.
    pub(crate) fn host_func(&self, func: &Arc<HostFunc>) -> NonNull<VMFuncRef> {
        let address = Arc::as_ptr(func).addr();
        let mut known = self.known_host_funcs.borrow_mut();
        let index = *known.entry(address).or_insert_with(|| {
            let context = HostFuncContext::new(NonNull::from(self), Arc::clone(func));
            let index = self.host_funcs.push(context);
            let context = self.host_funcs.get(index).expect("pushed above");
            context.link();
            let trampolines = self.exit_trampolines.borrow();
            context.set_exit_trampoline(|ty| trampolines.get(&ty).copied());
            index
        });
        self.host_funcs
            .get(index)
            .expect("the list only grows")
            .func_ref()
    }

    /// The index, in this store's list, of a shared memory; added the first time.
    pub(crate) fn shared_memory(&self, memory: &SharedMemory) -> usize {
        let known = self
            .memories
            .iter()
            .position(|object| object.as_shared().is_some_and(|known| known.same(memory)));
        known.unwrap_or_else(|| {
            let owner = self.host_owner(self.memories.len());
            self.memories.push(MemoryObject::Shared {
                memory: memory.clone(),
                owner,
            })
        })
    }

    /// The error for a trap in this store, which is emptied.
    #[inline]
    fn error(&self, trap: &mut Trap) -> Error {
        match self.carried.take() {
            Carried::Nothing => Error::new(trap, || self.modules()),
            Carried::Caught => Error::from_parts(trap.take_reason(), self.caught.take()),
            Carried::Usage | Carried::Trap => Error::from_carrier(trap, || self.modules()),
        }
    }

    /// Records that a host function, called by a guest of this store, has failed.
    //
    // In line: the type of the host function tells which of these it can be.
    #[inline(always)]
    pub(crate) fn record(&self, failure: HostFailure) {
        match failure.0 {
            Failure::Reason(reason) => record_unwind(UnwindReason::Trap(reason)),
            Failure::Caught(reason, rest) => self.record_caught(reason, rest),
        }
    }

    #[cold]
    #[inline(never)]
    fn record_caught(&self, reason: TrapReason, rest: Option<Box<Caught>>) {
        record_caught_reason(reason);
        let earlier = self.caught.replace(rest);
        debug_assert!(earlier.is_none(), "taken with the error, or forgotten");
        // Asked here, where there is none, and not in a call.
        if earlier.is_some() {
            drop(earlier);
        }
        self.carried.set(Carried::Caught);
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
                catch_traps_with_landing_pad_into(self, guest, |trap| self.error(trap))
            }
            // SAFETY: by this function's duties.
            Landing::SavedContext => unsafe {
                self.enter_with_saved_context(code, callee, slots, len)
            },
        }
    }

    /// Drops what is left of an error that a panic went past.
    #[cold]
    fn forget_carried(&self) {
        self.carried.set(Carried::Nothing);
        self.caught.set(None);
    }

    /// Sets the limit of the guest's stack, below here. Entries within keep to it: a
    /// recursion of host and guest is bounded like one of the guest alone.
    #[inline]
    fn limit_stack(&self) {
        let here = 0_u8;
        let sp = (&raw const here).addr();
        let limit = sp.saturating_sub(self.max_wasm_stack.get());
        // SAFETY: no guest of the store is running that could read it, and
        // nobody holds a reference to the context.
        unsafe { (*self.context.get()).stack_limit.get().write(limit) };
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
        catch_traps_into(self, guest, |trap| self.error(trap))
    }
}

impl fmt::Debug for StoreCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCore")
            .field("id", &self.id)
            .field("instances", &self.instances)
            .field("memories", &self.memories)
            .finish_non_exhaustive()
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
        if self.0.carried.get() != Carried::Nothing {
            self.0.forget_carried();
        }
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
        self.host_vmctx
    }

    #[inline]
    fn vm_store_context(&self) -> NonNull<trapline_activation::VMStoreContext> {
        self.context().cast()
    }

    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault> {
        fault::in_guests_terms(self, faulting_addr)
    }

    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        // SAFETY: the hook is only exchanged when no guest is running.
        let hook = unsafe { &*self.fault_hook.get() };
        fault::ask(hook.as_ref(), fault)
    }

    fn backtrace_limit(&self) -> usize {
        self.backtrace_limit.get()
    }

    #[inline]
    fn preparation(&self) -> Option<Preparation> {
        self.preparation.get()
    }

    fn prepare(&self) -> anyhow::Result<()> {
        self.engine.platform().prepare_thread().map_err(|error| {
            // It comes out as it is.
            self.carried.set(Carried::Usage);
            anyhow::Error::new(Error::from(UsageError::HardwareTraps(error)))
        })
    }

    fn carries_trap(&self, cause: &(dyn core::error::Error + 'static)) -> bool {
        match Error::carried_by(cause) {
            Carried::Nothing => false,
            carried => {
                // Noted for when the guest has been left.
                self.carried.set(carried);
                carried == Carried::Trap
            }
        }
    }
}

/// A context in which nothing has run: no limit on the stack is lower than
/// any stack pointer.
fn new_context() -> VMStoreContext {
    VMStoreContext {
        fuel_consumed: UnsafeCell::new(0),
        epoch_deadline: UnsafeCell::new(0),
        execution_version: 0,
        stack_limit: UnsafeCell::new(usize::MAX),
        gc_heap: UnsafeCell::new(VMMemoryDefinition {
            base: VmPtr::dangling(),
            current_length: AtomicUsize::new(0),
        }),
        last_wasm_exit_trampoline_fp: UnsafeCell::new(0),
        last_wasm_exit_pc: UnsafeCell::new(0),
        last_wasm_entry_sp: UnsafeCell::new(0),
        last_wasm_entry_fp: UnsafeCell::new(0),
        last_wasm_entry_trap_handler: UnsafeCell::new(0),
        stack_chain: UnsafeCell::new(VMStackChain::Absent),
        store_data: VmPtr::dangling(),
        async_guard_range: core::ptr::null_mut()..core::ptr::null_mut(),
        component_context: UnsafeCell::new([0; 2]),
        current_thread: UnsafeCell::new(VMLazyThread { thread: None }),
    }
}
