//! Lazily made values, with `std` and without. Nobody waits for anybody here.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// A value that the first one who asks for it makes; several may make it at
/// the same time, and one of them wins.
#[derive(Debug)]
pub(crate) struct OnceBox<T>(AtomicPtr<T>);

impl<T> OnceBox<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value, made by `make` if it is not there yet.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut value = self.0.load(Ordering::Acquire);
        if value.is_null() {
            let mine = Box::into_raw(Box::new(make()));
            let outcome =
                self.0
                    .compare_exchange(ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire);
            value = match outcome {
                Ok(_) => mine,
                Err(theirs) => {
                    // SAFETY: made two lines above, and nobody else saw it.
                    drop(unsafe { Box::from_raw(mine) });
                    theirs
                }
            };
        }
        // SAFETY: once set, the pointer is that of a live box until `self` is
        // dropped.
        unsafe { &*value }
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        let value = *self.0.get_mut();
        if !value.is_null() {
            // SAFETY: the pointer is that of a box, and this is the last use.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

// The pointer owns a `T` that is shared between threads and dropped on one.
// SAFETY: as `Box<T>`, which may be sent if `T` may.
unsafe impl<T: Send> Send for OnceBox<T> {}
// SAFETY: hands out `&T` to any thread, and makes the `T` on any.
unsafe impl<T: Send + Sync> Sync for OnceBox<T> {}

/// A value in place that the first one who asks for it makes. Those who ask while it is being
/// made don't wait: they have one of their own making, as in a [`OnceBox`].
pub(crate) struct OnceInPlace<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
    meanwhile: OnceBox<T>,
}

/// Nobody has asked for the value.
const UNMADE: u8 = 0;
/// Somebody makes it, or has panicked on doing so.
const TAKEN: u8 = 1;
/// It is there, and stays as it is.
const MADE: u8 = 2;

impl<T> OnceInPlace<T> {
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU8::new(UNMADE),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            meanwhile: OnceBox::new(),
        }
    }

    /// The value, made by `make` if it is not there yet.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut state = self.state.load(Ordering::Acquire);
        if state == UNMADE {
            match self
                .state
                .compare_exchange(UNMADE, TAKEN, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => {
                    let value = make();
                    // SAFETY: only the one who takes the place gets here, and nobody looks
                    // until it says below that the value is made. From then on others have
                    // shared references, so that this is one before.
                    let value: &T = unsafe { (*self.value.get()).write(value) };
                    self.state.store(MADE, Ordering::Release);
                    return value;
                }
                Err(now) => state = now,
            }
        }
        if state == MADE {
            // SAFETY: made, as seen by the load or exchange, and from then on only shared.
            return unsafe { (*self.value.get()).assume_init_ref() };
        }
        self.meanwhile.get_or_init(make)
    }
}

impl<T> Drop for OnceInPlace<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == MADE {
            // SAFETY: made, and this is the last use.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}

// SAFETY: hands out `&T` to any thread, and makes the `T` on any; what is not shared is
// written by one thread, which is alone with it.
unsafe impl<T: Send + Sync> Sync for OnceInPlace<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_once_box_is_made_once_and_dropped_once() {
        use alloc::sync::Arc;
        let count = Arc::new(());
        let cell = OnceBox::new();
        assert_eq!(
            Arc::strong_count(cell.get_or_init(|| Arc::clone(&count))),
            2
        );
        cell.get_or_init(|| unreachable!("made already"));
        drop(cell);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_value_in_place_is_made_once_and_dropped_once() {
        use alloc::sync::Arc;
        let count = Arc::new(());
        let cell = OnceInPlace::new();
        assert_eq!(
            Arc::strong_count(cell.get_or_init(|| Arc::clone(&count))),
            2
        );
        cell.get_or_init(|| unreachable!("made already"));
        drop(cell);
        assert_eq!(Arc::strong_count(&count), 1);
        drop(OnceInPlace::<Arc<()>>::new());
    }

    #[test]
    fn who_asks_while_a_value_is_made_gets_another_one_and_both_are_dropped() {
        use alloc::sync::Arc;
        let count = Arc::new(());
        let cell = OnceInPlace::new();
        let (mut first, mut second) = (ptr::null(), ptr::null());
        let made = cell.get_or_init(|| {
            // What another thread would do at this moment.
            first = cell.get_or_init(|| Arc::clone(&count));
            second = cell.get_or_init(|| unreachable!("made already"));
            Arc::clone(&count)
        });
        assert!(first == second && !ptr::eq(first, made));
        assert!(ptr::eq(made, cell.get_or_init(|| unreachable!("made"))));
        assert_eq!(Arc::strong_count(&count), 3);
        drop(cell);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
