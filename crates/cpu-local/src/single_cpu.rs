//! Bare-metal images that use one CPU: its copy is an ordinary static.

use core::cell::UnsafeCell;

/// A static that each CPU has its own copy of (here: the only CPU's); made by
/// [`cpu_local!`](crate::cpu_local).
pub struct CpuLocal<T: 'static> {
    copy: fn() -> &'static T,
}

impl<T: 'static> CpuLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(copy: fn() -> &'static T) -> Self {
        Self { copy }
    }

    /// Calls `f` with this CPU's copy.
    ///
    /// # Panics
    ///
    /// If the initialiser of a lazy static asks for the same static.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f((self.copy)())
    }
}

#[doc(hidden)]
pub mod macro_support {
    pub use super::{LazySlot, Slot};
}

/// The one copy of a static that is initialised at compile time.
#[doc(hidden)]
#[derive(Debug)]
pub struct Slot<T>(T);

// SAFETY: feature `single-cpu` is the embedder's word that one CPU only runs
// this image, so that the value is never used from two at once; a handler that
// interrupts an access gets a shared reference like everybody else.
unsafe impl<T> Sync for Slot<T> {}

impl<T> Slot<T> {
    #[doc(hidden)]
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    #[doc(hidden)]
    #[inline]
    pub const fn get(&self) -> &T {
        &self.0
    }
}

/// The one copy of a static that is initialised on first access.
#[doc(hidden)]
#[derive(Debug)]
pub struct LazySlot<T>(UnsafeCell<State<T>>);

#[derive(Debug)]
enum State<T> {
    Empty,
    Running,
    Ready(T),
}

// SAFETY: as for `Slot`.
unsafe impl<T> Sync for LazySlot<T> {}

impl<T> LazySlot<T> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State::Empty))
    }

    #[doc(hidden)]
    pub fn get_or_init(&self, init: fn() -> T) -> &T {
        // SAFETY: one CPU; no reference into the slot is handed out before it
        // is ready, and it never changes afterwards.
        match unsafe { &*self.0.get() } {
            State::Ready(value) => return value,
            State::Running => panic!("the initialiser of a CPU-local asks for itself"),
            State::Empty => {}
        }
        // SAFETY: nobody holds a reference into an empty slot.
        unsafe { *self.0.get() = State::Running };
        let value = init();
        // SAFETY: nor into one whose initialiser runs.
        unsafe { *self.0.get() = State::Ready(value) };
        // SAFETY: from here on the slot is only read.
        match unsafe { &*self.0.get() } {
            State::Ready(value) => value,
            State::Empty | State::Running => unreachable!("it was made ready above"),
        }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_const {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:block) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            static COPY: $crate::macro_support::Slot<$t> =
                $crate::macro_support::Slot::new($init);
            $crate::CpuLocal::new(|| COPY.get())
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_lazy {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:expr) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            static COPY: $crate::macro_support::LazySlot<$t> =
                $crate::macro_support::LazySlot::new();
            $crate::CpuLocal::new(|| COPY.get_or_init(|| $init))
        };
    };
}
