//! The registers of interrupted code, in the `ucontext_t` that the kernel
//! hands to a signal handler. One file per instruction set, each with the same
//! items in the same order. Reached from the handler: nothing here allocates,
//! locks, formats or panics (indices into arrays are constants within bounds).

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub(crate) use x86_64::*;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub(crate) use aarch64::*;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        pub(crate) use riscv64::*;
    } else if #[cfg(target_arch = "s390x")] {
        mod s390x;
        pub(crate) use s390x::*;
    }
}
