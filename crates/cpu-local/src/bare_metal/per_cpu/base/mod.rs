//! The CPU's base register: one file per instruction set, and one for feature
//! `custom-base`, each with the same items in the same order:
//!
//! | item | what |
//! | --- | --- |
//! | `displace` | the address of this CPU's copy of the static at an address in the template |
//! | `base` | the address of this CPU's area, 0 if it was never set |
//! | `set_base` | sets it |
//!
//! `displace` reads the register anew each time: its assembly is not `pure`, so
//! that compilers neither reuse nor move what was read, and the sum is made in
//! assembly, so that they don't take the copy for a part of the template's static.
//! Exception handlers get here, before anything is known of what they
//! interrupted: no allocation, no lock, no formatting, no panic.

cfg_if::cfg_if! {
    if #[cfg(feature = "custom-base")] {
        mod custom;
        pub(super) use custom::*;
    } else if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub(super) use x86_64::*;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub(super) use aarch64::*;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        pub(super) use riscv64::*;
    } else {
        compile_error!(
            "trapline-cpu-local has no file for this instruction set in src/bare_metal/per_cpu/base: enable feature `custom-base`, or `single-cpu` for images that use one CPU only"
        );
    }
}
