//! What an embedder tells of its store.

use core::error::Error;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use trapline_arch::{LandingPoint, VirtualAddress};
use trapline_backtrace::RawBacktrace;
use trapline_code_registry::TrapKind;

use crate::vm::StoreWords;
use crate::{
    CoreDump, PassedOn, TrapReason, VMContext, VMStoreContext, VMStoreContextLayout, WasmFault,
};

/// A fault of compiled code at an instruction that its trap table lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestFault {
    /// The faulting instruction: its address, or that of its last byte, as its
    /// trap table lists it.
    pub pc: VirtualAddress,
    /// Frame pointer of the faulting function.
    pub fp: VirtualAddress,
    /// The data address that could not be accessed, for memory faults.
    pub faulting_addr: Option<VirtualAddress>,
    /// What the trap table says of the instruction.
    pub trap: TrapKind,
}

/// What a store's hook says of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultVerdict {
    /// The cause is gone (a page was mapped): run the instruction again.
    Handled,
    /// It is a trap like any other.
    NotHandled,
}

/// Names what a CPU (hosted: a thread) has to be prepared for before certain guests run on it,
/// say with handlers for the faults that they trap by: see [`Store::preparation`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preparation(NonZeroUsize);

impl Preparation {
    /// A name that nobody else has.
    ///
    /// # Panics
    ///
    /// If there are no more of them: after as many as there are addresses.
    #[must_use]
    pub fn unique() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let last = LAST.fetch_add(1, Ordering::Relaxed);
        Self(
            NonZeroUsize::MIN
                .checked_add(last)
                .expect("fewer than 2^N of them"),
        )
    }
}

/// An embedder's store: what [`catch_traps`](crate::catch_traps) needs to know
/// of it.
///
/// # Safety
///
/// Implementors promise, for as long as a guest of the store may run:
///
/// * [`vm_store_context`](Self::vm_store_context) always gives the same
///   context; it is alive, and [`LAYOUT`](Self::LAYOUT) describes the words that the
///   store's compiled code writes in it, when it enters and leaves the guest.
///   Nobody else writes them.
/// * A store is used by one thread (CPU) at a time: nobody enters a guest of it
///   on another one while an activation of it is linked, or suspended with a
///   fiber that may run. A store that is not [`Sync`] has this by its type.
/// * Registered code of the store is entered only inside a `catch_traps` of the
///   store, and each such entry once. Nobody can tell a fault of code that was
///   called directly from a host function from one of the guest that called that
///   function: it would be taken for the latter's trap, and the host frames
///   between them skipped.
/// * Compiled code runs on the stack that `catch_traps` was called on, and
///   keeps frame records with rising frame pointers (Cranelift:
///   `preserve_frame_pointers`).
/// * When a guest traps there is stack left below its frame for the code that
///   captures the backtrace and makes the core dump: the guests' stack limit
///   is that far from the end of the stack.
/// * [`wasm_fault`](Self::wasm_fault) and
///   [`on_guest_fault`](Self::on_guest_fault) hold to the rules of an exception
///   handler: no allocation, no lock, no formatting, no panic, no thread-local
///   that is made on first use. They are called on a signal's or exception's stack
///   while the guest stands at the faulting instruction.
/// * `wasm_fault` is right: for an address outside of the store's memories
///   and their guard regions it returns `None`. A wrong `Some` turns an escape
///   from the sandbox into an ordinary trap.
pub unsafe trait Store {
    /// Where the trampolines' words lie in the store's context.
    const LAYOUT: VMStoreContextLayout;

    /// The instance context to pass as the caller when the host itself calls.
    fn default_caller(&self) -> NonNull<VMContext>;

    /// The context that the store's compiled code writes to.
    fn vm_store_context(&self) -> NonNull<VMStoreContext>;

    /// What a CPU has to be prepared for before guests of the store run on it, `None` for nothing.
    ///
    /// Looked at on each entry. If it is not what the CPU was last prepared for,
    /// [`prepare`](Self::prepare) is called first.
    #[inline]
    fn preparation(&self) -> Option<Preparation> {
        None
    }

    /// Prepares this CPU. Called in normal context, on the first entry on a CPU, and again after
    /// an entry into a store of another [`preparation`](Self::preparation). Guests that were entered
    /// after that other one may go on afterwards: what they need has to stay.
    ///
    /// Everything is as it was before the entry, and a panic goes on from there. It may not enter
    /// guests that need the same, for which it would be called again, nor suspend the fiber that
    /// it is called on: it is the CPU that it ends on that counts as prepared.
    ///
    /// # Errors
    ///
    /// Why guests of the store can't run here. None is entered then: it is what
    /// [`catch_traps`](crate::catch_traps) returns, as it is: an `anyhow::Error` becomes a
    /// host function's error without a backtrace.
    fn prepare(&self) -> Result<(), PassedOn> {
        Ok(())
    }

