//! Storage that each CPU, or each thread, has its own copy of.
//!
//! [`cpu_local!`] declares statics like
//! [`thread_local!`](https://doc.rust-lang.org/std/macro.thread_local.html)
//! does. On a hosted target they are thread-local storage; on bare metal
//! (`target_os = "none"`) they are per-CPU data. Code that uses them is the
//! same on both:
//!
//! ```
//! use core::cell::{Cell, RefCell};
//! use trapline_cpu_local::cpu_local;
//!
//! cpu_local! {
//!     /// How often this CPU went by here.
//!     pub static COUNT: Cell<u32> = const { Cell::new(0) };
//!     static NAMES: RefCell<Vec<String>> = RefCell::new(vec![String::from("boot")]);
//! }
//!
//! COUNT.set(COUNT.get() + 1);
//! assert_eq!(COUNT.replace(5), 1);
//! assert_eq!(COUNT.take(), 5);
//! NAMES.with(|names| assert_eq!(names.borrow().len(), 1));
//! ```
//!
//! Access is by shared reference only, so the types have their own interior
//! mutability (`Cell`, `RefCell`). They need not be `Sync`.
//!
//! # `const` or lazy
//!
//! A static declared `= const { … }` is in place from the start: reading it
//! allocates nothing and runs no initialiser (apart from what the dynamic
//! loader does for a library loaded with `dlopen`, whose thread-local block is
//! allocated when a thread first touches it). One declared `= …` runs its
//! initialiser on the first access of each CPU; never touch such a one first
//! from a signal or exception handler.
//!
//! # Migration
//!
//! What [`CpuLocal::with`] hands out belongs to the CPU (thread) it was called
//! on. Code that may be moved to another one in the middle (a fiber that
//! suspends inside the closure) must not hold on to it; and it must not be
//! inlined into a function that suspends, since compilers may reuse an address
//! that they computed before the suspension.
//!
//! # Bare metal
//!
//! With feature `single-cpu`, a bare-metal image keeps one copy for its only
//! CPU.
#![no_std]

cfg_if::cfg_if! {
    if #[cfg(not(target_os = "none"))] {
        mod hosted;
        pub use hosted::CpuLocal;
        #[doc(hidden)]
        pub use hosted::macro_support;
    } else if #[cfg(feature = "single-cpu")] {
        mod single_cpu;
        pub use single_cpu::CpuLocal;
        #[doc(hidden)]
        pub use single_cpu::macro_support;
    } else {
        compile_error!(
            "trapline-cpu-local on bare metal needs to know where a CPU's copy is: enable feature `single-cpu` for images that use one CPU only"
        );
    }
}

/// Declares statics that each CPU (hosted: each thread) has its own copy of.
///
/// `cpu_local! { [pub] static NAME: T = const { init }; … }` initialises at
/// compile time, `cpu_local! { [pub] static NAME: T = init; … }` on each CPU's
/// first access. Any number of statics may be declared in one call; attributes
/// and visibility are kept. Each becomes a [`CpuLocal<T>`](CpuLocal).
#[macro_export]
macro_rules! cpu_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block; $($rest:tt)*) => {
        $crate::__cpu_local_const!($(#[$attr])* $vis $name, $t, $init);
        $crate::cpu_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block) => {
        $crate::__cpu_local_const!($(#[$attr])* $vis $name, $t, $init);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::__cpu_local_lazy!($(#[$attr])* $vis $name, $t, $init);
        $crate::cpu_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        $crate::__cpu_local_lazy!($(#[$attr])* $vis $name, $t, $init);
    };
}

impl<T> CpuLocal<core::cell::Cell<T>> {
    /// The value of this CPU's copy.
    #[inline]
    #[must_use]
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.with(core::cell::Cell::get)
    }

    /// Sets this CPU's copy.
    #[inline]
    pub fn set(&self, value: T) {
        self.with(|cell| cell.set(value));
    }

    /// Takes the value of this CPU's copy, and leaves the default there.
    #[inline]
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.with(core::cell::Cell::take)
    }

    /// Sets this CPU's copy and gives what it was.
    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T> core::fmt::Debug for CpuLocal<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CpuLocal").finish_non_exhaustive()
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
