//! Hosted targets: thread-local storage.

extern crate std;

use std::thread::LocalKey;

/// A static that each CPU (here: each thread) has its own copy of; made by
/// [`cpu_local!`](crate::cpu_local).
pub struct CpuLocal<T: 'static> {
    key: &'static LocalKey<T>,
}

impl<T: 'static> CpuLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(key: &'static LocalKey<T>) -> Self {
        Self { key }
    }

    /// Calls `f` with this thread's copy.
    ///
    /// # Panics
    ///
    /// If the copy was dropped already: only for types that have a destructor,
    /// and only while the thread ends.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.key.with(f)
    }
}

#[doc(hidden)]
pub mod macro_support {
    pub use super::std::thread_local;
}

// The declared name is a constant, as std's own are: with a static, code in
// other crates would have to load the key at run time to call through it.

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_const {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:block) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            $crate::macro_support::thread_local! { static __TRAPLINE_COPY: $t = const $init; }
            $crate::CpuLocal::new(&__TRAPLINE_COPY)
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_lazy {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:expr) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            $crate::macro_support::thread_local! { static __TRAPLINE_COPY: $t = $init; }
            $crate::CpuLocal::new(&__TRAPLINE_COPY)
        };
    };
}
