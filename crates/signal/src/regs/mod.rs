//! The registers of interrupted code, in the `ucontext_t` that the kernel
//! hands to a signal handler.
//!
//! All that is asked for is its `mcontext_t`: the kernel's `ucontext_t` is shorter than
//! the C library's, so that a reference to the whole would reach beyond what is there.
//!
//! One file per instruction set, each with the same items in the same order;
//! what can be said once for all of them is said here. Reached from the handler:
//! nothing here allocates, locks, formats or panics (indices into arrays are
//! constants within bounds).

use libc::{c_int, mcontext_t, siginfo_t};

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
pub(crate) fn trap_pc(registers: &mcontext_t, signal: c_int) -> usize {
    let pc = isa::program_counter(registers);
    pc.wrapping_sub(usize::from(is_past_the_instruction(signal)))
}

/// Whether returning from the handler runs the instruction again that `signal`
/// was raised for.
pub(crate) const fn returning_repeats(signal: c_int) -> bool {
    !is_past_the_instruction(signal)
}

/// Makes returning from the handler run the instruction again that `signal` was
/// raised for by the processor.
pub(crate) fn repeat_on_return(registers: &mut mcontext_t, signal: c_int, info: &siginfo_t) {
    if is_past_the_instruction(signal) {
        // SAFETY: for these two signals, raised by the processor, the kernel puts the
        // address of the instruction there (`get_trap_ip` in its
        // `arch/s390/kernel/traps.c`).
        let instruction = unsafe { info.si_addr() }.addr();
        isa::set_program_counter(registers, instruction);
    }
}

/// Whether a signal with the `si_code` of `kill`, 0, is nevertheless the
/// processor's.
///
/// On s390x Linux reports compare-and-trap as `SIGFPE` with code 0, and the
/// address of the instruction in `si_addr`: right behind the program counter. For
/// a signal that somebody sent, the same bytes hold a process and a user number.
pub(crate) fn raised_by_processor_with_code_zero(
    registers: &mcontext_t,
    signal: c_int,
    info: &siginfo_t,
) -> bool {
    // SAFETY: with code 0 the bytes are initialised, whichever of the two
    // meanings they have.
    let address = unsafe { info.si_addr() }.addr();
    let behind = isa::program_counter(registers).wrapping_sub(address);
    signal == libc::SIGFPE && is_past_the_instruction(signal) && behind <= LONGEST_INSTRUCTION
}
