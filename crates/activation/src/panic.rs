//! Host panics, around guest frames that nobody can unwind.
//!
//! | | who unwinds |
//! | --- | --- |
//! | feature `std` | `std::panic` |
//! | feature `unwinding`, bare metal | the crate `unwinding` |
//! | else | nobody: a panic goes to the image's panic handler and stays there |
//!
//! # What a kernel brings along for `unwinding`
//!
//! * Code that can be unwound: `-Cpanic=unwind`, with `core` and `alloc` built the
//!   same way (`-Zbuild-std=core,alloc`), since bare-metal targets abort by
//!   default. The crate needs unstable features of Rust, trapline itself none.
//! * The symbols that its `fde-static` asks for: `__executable_start` and
//!   `__etext` around the text, and `__eh_frame` at the start of an `.eh_frame`
//!   that is kept (`KEEP`) and ends with a word of zero; `.gcc_except_table` is
//!   kept, too.
//! * A global allocator, which holds the payloads.
//! * A `#[panic_handler]` that ends in `unwinding::panic::begin_panic(payload)`;
//!   the payload is what [`catch`] gives. If that returns, nobody catches the
//!   panic, or it would leave a function that must not unwind (a destructor that
//!   runs because of a panic, an `extern "C"` function): the handler stops the CPU.
//!
//! There is no count of panics to be kept right, unlike with `std`: `core` has
//! none, and neither has `unwinding` without a panic handler of its own. A kernel
//! that counts for itself counts calls of its handler, which [`resume`] does not call.

use alloc::boxed::Box;
use core::any::Any;

/// Runs `f`; a panic in it comes back as its payload.
///
/// # Errors
///
/// The payload of a panic in `f`; none, where nobody unwinds.
#[inline]
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    unwinder::catch(f)
}

/// Goes on with a panic that [`catch`] caught. The panic hook, or the image's
/// panic handler, is not called again.
///
/// # Panics
///
/// Always. On bare metal, where nobody up the stack catches it, with a panic of
/// its own that says so to the image's panic handler.
#[cold]
pub fn resume(payload: Box<dyn Any + Send>) -> ! {
    unwinder::resume(payload)
}

cfg_if::cfg_if! {
    if #[cfg(feature = "std")] {
        mod unwinder {
            use super::{Any, Box};

            #[inline]
            pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
                // Whoever catches this resumes it on the other side of the guest
                // frames: nothing sees the broken invariants that `UnwindSafe`
                // warns of that would not see them without us.
                std::panic::catch_unwind(core::panic::AssertUnwindSafe(f))
            }

            pub(super) fn resume(payload: Box<dyn Any + Send>) -> ! {
                std::panic::resume_unwind(payload)
            }
        }
    } else if #[cfg(all(feature = "unwinding", target_os = "none"))] {
        mod unwinder {
            use super::{Any, Box};

            #[inline]
            pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
                unwinding::panic::catch_unwind(f)
            }

            pub(super) fn resume(payload: Box<dyn Any + Send>) -> ! {
                // Comes back only if the search for somebody who catches it has
                // failed; nothing has been unwound then.
                let code = unwinding::panic::begin_panic(payload);
                panic!("a host panic came out of a guest, and nobody catches it (unwinder's reason {})", code.0)
            }
        }
    } else {
        mod unwinder {
            use super::{Any, Box};

            #[inline]
            #[expect(clippy::unnecessary_wraps, reason = "the same signature everywhere")]
            pub(super) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
                Ok(f())
            }

            pub(super) fn resume(payload: Box<dyn Any + Send>) -> ! {
                drop(payload);
                panic!("a host panic was recorded, but this build of trapline-activation has no unwinder to go on with it (feature `std`, on bare metal `unwinding`)")
            }
        }
    }
}
