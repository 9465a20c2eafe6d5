//! What runs when a signal arrives.
//!
//! # The rule of this module
//!
//! Everything in this folder and in `regs` runs in signal handlers, at an
//! arbitrary point of an arbitrary thread: in the middle of `malloc`, of a lock
//! operation, of the making of a thread-local. So nothing here
//!
//! * allocates or frees,
//! * takes a lock, or waits for another thread in any way,
//! * formats (`core::fmt` is out: nobody promises what it calls),
//! * touches a thread-local of ours (`errno` belongs to the C library, has its
//!   place in every thread from the start, and is put back),
//! * panics: no indexing by what is not a constant, no `unwrap`, no arithmetic
//!   that may overflow,
//! * calls anything but system calls, the functions that POSIX lists as
//!   async-signal-safe, and `trapline_activation::try_handle_wasm_exception`,
//!   which has the same rule.
//!
//! New code here keeps to it, and brings no new dependency. The tests in
//! `tests/hosted` have an allocator that stops the process if anything allocates
//! or frees on a signal stack.

pub(crate) mod diagnosis;
pub(crate) mod direct;
mod escape;
mod forward;
mod line;
mod origin;
pub(crate) mod previous;

use libc::{c_int, c_void, mcontext_t, siginfo_t, stack_t, ucontext_t};
use trapline_activation::{Interrupted, Outcome, try_handle_wasm_exception};
use trapline_arch::{Resume, VirtualAddress};
use trapline_code_registry::is_hlt;

use crate::regs;
use diagnosis::Why;
use origin::Origin;

/// The handler of all four signals.
///
/// # Safety
///
/// * Called by the kernel, or by another handler that passes on what the kernel
///   gave it: `info` and `context` are those of a signal that interrupted this
///   thread, and returning goes on with what `context` says then.
/// * `entry_sp` is the stack pointer that [`direct::entry`] was called with.
//
// "C-unwind", since a handler that we forward to may end its thread with
// `pthread_exit`, which unwinds through us. Nothing here has a destructor.
pub(crate) unsafe extern "C-unwind" fn handle(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
    entry_sp: usize,
) {
    // SAFETY: the C library's own `errno` of this thread, as above; it always
    // exists.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: `errno` is readable.
    let errno_before = unsafe { *errno };

    // The kernel's `ucontext_t` is shorter than the C library's, and the details
    // lie where the latter's end would be: only the parts that are asked for are
    // referred to, and what is written to is written through the pointer, never while
    // a reference is in use.
    let machine_context = context.cast::<ucontext_t>();
    // SAFETY: both pointers are the kernel's, by this function's duty, and
    // nobody else uses what they point to until we return or pass them on.
    let (origin, verdict) = unsafe {
        let origin = Origin::of(signal, &*info, &(*machine_context).uc_mcontext);
        let verdict = if origin.may_be_a_trap {
            try_as_trap(signal, info, machine_context)
        } else {
            Verdict::NotOurs
        };
        (origin, verdict)
    };

    // SAFETY: `errno` is writable. Interrupted code, and whoever we forward to,
    // sees the value that it would see without us.
    unsafe { *errno = errno_before };

    match verdict {
        // SAFETY: the pointers are the kernel's, by this function's duty, and
        // the references made of them above are gone.
        Verdict::NotOurs => unsafe { forward::forward(signal, info, context, origin) },
        Verdict::Repeat => {}
        Verdict::Leave(resume) => {
            // SAFETY: `entry` tells its stack pointer, and passes on what it got. What is
            // interrupted is the guest, which is left with these registers; no frame of
            // the handler has a destructor.
            unsafe { direct::try_jump(entry_sp, info, context, &resume) };
            // SAFETY: the kernel's, by this function's duty; no reference to it is in use.
            resume_at(unsafe { &mut (*machine_context).uc_mcontext }, &resume);
        }
    }
}

/// What a signal is.
enum Verdict {
    /// None of our concern.
    NotOurs,
    /// A fault whose cause is gone: the context says that the instruction runs again.
    Repeat,
    /// A trap of a guest on this thread, which is to be left with these registers.
    Leave(Resume),
}

