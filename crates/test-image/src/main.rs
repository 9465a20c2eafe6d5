//! Guests, the specification's tests and scenarios of trapline's own, in an
//! image that needs no operating system.
//!
//! * `isa`: the machines. One file each, all with the same items.
//! * `kernel`: what a small kernel is made of. It uses trapline's published crates
//!   as any kernel would: `kernel/platform.rs` is the memory that guests get,
//!   `kernel/traps.rs` where the exceptions arrive.
//! * `tests`: what is run on it.
//!
//! Built for a target with an operating system this is a process instead, which
//! runs the same guests and scripts (`hosted`).
#![cfg_attr(target_os = "none", no_std, no_main)]
// For the panic handler; the unwinder needs a compiler that knows such features, too.
#![cfg_attr(
    all(target_os = "none", feature = "host-panics"),
    feature(panic_can_unwind)
)]

cfg_if::cfg_if! {
    if #[cfg(target_os = "none")] {
        extern crate alloc;

        mod isa;
        mod kernel;
        mod tests;
    } else {
        mod hosted;

        fn main() -> std::process::ExitCode {
            hosted::main()
        }
    }
}
