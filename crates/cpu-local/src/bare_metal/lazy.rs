//! One copy of a static that is initialised on first access.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::sync::atomic::{Ordering, compiler_fence};

/// A value and whether it is there. Not `Sync`: each CPU has one of its own.
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
                // SAFETY: no other CPU uses this slot, and nobody has a
                // reference to the value before the slot is ready.
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
