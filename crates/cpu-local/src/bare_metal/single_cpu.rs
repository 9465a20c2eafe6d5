//! Feature `single-cpu`: the image uses one CPU, whose copy is the static itself.

use core::alloc::Layout;

/// Where a static lies that the only CPU uses in place.
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

    /// The only CPU's copy.
    #[doc(hidden)]
    #[inline]
    pub const fn this_cpu(&'static self) -> &'static T {
        &self.0
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_slot {
    ($name:ident: $t:ty = $init:expr) => {
        static $name: $crate::macro_support::Slot<$t> = $crate::macro_support::Slot::new($init);
    };
}

/// What the area of a CPU takes. Nothing is put there with feature `single-cpu`; it is a byte
/// nevertheless, so that code for all kinds of kernels can allocate it: an allocation of
/// nothing is not allowed.
#[must_use]
pub fn area_layout() -> Layout {
    Layout::new::<u8>()
}

/// Nothing is to be done with feature `single-cpu`.
///
/// # Safety
///
/// * None beyond the promise that the feature is; without it there are more.
pub unsafe fn init_cpu(_area: *mut u8) {}

/// Whether this CPU can use its copies: always, with feature `single-cpu`.
#[must_use]
pub fn is_cpu_ready() -> bool {
    true
}
