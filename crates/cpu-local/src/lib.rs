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
//! Every CPU has an *area* of memory with a copy of each static, and finds it by
//! a register:
//!
//! | | base register | an access |
//! | --- | --- | --- |
//! | x86_64 | IA32_GS_BASE | 2 instructions, one of them a load |
//! | aarch64 | TPIDR_EL1 (TPIDR_EL2 with feature `tpidr-el2`) | 5, one a load |
//! | riscv64 | `tp` | 4, one a load |
//! | any, with feature `custom-base` | the embedder's function | a call |
//! | any, with feature `single-cpu` | none: the image uses one CPU | the static itself |
//!
//! The first values lie in the section `.trapline.cpu_local`, the template. A
//! kernel does three things:
//!
//! 1. It has [`LINKER_FRAGMENT`] in its linker script.
//! 2. For each CPU it allocates an area as `area_layout()` says.
//! 3. Each CPU calls `init_cpu(area)` before anything on it uses a CPU-local.
//!
//! If several features are on (cargo unites what the crates of an image ask
//! for), `custom-base` wins over `single-cpu`, and both over the register.
//! The functions exist in all cases.
//!
//! ## The linker script
//!
//! The fragment is the file `cpu_local.ld` of this package. A build script that
//! has this crate in its `[build-dependencies]` as well can put it where the
//! linker looks for it:
//!
//! ```no_run
//! let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
//! std::fs::write(out.join("cpu_local.ld"), trapline_cpu_local::LINKER_FRAGMENT).unwrap();
//! println!("cargo::rustc-link-search={}", out.display());
//! ```
//!
//! ```text
//! SECTIONS
//! {
//!     …
//!     .data : { *(.data .data.*) }
//!     INCLUDE cpu_local.ld
//!     .bss : { *(.bss .bss.*) }
//! }
//! ```
//!
//! It can as well be pasted. GNU ld and LLD take it, with and without
//! `--gc-sections`, for images at a fixed address and position-independent
//! ones.
//!
//! ## What a bare-metal image promises
//!
//! CPU-locals are used by safe code, which relies on the kernel that it is a part
//! of. Linking this crate into a bare-metal image is the promise that
//!
//! * no CPU uses a CPU-local before `init_cpu` has returned on it. The startup
//!   code of a CPU sets the base register to 0, if `is_cpu_ready()` is to tell
//!   early code (a panic handler) the truth; with 0 in the register and the
//!   page at address 0 unmapped, an access that comes too early faults;
//! * the base register keeps its value while the kernel runs. Where less
//!   privileged code may change it, each way into the kernel puts it back before
//!   Rust code runs: on x86_64 by `swapgs` where the interrupted code was user
//!   code (and no kernel code loads a selector into `gs`, which clears the base);
//!   on riscv64 by loading `tp` from what `sscratch` points to; aarch64 has a
//!   register that less privileged code cannot write;
//! * code is not moved to another CPU between reading the base and the last use
//!   of what it found: inside of [`CpuLocal::with`] and the functions that call it.
//!   A kernel that preempts its own threads keeps them on their CPU there. Guest
//!   code uses no CPU-locals: where it is interrupted makes no difference;
//! * the CPUs' areas stay where they are. A CPU that was switched off and comes
//!   back may have its area again with all its copies: the kernel sets the base
//!   register itself, which holds the area's address.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// Alignment of an area, in bytes, and the largest that a CPU-local may have.
///
/// Two cache lines of 64 bytes, which x86_64 CPUs fetch in pairs, or one of 128
/// bytes, which some aarch64 CPUs have: no CPU's writes slow down its neighbour.
pub const AREA_ALIGN: usize = 128;

/// The part of a linker script that a bare-metal image with more than one CPU
/// needs: the contents of the file `cpu_local.ld` of this package.
pub const LINKER_FRAGMENT: &str = include_str!("../cpu_local.ld");

cfg_if::cfg_if! {
    if #[cfg(target_os = "none")] {
        mod bare_metal;
        pub use bare_metal::{CpuLocal, area_layout, init_cpu, is_cpu_ready};
        #[doc(hidden)]
        pub use bare_metal::macro_support;
    } else {
        mod hosted;
        pub use hosted::CpuLocal;
        #[doc(hidden)]
        pub use hosted::macro_support;
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