/// Whether the signal was a trap of a guest on this thread.
///
/// # Safety
///
/// * `info` and `context` are those of a signal that the processor raised on
///   this thread.
unsafe fn try_as_trap(
    signal: c_int,
    info: *const siginfo_t,
    machine_context: *mut ucontext_t,
) -> Verdict {
    // SAFETY: both are the kernel's, by this function's duty, and only read
    // until the registers are written below.
    let (info, registers, alternate_stack) = unsafe {
        (
            &*info,
            &(*machine_context).uc_mcontext,
            &(*machine_context).uc_stack,
        )
    };
    let pc = VirtualAddress::new(regs::trap_pc(registers, signal));
    let not_ours = |why| {
        diagnosis::tell(signal, pc.get(), &why);
        Verdict::NotOurs
    };
    if interrupted_a_handler(registers, alternate_stack) {
        return not_ours(Why::OnSignalStack);
    }
    // SAFETY: asked for only when `pc` is known to be a trap site of compiled code.
    let interrupted = |trap| unsafe {
        Interrupted {
            fp: VirtualAddress::new(regs::frame_pointer(registers, signal, trap)),
            faulting_addr: faulting_address(signal, info, pc),
        }
    };
    // SAFETY: these registers are of code that was interrupted on this thread,
    // which does not go on before we return.
    match unsafe { try_handle_wasm_exception(pc, interrupted) } {
        Err(why) => not_ours(Why::Not(why)),
        Ok(Outcome::Retry) => {
            // SAFETY: the kernel's, by this function's duty; the references to the
            // context above are not used any more.
            let registers = unsafe { &mut (*machine_context).uc_mcontext };
            regs::repeat_on_return(registers, signal, info);
            Verdict::Repeat
        }
        Ok(Outcome::Resume(resume)) => Verdict::Leave(resume),
        Ok(Outcome::SandboxEscape(escape)) => escape::report_and_stop(&escape),
    }
}

/// Leaves the handler for `resume`: by way of the interrupted context, which
/// the kernel loads when the handler returns.
///
/// This works wherever signals do: what the kernel keeps of the signal, on the
/// alternate stack and on a shadow stack, it takes away itself.
fn resume_at(registers: &mut mcontext_t, resume: &Resume) {
    regs::write_resume(registers, resume);
}

/// Whether the interrupted code ran on this thread's alternate stack: then it
/// was itself a signal handler, ours or another's, and no guest. Such a fault
/// is a bug in the handler, to be passed on and not to be handled again.
fn interrupted_a_handler(registers: &mcontext_t, stack: &stack_t) -> bool {
    // No alternate stack: the kernel says size 0.
    regs::stack_pointer(registers)
        .checked_sub(stack.ss_sp.addr())
        .is_some_and(|offset| offset < stack.ss_size)
}

/// Stands for a data address that the processor does not tell: one that is in
/// no guest's memory, and not in the page at address 0 either, on any machine.
const NOT_TOLD: VirtualAddress = VirtualAddress::new(1 << 63);

