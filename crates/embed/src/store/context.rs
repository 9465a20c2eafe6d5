//! Stores: what owns the instances of guests, and the embedder's data.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use trapline_activation::{FaultVerdict, GuestFault};
use trapline_backtrace::RawBacktrace;

use crate::backtrace::WasmBacktrace;
use crate::engine::Engine;
use crate::objects::id::StoreId;
use crate::objects::limits::StoreLimits;
use crate::store::settings::{Landing, MemoryRelocation};
use crate::store::store_core::StoreCore;

/// A store and the embedder's data. `repr(C)`: a pointer to it is one to the core.
#[repr(C)]
struct Inner<T> {
    core: StoreCore,
    data: UnsafeCell<T>,
}

/// Owns instances, memories, tables, globals and host functions, and the
/// embedder's data `T`, which host functions get at through their
/// [`Caller`](crate::Caller).
///
/// Everything lives as long as the store, and is freed with it. What belongs to
/// one store cannot be used with another one.
///
/// A store is used through its [`StoreContext`], which it dereferences to:
/// wherever a `&mut StoreContext<T>` is asked for, `&mut store` will do, and
/// `&mut caller` in a host function.
pub struct Store<T: 'static> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<Inner<T>>,
}

// SAFETY: owns all that it points to. Guests of the store, which are on a
// thread's stack, keep it borrowed there.
unsafe impl<T: Send> Send for Store<T> {}

impl<T> Store<T> {
    /// A store with nothing in it but `data`.
    #[must_use]
    pub fn new(engine: &Engine, data: T) -> Self {
        let core = StoreCore::new(engine);
        let inner = Box::new(Inner {
            core,
            data: UnsafeCell::new(data),
        });
        let inner = NonNull::from(Box::leak(inner));
        // Contexts find their way back by the address.
        inner.as_ptr().expose_provenance();
        // SAFETY: it stays there until `drop`, and is not used yet.
        unsafe { StoreCore::add_host(inner.cast()) };
        Self {
            inner,
            _owns: PhantomData,
        }
    }

    /// The data, by value; everything else is freed.
    #[must_use]
    pub fn into_data(self) -> T {
        let inner = core::mem::ManuallyDrop::new(self).inner;
        // SAFETY: made from a box in `new`, and this is the last use.
        let inner = unsafe { Box::from_raw(inner.as_ptr()) };
        inner.data.into_inner()
    }
}

impl<T> Drop for Store<T> {
    fn drop(&mut self) {
        // SAFETY: made from a box in `new`, and this is the last use: a guest
        // that is running would borrow the store.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}

impl<T> Deref for Store<T> {
    type Target = StoreContext<T>;

    #[inline]
    fn deref(&self) -> &StoreContext<T> {
        // SAFETY: any address is that of a value without size; this one is the
        // store's, for the time of the borrow.
        unsafe { self.inner.cast().as_ref() }
    }
}

impl<T> DerefMut for Store<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut StoreContext<T> {
        // SAFETY: as for `deref`.
        unsafe { self.inner.cast().as_mut() }
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A store, as it is used: by its owner, or by a host function that one of the
/// store's guests called.
///
/// There are only references to contexts, and they are nothing but the store's
/// address: a context has no size. So the owner's exclusive reference, which
/// waits further out on the stack while a guest runs, and the one of a host function
/// that the guest calls, have not a byte in common; and swapping the contents
/// of two contexts, which safe code may do, swaps nothing.
pub struct StoreContext<T: 'static> {
    _store: PhantomData<Inner<T>>,
    /// Neither `Send` nor `Sync`: guests of the store run on this thread.
    _not_send: PhantomData<*mut ()>,
}

const _: () = assert!(size_of::<StoreContext<u64>>() == 0 && align_of::<StoreContext<u64>>() == 1);

impl<T> StoreContext<T> {
    /// The context of a store.
    ///
    /// # Safety
    ///
    /// * `core` is that of a `Store<T>`, which lives for `'a`.
    /// * No other exclusive context of the store is used during `'a`.
    #[inline]
    pub(crate) unsafe fn from_core<'a>(core: NonNull<StoreCore>) -> &'a mut Self {
        // SAFETY: any address is that of a value without size.
        unsafe { core.cast().as_mut() }
    }

    #[inline]
    fn inner(&self) -> *mut Inner<T> {
        let address = (&raw const *self).addr();
        core::ptr::with_exposed_provenance_mut(address)
    }

    #[inline]
    pub(crate) fn core(&self) -> &StoreCore {
        // SAFETY: the address is that of the store, which lives as long as the
        // context, and whose core is never borrowed exclusively.
        unsafe { &(*self.inner()).core }
    }

    /// The embedder's data.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &T {
        // SAFETY: as for `core`; whoever has the data exclusively borrows the
        // one context that is in use.
        unsafe { &*(*self.inner()).data.get() }
    }

    /// The embedder's data.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut T {
        // SAFETY: as for `data`, and this context is borrowed exclusively.
        unsafe { &mut *(*self.inner()).data.get() }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.core().engine()
    }

