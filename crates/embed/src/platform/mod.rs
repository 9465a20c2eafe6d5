//! What an embedder needs of the machine or operating system below it.

cfg_if::cfg_if! {
    if #[cfg(feature = "std")] {
        mod given_back;
        mod hosted;
        pub use hosted::Hosted;
    }
}

use alloc::borrow::Cow;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::time::Duration;

/// Memory, hardware traps and waiting, as the platform provides them.
///
/// [`Hosted`] is the implementation for operating systems; a kernel supplies
/// its own.
///
/// # Safety
///
/// Implementors promise:
///
/// * A reserved range is disjoint from everything else in use, starts at a
///   multiple of [`page_size`](Self::page_size), and stays reserved until it is
///   released.
/// * If [`has_guards`](Self::has_guards): any access to reserved bytes that are
///   not committed raises a memory fault that reaches
///   `trapline_activation::handle_wasm_exception` on a thread for which
///   [`prepare_thread`](Self::prepare_thread) succeeded, and so does any
///   access to the page at address 0.
/// * Committed bytes are zero at first, then keep what is written.
/// * Published code is executed as it was written, on all CPUs.
/// * If [`can_trap_by_hlt`](Self::can_trap_by_hlt): guests run in user mode, and the general
///   protection fault that `hlt` causes there reaches
///   `trapline_activation::handle_wasm_exception`, without a faulting address, on such a thread.
pub unsafe trait Platform: Send + Sync + fmt::Debug + 'static {
    /// The size of a page in bytes: a power of two. Ranges are reserved,
    /// committed and published in multiples of it.
    fn page_size(&self) -> usize;

    /// Whether memory can be reserved without being accessible, and hardware
    /// traps are caught. Without, only code with explicit checks and
    /// memories without guard regions can be loaded.
    fn has_guards(&self) -> bool;

    /// Whether a guest may trap by `hlt` on x86_64
    /// (see [`EngineConfig::trap_by_hlt`](crate::EngineConfig::trap_by_hlt)). The default says
    /// no, as kernels must whose guests run in kernel mode: there, `hlt` waits and goes on.
    fn can_trap_by_hlt(&self) -> bool {
        false
    }

    /// Reserves `bytes` (not 0, a multiple of the page size) of address space.
    ///
    /// # Errors
    ///
    /// If there is not that much left.
    fn reserve(&self, bytes: usize) -> Result<NonNull<u8>, PlatformError>;

    /// Makes `bytes` at `start` (multiples of the page size, within one
    /// reserved range, not committed before) readable, writable and zero.
    ///
    /// # Safety
    ///
    /// * The bytes lie in a range reserved here and are not committed.
    ///
    /// # Errors
    ///
    /// If there is not that much memory left.
    unsafe fn commit(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError>;

    /// Gives a reserved range back as a whole. Called in destructors: what can't be given back
    /// now is the platform's to keep and to try again, never a reason to panic.
    ///
    /// # Safety
    ///
    /// * `start` and `bytes` are those of a range reserved here, and nobody uses it
    ///   any more.
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize);

    /// Makes committed bytes executable, and no longer writable.
    ///
    /// # Safety
    ///
    /// * The bytes lie in a range reserved here and are committed; they hold
    ///   code that is meant to be run.
    ///
    /// # Errors
    ///
    /// If the platform refuses.
    unsafe fn publish_code(&self, start: NonNull<u8>, bytes: usize) -> Result<(), PlatformError>;

    /// Arranges for hardware traps of guests on this thread (CPU) to be caught.
    ///
    /// Called when a store gets its first module that relies on them, on a thread's first entry
    /// into such a store, and again on the first after one into a store of another
    /// [`Engine`](crate::Engine)'s. So it has to be cheap when there is nothing left to do. Who
    /// resumes suspended activations (`SuspendedActivations::resume` of trapline-activation) on another
    /// thread calls it there first: nothing else does.
    ///
    /// # Errors
    ///
    /// If hardware traps cannot be caught.
    fn prepare_thread(&self) -> Result<(), PlatformError>;

    /// Blocks the calling thread while `word` is 0, for at most `timeout`. May
    /// return early for no reason; the default does so at once, after telling
    /// the CPU that it is spinning.
    fn park(&self, word: &AtomicU32, timeout: Option<Duration>) {
        let _ = (word, timeout);
        core::hint::spin_loop();
    }

    /// Wakes the thread that waits in [`park`](Self::park) for `word`, which
    /// is not 0 any more.
    fn unpark(&self, word: &AtomicU32) {
        let _ = word;
    }

    /// The time since some fixed moment.
    fn now(&self) -> Duration;
}

/// Why a platform could not do what it was asked for.
#[derive(Debug)]
pub struct PlatformError {
    what: &'static str,
    why: Cow<'static, str>,
}

impl PlatformError {
    /// `what` did not work, because of `why`.
    #[must_use]
    pub fn new(what: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            what,
            why: why.into(),
        }
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl core::error::Error for PlatformError {}
