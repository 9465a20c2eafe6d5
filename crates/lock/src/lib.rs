//! A lock for normal context: what writers take, and no handler ever does.
//!
//! ```
//! use trapline_lock::Mutex;
//!
//! static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
//!
//! NAMES.lock().push("guest".into());
//! assert_eq!(NAMES.lock().len(), 1);
//! ```
//!
//! With the feature `std`, threads that wait for a [`Mutex`] sleep. Without it they spin: a
//! kernel has its own way to keep whoever has a lock running (preemption off, mostly).
//!
//! # One at a time
//!
//! A thread that has a [`MutexGuard`] must not take another lock of this crate, of whatever value:
//! with `std`, it may then wait for a thread that forks, which waits for it. So what runs under such a
//! lock is short, and none of it is somebody else's code.
//!
//! # After `fork`
//!
//! In a forked child only the thread exists that called `fork`. An ordinary lock that another thread
//! had at that moment stays taken there for ever, and what it guards stays half changed.
//!
//! With `std`, on Unix, `fork` waits until nobody has any lock of this crate, and nobody gets one until
//! the child is there (`pthread_atfork`). So in the child each of them is free, and what it guards is whole.
//! The handlers for that are installed when the program starts, after one allocation, which is made then.
//!
//! It needs the C library's `fork`:
//!
//! - One that bypasses it (`_Fork`, the system call `clone`) may leave locks taken: its child must take none.
//! - A signal handler must not call `fork` (POSIX.1-2024 does not allow it either): it may have interrupted
//!   a thread that has a lock, and would wait for itself.
//! - `vfork` and `posix_spawn` run no handlers and need none: their child takes no lock before it is another
//!   program.
//! - In a library that is loaded with `dlopen` the handlers are installed then. A fork that had begun waits for
//!   nobody. And whoever has a lock of their own under which they take one of this crate, and takes it along over a
//!   fork by handlers of their own, installs those afterwards: what is installed last is called first, and takes its lock first.
//!
//! Locks of others are not seen to. One of the standard library's is taken by each thread that it makes, for a moment
//! as it starts and as it ends. In a child that was forked at such a moment `std::thread::spawn` makes threads that
//! never start (seen with Rust 1.95 on Linux). Threads made by `pthread_create` do.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `std`: as said above.
#![no_std]

#[cfg(all(feature = "std", not(loom)))]
extern crate std;

cfg_if::cfg_if! {
    if #[cfg(all(feature = "std", not(loom)))] {
        mod fork;
        mod parking;
        pub use fork::call_in_children;
        pub use parking::{Mutex, MutexGuard};
    } else {
        mod spinning;
        pub use spinning::{Mutex, MutexGuard};
    }
}
