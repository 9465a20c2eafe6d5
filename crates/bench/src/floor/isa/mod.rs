//! What the floors need in assembly.
//!
//! One file per instruction set (and operating system), each with the same items in the same
//! order; where something is not written down, it is `None`.
//!
//! | item | what |
//! | --- | --- |
//! | `SET_AND_JUMP` | `setjmp`, then `longjmp` to it, in a buffer of 1 KiB |
//! | `faulting` | a function with an instruction that faults |
//! | `redirect` | makes an interrupted context go on elsewhere |
//! | `leave` | goes on elsewhere |

cfg_if::cfg_if! {
    if #[cfg(all(target_os = "linux", target_arch = "x86_64"))] {
        mod x86_64;
        pub(super) use x86_64::{SET_AND_JUMP, faulting, leave, redirect};
    } else if #[cfg(all(target_os = "linux", target_arch = "aarch64"))] {
        mod aarch64;
        pub(super) use aarch64::{SET_AND_JUMP, faulting, leave, redirect};
    } else {
        mod other;
        pub(super) use other::{SET_AND_JUMP, faulting, leave, redirect};
    }
}

/// See the module.
type SetAndJump = unsafe extern "C" fn(*mut u8);