    /// The address in terms of the guest, if it lies in one of the store's
    /// memories or in a guard region of one; `None` anywhere else.
    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault>;

    /// Called before a fault becomes a trap; the answer may be that the
    /// instruction is to be run again.
    #[inline]
    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        let _ = fault;
        FaultVerdict::NotHandled
    }

    /// The number of frames, innermost first, that a trap's backtrace keeps; 0
    /// for no backtrace at all. All of them by default, which is at 16 bytes each 8 MB for
    /// a guest that overflows a stack of 500,000 frames: a store for guests that nobody knows says less.
    #[inline]
    fn backtrace_limit(&self) -> usize {
        usize::MAX
    }

    /// Whether this is an error of the embedder's own that has, from a nested guest, a trap
    /// with its backtrace: then none is captured for the host function's error that it is a
    /// cause of, which [`pass_on`](Self::pass_on) gets. For errors that are, or have in them, a
    /// [`Trap`](crate::Trap) as a cause nobody asks.
    ///
    /// Called with the causes of a host function's error as it is recorded, outermost
    /// first, until one carries a trap. It must not panic, as [`coredump`](Self::coredump).
    #[inline]
    fn carries_trap(&self, cause: &(dyn Error + 'static)) -> bool {
        let _ = cause;
        false
    }

    /// What is recorded for a host function's error of which [`carries_trap`](Self::carries_trap)
    /// has said that one of its causes carries a trap. It must not panic, either.
    fn pass_on(&self, error: anyhow::Error) -> PassedOn {
        error.into()
    }

    /// A core dump of the store, taken when a trap is recorded, while the
    /// guest's frames are still there. Called in normal context, on the guest's
    /// stack. It must not panic: between here and the host there are frames of
    /// compiled code, so that the process is aborted; or, after an error of a host
    /// function, the panic takes the place of that.
    #[inline]
    fn coredump(&self, reason: &TrapReason, backtrace: Option<&RawBacktrace>) -> Option<CoreDump> {
        let _ = (reason, backtrace);
        None
    }
}

/// The store of an activation, whatever its type.
pub(crate) trait AnyStore {
    fn layout(&self) -> &'static VMStoreContextLayout;

    /// Where the store's innermost guest is landed at, by its entry trampoline's words; a pc of 0
    /// if it has none.
    ///
    /// # Safety
    ///
    /// * The context is the store's, in which no other thread writes.
    unsafe fn landing_point(&self, context: NonNull<VMStoreContext>) -> LandingPoint;

    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault>;
    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict;
    fn backtrace_limit(&self) -> usize;
    fn carries_trap(&self, cause: &(dyn Error + 'static)) -> bool;
    fn pass_on(&self, error: anyhow::Error) -> PassedOn;
    fn coredump(&self, reason: &TrapReason, backtrace: Option<&RawBacktrace>) -> Option<CoreDump>;
}

impl<S: Store> AnyStore for S {
    fn layout(&self) -> &'static VMStoreContextLayout {
        const { &S::LAYOUT }
    }

    unsafe fn landing_point(&self, context: NonNull<VMStoreContext>) -> LandingPoint {
        // SAFETY: the layout is that of the store's context; the caller's duty.
        unsafe { StoreWords::read_landing(context, const { &S::LAYOUT }) }
    }

    fn wasm_fault(&self, faulting_addr: VirtualAddress) -> Option<WasmFault> {
        Store::wasm_fault(self, faulting_addr)
    }

    fn on_guest_fault(&self, fault: &GuestFault) -> FaultVerdict {
        Store::on_guest_fault(self, fault)
    }

    fn backtrace_limit(&self) -> usize {
        Store::backtrace_limit(self)
    }

    fn carries_trap(&self, cause: &(dyn Error + 'static)) -> bool {
        Store::carries_trap(self, cause)
    }

    fn pass_on(&self, error: anyhow::Error) -> PassedOn {
        Store::pass_on(self, error)
    }

    fn coredump(&self, reason: &TrapReason, backtrace: Option<&RawBacktrace>) -> Option<CoreDump> {
        Store::coredump(self, reason, backtrace)
    }
}