/// The data address that could not be accessed, for the signals that have one.
///
/// As the processor tells it: on s390x that is the start of its page of 4096 bytes,
/// and on aarch64 without the top byte, which is not looked at for the access
/// either.
///
/// # Safety
///
/// * `info` is of a signal that the processor raised for the instruction at `pc`, which is a
///   trap site of compiled code.
unsafe fn faulting_address(
    signal: c_int,
    info: &siginfo_t,
    pc: VirtualAddress,
) -> Option<VirtualAddress> {
    match signal {
        // x86_64 does not tell a non-canonical address; Linux then says that the
        // signal is its own, and address 0 (general protection is SIGSEGV, a
        // stack-segment fault SIGBUS: `arch/x86/kernel/traps.c`). Taken at its
        // word, an access far outside of every memory would pass for one of a
        // null reference. On the other processors such an address is an ordinary
        // page fault, and told.
        //
        // An instruction that user code may not execute ends in the same way. Trap sites
        // have one where they trap by `hlt`, which accesses nothing.
        libc::SIGSEGV | libc::SIGBUS if info.si_code == libc::SI_KERNEL => {
            // SAFETY: compiled code, by this function's duty: the processor has just read
            // this instruction, and so can we.
            let first_byte = unsafe { pc.as_mut_ptr::<u8>().read() };
            (!is_hlt(first_byte)).then_some(NOT_TOLD)
        }
        // SAFETY: for signals raised by the processor (the caller made sure)
        // the kernel fills in `si_addr`.
        libc::SIGSEGV | libc::SIGBUS => Some(VirtualAddress::new(unsafe { info.si_addr() }.addr())),
        // For the others it is the address of the instruction, which says
        // nothing that the program counter does not.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use trapline_code_registry::TrapKind;

    use super::*;

    fn stack(base: usize, size: usize) -> stack_t {
        stack_t {
            ss_sp: core::ptr::without_provenance_mut(base),
            ss_flags: 0,
            ss_size: size,
        }
    }

    fn resumed_at(resume: &Resume) -> mcontext_t {
        // SAFETY: a structure of integers, arrays and pointers: all zeros is a
        // value of it.
        let mut registers: mcontext_t = unsafe { core::mem::zeroed() };
        resume_at(&mut registers, resume);
        registers
    }

    fn with_stack_pointer(sp: usize) -> mcontext_t {
        resumed_at(&Resume {
            pc: 0,
            sp,
            fp: 0,
            payload: [0; 2],
        })
    }

    #[test]
    fn a_fault_on_the_alternate_stack_is_one_in_a_handler() {
        let on = |sp| interrupted_a_handler(&with_stack_pointer(sp), &stack(0x1000, 0x100));
        assert!(!on(0xfff));
        assert!(on(0x1000));
        assert!(on(0x10ff));
        assert!(!on(0x1100));
    }

    #[test]
    fn without_an_alternate_stack_no_fault_is_on_it() {
        for sp in [0, 1, usize::MAX] {
            assert!(!interrupted_a_handler(
                &with_stack_pointer(sp),
                &stack(0, 0)
            ));
        }
    }

    #[test]
    fn a_resume_is_what_the_context_then_holds() {
        // On s390x the frame pointer is the word that the stack pointer points to.
        let back_chain = 0x33_usize;
        let resume = Resume {
            pc: 0x11,
            sp: (&raw const back_chain).expose_provenance(),
            fp: back_chain,
            payload: [0x44, 0x55],
        };
        let registers = resumed_at(&resume);
        assert_eq!(regs::trap_pc(&registers, libc::SIGSEGV), 0x11);
        assert_eq!(regs::stack_pointer(&registers), resume.sp);
        // SAFETY: the stack pointer points to a word.
        let fp =
            unsafe { regs::frame_pointer(&registers, libc::SIGSEGV, TrapKind::MemoryOutOfBounds) };
        assert_eq!(fp, 0x33);
    }

    #[test]
    fn an_address_that_the_kernel_does_not_know_is_not_the_null_page() {
        let address = |signal, code| faulting_address_at(&LOAD, signal, code);
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            assert_eq!(address(signal, 1), Some(VirtualAddress::NULL));
            assert_eq!(address(signal, libc::SI_KERNEL), Some(NOT_TOLD));
        }
        assert_eq!(address(libc::SIGILL, libc::SI_KERNEL), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_trap_by_hlt_has_no_address_and_an_access_that_is_told_has_one_whatever_the_instruction() {
        let address = |signal, code| faulting_address_at(&HLT, signal, code);
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            assert_eq!(address(signal, libc::SI_KERNEL), None);
            // The page with the code is gone.
            assert_eq!(address(signal, 1), Some(VirtualAddress::NULL));
        }
    }

    /// `mov eax, [rax]`.
    const LOAD: [u8; 2] = [0x8b, 0x00];

    /// `ud2` that was made `hlt`.
    #[cfg(target_arch = "x86_64")]
    const HLT: [u8; 2] = [0xf4, 0x0b];

    fn faulting_address_at(
        instruction: &[u8; 2],
        signal: c_int,
        code: c_int,
    ) -> Option<VirtualAddress> {
        // SAFETY: a structure of integers and pointers: all zeros is a value of it.
        let mut info: siginfo_t = unsafe { core::mem::zeroed() };
        info.si_code = code;
        let pc = VirtualAddress::from_ptr(instruction.as_ptr());
        // SAFETY: the bytes at `pc` can be read, which is all that is asked for.
        unsafe { faulting_address(signal, &info, pc) }
    }
}
