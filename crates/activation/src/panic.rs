//! Host panics, around guest frames that nobody can unwind.
//!
//! With feature `std`, [`catch`] and [`resume`] are `std`'s. Without it
//! there is nothing to catch a panic with: it goes to the image's panic handler
//! where it happens, before any guest frame is reached.

use alloc::boxed::Box;
use core::any::Any;

cfg_if::cfg_if! {
    if #[cfg(feature = "std")] {
        /// Runs `f`; a panic in it comes back as its payload.
        ///
        /// # Errors
        ///
        /// The payload of a panic in `f`.
        #[inline]
        pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
            // Whoever catches this resumes it on the other side of the guest
            // frames: nothing sees the broken invariants that `UnwindSafe`
            // warns of that would not see them without us.
            std::panic::catch_unwind(core::panic::AssertUnwindSafe(f))
        }

        /// Goes on with a panic that [`catch`] caught; the panic hook is not
        /// called again.
        ///
        /// # Panics
        ///
        /// Always.
        #[cold]
        pub fn resume(payload: Box<dyn Any + Send>) -> ! {
            std::panic::resume_unwind(payload)
        }
    } else {
        /// Runs `f`. A panic in it goes to the image's panic handler.
        ///
        /// # Errors
        ///
        /// None in this configuration.
        #[inline]
        pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
            Ok(f())
        }

        /// Panics: without an unwinder nobody can go on with a payload.
        ///
        /// # Panics
        ///
        /// Always.
        #[cold]
        pub fn resume(payload: Box<dyn Any + Send>) -> ! {
            drop(payload);
            panic!("a host panic was recorded, but this build of trapline-activation has no unwinder to go on with it (feature `std`)")
        }
    }
}