    /// Which store this is.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.core().id()
    }

    /// Limits the stack of guests to `bytes`, 512 KiB by default.
    ///
    /// It counts from the host's first entry into a guest of this store, and
    /// holds for everything called from there: guests that call the host that calls
    /// guests again get no more. The thread's stack must have that much left,
    /// and what the host functions need; a guest that gets to the end of the stack
    /// itself stops the process. Takes effect with the next first entry.
    ///
    /// The limit is a place on the stack of that first entry. A host function that goes on on another
    /// stack, and calls guests of the same store there, calls them with a limit that means nothing: they are out of
    /// stack at once, or have none. (Those of a store that has no entry yet have a limit of their own.)
    pub fn set_max_wasm_stack(&mut self, bytes: usize) {
        self.core().max_wasm_stack.set(bytes);
    }

    /// Limits the backtraces of traps to the innermost `frames`; 0 for no
    /// backtraces at all. [`DEFAULT_BACKTRACE_LIMIT`](crate::DEFAULT_BACKTRACE_LIMIT) by default.
    pub fn set_backtrace_limit(&mut self, frames: usize) {
        self.core().backtrace_limit.set(frames);
    }

    /// Limits what the store may have, from now on: what there is already stays.
    ///
    /// They hold for what its guests and its host ask for alike. A guest whose memory or table would
    /// be too large is told so as the specification has it: `memory.grow` and `table.grow` give -1. What the
    /// host asks for, instances with all that they define included, is a
    /// [`UsageError::Limit`](crate::UsageError::Limit), and nothing of it is made.
    ///
    /// A shared memory counts, as large as it is, in each store whose instances use it. It belongs to none: when
    /// the host grows it ([`SharedMemory::grow`](crate::SharedMemory::grow)), no store is asked.
    pub fn set_limits(&mut self, limits: StoreLimits) {
        self.core().objects().set_limits(limits);
    }

    /// What the store may have.
    #[must_use]
    pub fn limits(&self) -> StoreLimits {
        self.core().objects().limits()
    }

    /// Chooses where guests are left for.
    pub fn set_landing(&mut self, landing: Landing) {
        self.core().landing.set(landing);
    }

    /// Chooses when memories move.
    pub fn set_memory_relocation(&mut self, relocation: MemoryRelocation) {
        let always = relocation == MemoryRelocation::MoveOnGrow;
        self.core().objects().set_always_move(always);
    }

    /// Sets a hook that is asked about faults of the store's guests, at
    /// instructions that may trap, before they become traps. If it says
    /// [`FaultVerdict::Handled`], having taken away the cause, the instruction
    /// is run again.
    ///
    /// # Safety
    ///
    /// The hook is called in the exception or signal handler, on its stack:
    ///
    /// * It does not allocate, take locks, format, panic, or use thread-locals
    ///   that are made on first use.
    /// * It does not use this store.
    /// * It says that it has handled a fault only if running the instruction
    ///   again is right.
    pub unsafe fn set_fault_hook<F>(&mut self, hook: Option<F>)
    where
        F: Fn(&GuestFault) -> FaultVerdict + Send + 'static,
    {
        let hook = hook.map(|hook| Box::new(hook) as _);
        // SAFETY: the caller's duties.
        unsafe { self.core().set_fault_hook(hook) };
    }

    /// The frames of this store's guests that are on the stack now, innermost
    /// first: none outside of a host function that a guest called.
    #[must_use]
    pub fn capture_backtrace(&self) -> RawBacktrace {
        trapline_activation::capture_backtrace(self.core())
    }

    /// The frames of a captured backtrace in terms of this store's modules;
    /// others are left out. (The backtrace of an error resolves itself:
    /// [`Error::wasm_backtrace`](crate::Error::wasm_backtrace).)
    #[must_use]
    pub fn resolve(&self, backtrace: &RawBacktrace) -> WasmBacktrace {
        WasmBacktrace::resolve(backtrace, None, self.core().modules())
    }
}

impl<T: fmt::Debug> fmt::Debug for StoreContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("core", self.core())
            .field("data", self.data())
            .finish()
    }
}
