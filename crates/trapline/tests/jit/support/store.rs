//! The store of this client, and calls into guests.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use trapline::activation::ActivationHead;
use trapline::{
    ACTIVATION, Activation, ExitFp, FaultVerdict, GuestFault, LandingPadWords, Store, Trap,
    TrapKind, TrapReason, VMContext, VMStoreContext, VMStoreContextLayout, VirtualAddress,
    WasmFault, catch_traps, catch_traps_with_landing_pad, catch_unwind_and_record_trap,
    raise_preexisting_trap, signal,
};

use super::glue::{HostFunction, Sentinel};
use super::guest::Guest;
use super::memory::LinearMemory;

/// What guests of this client get as their first argument: context of the
/// instance and of the store in one. Another order than Wasmtime's, other
/// offsets, and the guest frame's own frame pointer as the exit word.
#[repr(C)]
pub(crate) struct JitContext {
    /// For guests: start of the linear memory.
    pub(crate) memory_base: Cell<*mut u8>,
    pub(crate) exit_pc: Cell<usize>,
    pub(crate) landing_pc: Cell<usize>,
    pub(crate) entry_fp: Cell<usize>,
    /// For guests: how far down their stack may grow.
    pub(crate) stack_limit: Cell<usize>,
    /// For the host: whose context this is, while a guest of it runs.
    pub(crate) store: Cell<*const JitStore>,
    pub(crate) exit_fp: Cell<usize>,
    pub(crate) landing_sp: Cell<usize>,
}

// Guests load the start of their memory from the start of the context.
const _: () = assert!(offset_of!(JitContext, memory_base) == 0);

impl JitContext {
    /// The words that trampolines write.
    fn words(&self) -> [usize; 5] {
        [
            self.exit_pc.get(),
            self.landing_pc.get(),
            self.entry_fp.get(),
            self.exit_fp.get(),
            self.landing_sp.get(),
        ]
    }
}

/// How a guest is entered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Entry {
    /// By `catch_traps`, through a trampoline without a landing pad.
    SavedContext,
    /// By `catch_traps_with_landing_pad`, through one with.
    LandingPad,
}

impl Entry {
    pub(crate) const BOTH: [Self; 2] = [Self::SavedContext, Self::LandingPad];

    /// Name of the trampoline of this kind for the function `name`.
    pub(crate) fn trampoline_name(self, name: &str) -> String {
        match self {
            Self::SavedContext => format!("{name}_enter"),
            Self::LandingPad => format!("{name}_enter_pad"),
        }
    }
}

/// How many arguments a guest function may have.
pub(crate) const ARGUMENTS: usize = 16;

/// A compiled entry trampoline; whether the guest returned a value.
pub(crate) type EntryTrampoline =
    unsafe extern "C" fn(NonNull<VMContext>, *mut [u64; ARGUMENTS]) -> bool;

/// What the host function of a store returns.
pub(crate) type HostReturn = Result<u32, TrapReason>;

type Host = dyn Fn(&JitStore, u64) -> HostReturn;

/// A store: context, perhaps a memory, and a host function.
pub(crate) struct JitStore {
    context: Box<UnsafeCell<JitContext>>,
    memory: Option<LinearMemory>,
    host: RefCell<Option<Rc<Host>>>,
    backtrace_limit: usize,
    /// When a guest faults in the guard region: make this many bytes of memory
    /// accessible from there on, and go on.
    grow_on_fault: Cell<Option<usize>>,
    /// How often a fault made the memory grow.
    pub(crate) grown: Cell<usize>,
}

impl JitStore {
    pub(crate) fn new() -> Self {
        Self {
            context: Box::new(UnsafeCell::new(JitContext {
                memory_base: Cell::new(ptr::null_mut()),
                exit_pc: Cell::new(0),
                landing_pc: Cell::new(0),
                entry_fp: Cell::new(0),
                stack_limit: Cell::new(0),
                store: Cell::new(ptr::null()),
                exit_fp: Cell::new(0),
                landing_sp: Cell::new(0),
            })),
            memory: None,
            host: RefCell::new(None),
            backtrace_limit: usize::MAX,
            grow_on_fault: Cell::new(None),
            grown: Cell::new(0),
        }
    }

