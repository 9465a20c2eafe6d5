//! Bare-metal images that use one CPU: its copy is an ordinary static.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::sync::atomic::{Ordering, compiler_fence};

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
pub struct LazySlot<T> {
    state: Cell<State>,
    value: UnsafeCell<MaybeUninit<T>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Empty,
    Running,
    Ready,
}

// SAFETY: as for `Slot`.
unsafe impl<T> Sync for LazySlot<T> {}

impl<T> LazySlot<T> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self {
            state: Cell::new(State::Empty),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    #[doc(hidden)]
    pub fn get_or_init(&self, init: fn() -> T) -> &T {
        /// Makes the slot empty again if the initialiser panics.
        struct Running<'a>(&'a Cell<State>);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.set(State::Empty);
            }
        }

        match self.state.get() {
            State::Ready => {}
            State::Running => panic!("the initialiser of a CPU-local asks for itself"),
            State::Empty => {
                self.state.set(State::Running);
                let running = Running(&self.state);
                let value = init();
                // SAFETY: one CPU; nobody has a reference to the value before
                // the slot is ready.
                unsafe { (*self.value.get()).write(value) };
                core::mem::forget(running);
                // An interrupt that finds the slot ready finds the value, too.
                compiler_fence(Ordering::Release);
                self.state.set(State::Ready);
            }
        }
        // SAFETY: a slot that is ready has its value, which never changes.
        unsafe { (*self.value.get()).assume_init_ref() }
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
