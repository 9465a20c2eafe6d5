//! What `cpu_local!` makes on bare metal, wherever the copies are.

/// A static that each CPU has its own copy of; made by
/// [`cpu_local!`](crate::cpu_local).
pub struct CpuLocal<T: 'static> {
    this_cpu: fn() -> &'static T,
}

impl<T: 'static> CpuLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(this_cpu: fn() -> &'static T) -> Self {
        Self { this_cpu }
    }

    /// Calls `f` with this CPU's copy.
    ///
    /// # Panics
    ///
    /// If the initialiser of a lazy static asks for the same static.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f((self.this_cpu)())
    }
}

#[doc(hidden)]
pub mod macro_support {
    pub use super::super::Slot;
    pub use super::super::lazy::LazySlot;
}

// The declared name is a constant, as on hosted targets: code in other crates
// knows which function it calls, and can have it inlined.

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_const {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:block) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            $crate::__cpu_local_slot!(__TRAPLINE_COPY: $t = $init);
            $crate::CpuLocal::new(|| __TRAPLINE_COPY.this_cpu())
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cpu_local_lazy {
    ($(#[$attr:meta])* $vis:vis $name:ident, $t:ty, $init:expr) => {
        $(#[$attr])*
        $vis const $name: $crate::CpuLocal<$t> = {
            $crate::__cpu_local_slot!(
                __TRAPLINE_COPY: $crate::macro_support::LazySlot<$t> =
                    $crate::macro_support::LazySlot::new()
            );
            $crate::CpuLocal::new(|| __TRAPLINE_COPY.this_cpu().get_or_init(|| $init))
        };
    };
}