    pub(crate) fn with_memory(mut self, memory: LinearMemory) -> Self {
        self.context().memory_base.set(memory.base().as_ptr());
        self.memory = Some(memory);
        self
    }

    pub(crate) fn with_backtrace_limit(mut self, limit: usize) -> Self {
        self.backtrace_limit = limit;
        self
    }

    pub(crate) fn with_host(self, host: impl Fn(&JitStore, u64) -> HostReturn + 'static) -> Self {
        self.set_host(host);
        self
    }

    /// What `%host` is for guests of this store.
    pub(crate) fn set_host(&self, host: impl Fn(&JitStore, u64) -> HostReturn + 'static) {
        self.host.replace(Some(Rc::new(host)));
    }

    /// Makes faults in the guard region make `bytes` there accessible.
    pub(crate) fn grow_on_fault(&self, bytes: usize) {
        self.grow_on_fault.set(Some(bytes));
    }

    pub(crate) fn context(&self) -> &JitContext {
        // SAFETY: the words are cells, and no other thread has this store.
        unsafe { &*self.context.get() }
    }

    /// Calls the guest function `name`; the 64 bits of its result.
    ///
    /// On every way out, panics included, all that an entry changes has to be
    /// as before; this is checked here, for each call of each test.
    pub(crate) fn call(
        &self,
        entry: Entry,
        guest: &Guest,
        name: &str,
        arguments: &[u64],
    ) -> Result<u64, Trap> {
        let before = (self.context().words(), innermost());
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.call_unchecked(entry, guest, name, arguments)
        }));
        assert_eq!(before, (self.context().words(), innermost()));
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn call_unchecked(
        &self,
        entry: Entry,
        guest: &Guest,
        name: &str,
        arguments: &[u64],
    ) -> Result<u64, Trap> {
        self.prepare();
        let trampoline = guest.code().trampoline(name, entry);
        let mut words = [0; ARGUMENTS];
        words[..arguments.len()].copy_from_slice(arguments);
        let words = &raw mut words;
        // SAFETY: the trampoline is of this kind; the array is right above.
        unsafe {
            self.enter(entry, trampoline, words)?;
            Ok((*words)[0])
        }
    }

    /// All that comes before [`enter`](Self::enter).
    pub(crate) fn prepare(&self) {
        signal::ensure_installed().expect("signal handlers");
        signal::prepare_thread().expect("an alternate stack");
        self.context().store.set(self);
    }

    /// Enters a guest, and does nothing else. The result is the first of the
    /// words.
    ///
    /// # Safety
    ///
    /// * `trampoline` is for this kind of entry; its code is registered until
    ///   it returns.
    /// * `words` may be read and written.
    pub(crate) unsafe fn enter(
        &self,
        entry: Entry,
        trampoline: EntryTrampoline,
        words: *mut [u64; ARGUMENTS],
    ) -> Result<(), Trap> {
        match entry {
            Entry::SavedContext => {
                // SAFETY: this function's duties; the context is that of this
                // store.
                let returned = catch_traps(self, |caller| unsafe { trampoline(caller, words) })?;
                assert!(returned, "without a landing pad nothing reports failure");
                Ok(())
            }
            Entry::LandingPad => catch_traps_with_landing_pad(self, |caller| {
                // SAFETY: as above.
                unsafe { trampoline(caller, words) }.then_some(())
            }),
        }
    }
}

/// The innermost activation of this thread.
pub(crate) fn innermost() -> *const Activation {
    ACTIVATION.with(ActivationHead::innermost)
}

