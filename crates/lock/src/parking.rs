//! The lock of a process: waiters sleep.

use core::fmt;
use core::ops::{Deref, DerefMut};
use std::sync;

use crate::fork;

/// A value that one thread at a time uses, in normal context.
///
/// See the [crate's documentation](crate) for what holds after `fork`.
#[derive(Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock that nobody has.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Sleeps until nobody else has the value.
    ///
    /// The calling thread must have no lock of this crate. A panic of somebody who had this one
    /// is of no concern: what is guarded is left whole at every point where code may panic.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let inside = fork::enter();
        MutexGuard {
            value: self.0.lock().unwrap_or_else(sync::PoisonError::into_inner),
            _inside: inside,
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// The value of a [`Mutex`], until dropped.
// In this order: a fork goes on once the lock is free.
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct MutexGuard<'a, T> {
    value: sync::MutexGuard<'a, T>,
    _inside: fork::Inside,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard").finish_non_exhaustive()
    }
}
