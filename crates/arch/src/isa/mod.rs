//! One file per instruction set, each with the same items in the same order:
//!
//! | item | what |
//! | --- | --- |
//! | `FP_ALIGN` | alignment in bytes of a frame pointer |
//! | `NEXT_OLDER_PC_FROM_FP_OFFSET` | where the return address lies |
//! | `NEXT_OLDER_FP_FROM_FP_OFFSET` | where the caller's frame pointer lies |
//! | `NEXT_OLDER_SP_FROM_FP_OFFSET` | what the caller's stack pointer was |
//! | `strip_return_address` | the address in a stored return-address word |
//! | `is_canonical` | would the paging hardware take this address |
//! | `stack_pointer` | reads the stack pointer |
//! | `call_with_setjmp_raw` | saves the context and calls a function |
//! | `resume_jump` | loads a `Resume` and goes there |
//! | `detour_stack_pointer` | where a detour's stack starts, below a frame |
//! | `detour_entry` | where a detour starts |
//! | `registers` | for tests: sets, ruins and reads what a callee keeps |

// The assembly takes its arguments where the System V ABI of its instruction set has
// them, and keeps what that keeps.
#[cfg(any(windows, target_os = "uefi", target_os = "cygwin"))]
compile_error!("trapline-arch has no files for the calling conventions of Windows and UEFI");

/// Has the unwind information of a file's assembly lie where unwinders look, in `.eh_frame`.
///
/// Of code that does not unwind compilers write it for debuggers only (`.debug_frame`), and decide that
/// for a whole object by the functions in it, which naked ones are not. Incremental builds, optimised or not, have an
/// object for each file, where with address sanitizer the only function is the sanitizer's own, which does
/// not unwind. So there has to be one that might. (Images, where each byte counts, are without in release.)
macro_rules! unwind_tables {
    () => {
        #[cfg(any(debug_assertions, not(target_os = "none")))]
        #[used]
        static UNWIND_TABLES: fn() = {
            #[inline(never)]
            fn may_unwind() {}
            may_unwind
        };
    };
}

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub use x86_64::*;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub use aarch64::*;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        pub use riscv64::*;
    } else if #[cfg(target_arch = "s390x")] {
        mod s390x;
        pub use s390x::*;
    } else {
        compile_error!("trapline-arch has no file for this instruction set in src/isa");
    }
}
