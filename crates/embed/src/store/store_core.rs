//! The part of a store that does not depend on the embedder's data: what its
//! guests run with.
//!
//! Compiled code, builtins and host functions reach it through raw pointers
//! while the embedder's own borrow of the store waits further out on the
//! stack, so everything in it is changed through shared references.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell, UnsafeCell};
use core::fmt;
use core::mem;
use core::ptr::NonNull;

use trapline_activation::{Preparation, VMContext};
use trapline_wasmtime::vm::{VMFuncRef, VMStoreContext, VMWasmCallFunction, VmPtr};

use crate::append_list::AppendList;
use crate::compiled::context::new_context;
use crate::compiled::definition::Owner;
use crate::engine::Engine;
use crate::module::{Module, ModuleList};
use crate::objects::host_func::{HostFunc, HostFuncContext};
use crate::objects::id::StoreId;
use crate::objects::instance::{Home, InstanceBox};
use crate::objects::limits::Amount;
use crate::objects::memory::MemoryObject;
use crate::objects::owned::{KNOWN, Objects};
use crate::objects::shared_memory::SharedMemory;
use crate::store::builtins::BUILTINS;
use crate::store::fault::FaultHook;
use crate::store::settings::{DEFAULT_BACKTRACE_LIMIT, Landing};
use crate::types::TypeIndex;
use crate::usage::UsageError;

/// What a guest may use of its stack by default, in bytes.
const DEFAULT_MAX_WASM_STACK: usize = 512 * 1024;

/// The part of a store that does not depend on the embedder's data.
pub(crate) struct StoreCore {
    /// What compiled code reads and writes.
    context: UnsafeCell<VMStoreContext>,
    engine: Engine,
    objects: Objects,

    /// How many entries into guests of this store are on the stack, those into host
    /// functions that are called as if they were guests included.
    pub(crate) entries: Cell<usize>,
    pub(crate) max_wasm_stack: Cell<usize>,
    pub(crate) landing: Cell<Landing>,
    pub(crate) backtrace_limit: Cell<usize>,
    /// What a thread has to be prepared for, if any of the modules relies on hardware traps.
    preparation: Cell<Option<Preparation>>,
    fault_hook: UnsafeCell<Option<FaultHook>>,

    modules: RefCell<ModuleList>,
    /// The exit trampoline for each (erased) type of host functions, from any
    /// of the modules, all of which live as long as the store.
    exit_trampolines: RefCell<BTreeMap<TypeIndex, VmPtr<VMWasmCallFunction>>>,
    host_funcs: AppendList<HostFuncContext<Self>>,
    /// Which host functions the store has, by the address of their closure.
    known_host_funcs: RefCell<BTreeMap<usize, usize>>,
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
            engine: engine.clone(),
            objects: Objects::new(),
            entries: Cell::new(0),
            max_wasm_stack: Cell::new(DEFAULT_MAX_WASM_STACK),
            landing: Cell::new(Landing::default()),
            backtrace_limit: Cell::new(DEFAULT_BACKTRACE_LIMIT),
            preparation: Cell::new(None),
            fault_hook: UnsafeCell::new(None),
            modules: RefCell::default(),
            exit_trampolines: RefCell::default(),
            host_funcs: AppendList::new(),
            known_host_funcs: RefCell::default(),
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
        // SAFETY: the caller's duty.
        unsafe {
            let host = InstanceBox::for_host(this.as_ref().home());
            (*this.as_ptr()).host_vmctx = host.vmctx();
            (*this.as_ptr()).host = Some(host);
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> StoreId {
        self.objects.id()
    }

    /// What the instances use.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Whether there may be so much more.
    pub(crate) fn check_limits(&self, more: Amount) -> Result<(), UsageError> {
        self.objects.check_limits(self.instances.len(), more)
    }

    /// Whether a guest of this store can use a shared memory already.
    pub(crate) fn knows(&self, memory: &SharedMemory) -> bool {
        self.find_shared(memory).is_some()
    }

    fn find_shared(&self, memory: &SharedMemory) -> Option<usize> {
        self.objects
            .memories()
            .iter()
            .position(|object| object.as_shared().is_some_and(|known| known.same(memory)))
    }

    /// What an instance is told of this store.
    pub(crate) fn home(&self) -> Home {
        Home {
            objects: NonNull::from(&self.objects),
            context: self.context(),
            builtins: &BUILTINS,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
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

    /// What a thread has to be prepared for before guests of this store run on it.
    #[inline]
    pub(crate) fn preparation(&self) -> Option<Preparation> {
        self.preparation.get()
    }

    /// The context of the instance that stands for the host.
    #[inline]
    pub(crate) fn host_vmctx(&self) -> NonNull<VMContext> {
        self.host_vmctx
    }

    /// The embedder's hook for faults. Exception handlers ask for it.
    pub(crate) fn fault_hook(&self) -> Option<&FaultHook> {
        // SAFETY: the hook is only exchanged when no guest is running.
        unsafe { &*self.fault_hook.get() }.as_ref()
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
        self.host_funcs.get(index).expect(KNOWN).func_ref()
    }

    /// The index, in this store's list, of a shared memory; added the first time.
    pub(crate) fn shared_memory(&self, memory: &SharedMemory) -> usize {
        self.find_shared(memory).unwrap_or_else(|| {
            let memories = self.objects.memories();
            let owner = self.host_owner(memories.len());
            memories.push(MemoryObject::Shared {
                memory: memory.clone(),
                owner,
            })
        })
    }
}

impl fmt::Debug for StoreCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCore")
            .field("objects", &self.objects)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}
