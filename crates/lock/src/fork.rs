//! What `fork` waits for.
//!
//! Whoever has a lock of this crate, or waits for one, is *inside*: it shares a gate, which a thread that
//! forks has for itself from before the child is made until it is there. So at that moment nobody is inside:
//! all locks are free, nobody waits for any of them, and all that they guard is whole. The gate is the only
//! thing that the child finds taken. It belongs to the thread that lives on there, which puts up a
//! new one.

cfg_if::cfg_if! {
    // (Miri's machine makes no processes.)
    if #[cfg(all(unix, not(miri)))] {
        mod posix;
        pub(crate) use posix::{Inside, enter};
        pub use posix::call_in_children;
    } else {
        /// The right to have a lock, until dropped.
        pub(crate) struct Inside;

        /// Nobody forks here.
        pub(crate) fn enter() -> Inside {
            Inside
        }

        /// Nobody forks here, so that there is nothing to call `hook` for.
        pub fn call_in_children(_hook: extern "C" fn()) {}
    }
}
