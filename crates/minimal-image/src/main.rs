//! The smallest kernel that uses all of trapline: `docs/sizes.md` says how much of
//! its image trapline is.
//!
//! * `isa`: the machines, from the test image.
//! * `kernel`: what a kernel has without trapline, too: a heap, a log, a panic handler.
//! * `embedding`: what it has for trapline's sake, and so counts with it.
//! * `guest`: code to trap in, in the place of what a compiler makes.
//!
//! It is for bare metal: `cargo xtask image size` builds it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod embedding;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
#[expect(
    dead_code,
    reason = "most of it is for kernels with memory management and two CPUs"
)]
#[cfg_attr(
    target_arch = "riscv64",
    expect(clippy::modulo_one, reason = "there is one CPU here")
)]
#[path = "../../test-image/src/isa/mod.rs"]
mod isa;
#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a kernel: `cargo xtask image size` builds it for bare metal");
    std::process::ExitCode::FAILURE
}
