//! The registers of interrupted code, in the `ucontext_t` that the kernel
//! hands to a signal handler.
//!
//! One file per instruction set, each with the same items in the same order;
//! what can be said once for all of them is said here. Reached from the handler:
//! nothing here allocates, locks, formats or panics (indices into arrays are
//! constants within bounds).

use libc::{c_int, siginfo_t, ucontext_t};

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        #[path = "x86_64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "aarch64")] {
        #[path = "aarch64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "riscv64")] {
        #[path = "riscv64.rs"]
        mod isa;
    } else if #[cfg(target_arch = "s390x")] {
        #[path = "s390x.rs"]
        mod isa;
    }
}

pub(crate) use isa::{frame_pointer, stack_pointer, write_resume};

/// The longest instruction, in bytes, where [`isa::TRAPS_COMPLETE`].
const LONGEST_INSTRUCTION: usize = 6;

/// Whether `signal` says that an instruction was carried out: the saved program
/// counter is already past it.
const fn is_past_the_instruction(signal: c_int) -> bool {
    isa::TRAPS_COMPLETE && matches!(signal, libc::SIGILL | libc::SIGFPE)
}

/// The address to look up in the trap table.
///
/// Where the program counter is past the instruction, that is the byte before
/// it, which belongs to the instruction; this is how compilers for such
/// processors record these traps.
pub(crate) fn trap_pc(context: &ucontext_t, signal: c_int) -> usize {
    let pc = isa::program_counter(context);
    pc.wrapping_sub(usize::from(is_past_the_instruction(signal)))
}

/// Whether returning from the handler runs the instruction again that `signal`
/// was raised for.
pub(crate) const fn returning_repeats(signal: c_int) -> bool {
    !is_past_the_instruction(signal)
}

/// Whether a signal with the `si_code` of `kill`, 0, is nevertheless the
/// processor's.
///
/// On s390x Linux reports compare-and-trap as `SIGFPE` with code 0, and the
/// address of the instruction in `si_addr`: right behind the program counter. For
/// a signal that somebody sent, the same bytes hold a process and a user number.
pub(crate) fn raised_by_processor_with_code_zero(
    context: &ucontext_t,
    signal: c_int,
    info: &siginfo_t,
) -> bool {
    // SAFETY: with code 0 the bytes are initialised, whichever of the two
    // meanings they have.
    let address = unsafe { info.si_addr() }.addr();
    let behind = isa::program_counter(context).wrapping_sub(address);
    signal == libc::SIGFPE && is_past_the_instruction(signal) && behind <= LONGEST_INSTRUCTION
}