// SAFETY: the layout is that of `JitContext`, whose words only the trampolines
// of `glue` write; the context has an allocation of its own. Frame pointers are
// asked for when guests are compiled. The two handlers do arithmetic, a system
// call, and accesses to cells of a thread that stands still.
unsafe impl Store for JitStore {
    const LAYOUT: VMStoreContextLayout = VMStoreContextLayout {
        exit_fp: ExitFp::Guest(offset_of!(JitContext, exit_fp)),
        exit_pc: offset_of!(JitContext, exit_pc),
        entry_fp: offset_of!(JitContext, entry_fp),
        landing_pad: Some(LandingPadWords {
            entry_sp: offset_of!(JitContext, landing_sp),
            entry_trap_handler: offset_of!(JitContext, landing_pc),
        }),
    };

    fn default_caller(&self) -> NonNull<VMContext> {
        self.vm_store_context().cast()
    }

    fn vm_store_context(&self) -> NonNull<VMStoreContext> {
        // SAFETY: the address of a field is not null.
        unsafe { NonNull::new_unchecked(self.context.get()) }.cast()
    }

    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault> {
        self.memory.as_ref()?.fault_at(faulting_addr)
    }

    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        let grown = || {
            let bytes = self.grow_on_fault.get()?;
            let memory = self.memory.as_ref()?;
            let at = memory.fault_at(fault.faulting_addr?)?.wasm_address as usize;
            memory
                .make_accessible(at - at % bytes, bytes)
                .then(|| self.grown.set(self.grown.get() + 1))
        };
        match grown() {
            Some(()) => FaultVerdict::Handled,
            None => FaultVerdict::NotHandled,
        }
    }

    fn backtrace_limit(&self) -> usize {
        self.backtrace_limit
    }
}

/// The host functions that every guest may call:
///
/// * `%host(i64, i64) -> i64`: context and argument, to the host function of
///   the store;
/// * `%trap(i64, i32)`: context and the number of a `TrapKind`, the builtin
///   for traps that the guest finds by itself; does not return.
pub(crate) fn standard_host_functions() -> [HostFunction; 2] {
    [
        HostFunction {
            name: "host",
            address: call_host as *const u8,
            params: &["i64"],
            result: "i64",
            // `Result<u32, _>`: all ones.
            sentinel: Sentinel::Value(-1),
        },
        HostFunction {
            name: "trap",
            address: record_trap as *const u8,
            params: &["i32"],
            result: "",
            sentinel: Sentinel::Always,
        },
    ]
}

/// The builtin that exit stubs call when a host function failed.
pub(crate) fn raise_builtin() -> *const u8 {
    unsafe extern "C" fn raise(_context: *const JitContext) -> ! {
        // SAFETY: called by an exit stub, in the guest of the innermost
        // activation; nothing lies in between.
        unsafe { raise_preexisting_trap() }
    }
    raise as *const u8
}

/// The store that called.
///
/// # Safety
///
/// * `context` is the one that a guest passed to a host function.
pub(crate) unsafe fn store_of<'a>(context: *const JitContext) -> &'a JitStore {
    // SAFETY: `JitStore::call` has set it, and borrows the store for as long
    // as its guest runs.
    unsafe { &*(*context).store.get() }
}

unsafe extern "C" fn call_host(context: *const JitContext, argument: u64) -> u64 {
    catch_unwind_and_record_trap(|| -> HostReturn {
        // SAFETY: called by a guest.
        let store = unsafe { store_of(context) };
        let host = store.host.borrow().clone();
        let host = host.expect("a guest that calls the host has a host function");
        host(store, argument)
    })
}

unsafe extern "C" fn record_trap(_context: *const JitContext, kind: u32) {
    catch_unwind_and_record_trap(|| -> Result<std::convert::Infallible, TrapReason> {
        let kind = u8::try_from(kind).ok().and_then(TrapKind::from_u8);
        Err(kind.expect("the number of a kind").into())
    });
}
