//! What an exception vector or signal handler calls.
//!
//! **Rule of this module: no allocation, no lock, no formatting, no lazily made
//! thread-local, no panic.** Everything reached from here keeps to it.
//!
//! The order is: registered code first, its trap table second, state of this
//! CPU last. Until the program counter is known to be guest code, this may be
//! any fault of anybody, in the middle of anything.

use core::ops::ControlFlow;

use trapline_arch::{Resume, VirtualAddress, detour, is_fp_aligned};
use trapline_code_registry::{TrapKind, lookup_code};

use crate::activation::{Activation, HardwareTrap, head};
use crate::raise::{leave_after_hardware_trap, stop_after_hardware_trap};
use crate::{FaultVerdict, GuestFault, NotATrap, SandboxEscape};

/// Addresses below this one belong to the page at address 0, which is never
/// mapped where guests rely on hardware traps: compiled code turns an
/// out-of-bounds table index into address 0 (so that speculation finds nothing)
/// and reads the type of a null function reference at a small offset from 0
/// (Cranelift: `enable_table_access_spectre_mitigation`,
/// `enable_heap_access_spectre_mitigation`).
const NULL_PAGE_BYTES: usize = 4096;

/// What to do about an exception that was a guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is a trap: return from the exception with these registers. The guest
    /// is left in normal context from there.
    Resume(Resume),
    /// The store's hook took away the cause: return to the same instruction. (On
    /// s390x that is not where the saved program counter points, where the
    /// interruption completed the instruction: go back to its start.)
    Retry,
    /// The guest got out of its memory: stop the process or the CPU, loudly.
    SandboxEscape(SandboxEscape),
}

/// What a handler finds out of the code that it interrupted, once it is known to be a guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted {
    /// The frame pointer at that moment.
    pub fp: VirtualAddress,
    /// The data address if the exception is a memory fault; `None` if it is another one
    /// (illegal or privileged instruction, arithmetic).
    pub faulting_addr: Option<VirtualAddress>,
}

/// Decides about an exception: `Continue` means "not ours, go on as if we were
/// not here", `Break` says what to do.
///
/// `pc` is the address of the faulting instruction, `fp` the frame pointer at
/// that moment, `faulting_addr` the data address if the exception is a memory
/// fault and `None` if it is another one (illegal instruction, arithmetic).
/// A memory fault outside of all memories of its store is an escape, so an address that is
/// not one must not be passed; see [`handle_wasm_exception_with`] where it takes a look at the
/// code to know.
///
/// On s390x the processor has gone past an instruction that it reports as an illegal
/// operation or an arithmetic exception, and compilers list such a trap by the
/// instruction's last byte: `pc` is then the saved program counter minus 1. It is
/// the saved one for access exceptions. (There too, a stack overflow found by
/// compare-and-trap is reported before the function has its frame record; see
/// [`handle_wasm_exception_with`].)
///
/// It is a trap only if `pc` is registered code, the trap table of that code
/// has an entry for exactly this instruction, and the frame at `fp` is below
/// the entry frame of this CPU's innermost activation, which is below the
/// `catch_traps`. (That such a frame is of the guest that was entered there is a
/// duty of [`Store`](crate::Store)'s implementor.) Whether it was the CPU that raised
/// it (and not `kill`) the caller has to find out.
///
/// Nothing but a note in the activation is written. What follows (backtrace,
/// core dump, leaving the guest) happens in normal context, on the guest's
/// stack, after the exception has returned with the registers of
/// [`Outcome::Resume`]. These also lead to a message, and no further, if the guest that trapped is not the
/// one entered last (see ["Several stacks"](crate#several-stacks)).
///
/// # Safety
///
/// * Called in an exception or signal handler, on the CPU or thread that
///   the exception was raised on, with the values of the interrupted context.
/// * An [`Outcome`] is carried out, once, before that context goes on.
/// * On [`Outcome::Resume`] the registers named there are set, and all others
///   left as they are.
pub unsafe fn handle_wasm_exception(
    pc: VirtualAddress,
    fp: VirtualAddress,
    faulting_addr: Option<VirtualAddress>,
) -> ControlFlow<Outcome> {
    let interrupted = Interrupted { fp, faulting_addr };
    // SAFETY: this function's duties are the same.
    unsafe { handle_wasm_exception_with(pc, |_| interrupted) }
}

/// [`handle_wasm_exception`] where frame pointer or faulting address are in no register, but
/// have to be read from the interrupted code's stack (s390x) or told by its instruction
/// (x86_64).
///
/// `interrupted` is called once, or not at all: after `pc` is known to be registered code
/// and to have an entry in its trap table. Until then the stack pointer may be
/// anything, since the fault may be anybody's, and reading there could be the
/// next fault; so could reading the instruction.
///
/// It is told which trap that entry is for, since that may decide where the frame
/// pointer is: a function that finds the stack used up may not have its frame yet. On
/// s390x, in code that Cranelift compiled, its frame record then is at the stack
/// pointer and lacks but the return address: the handler writes `r14` to its place,
/// 112 bytes above, and gives the stack pointer as the frame pointer. In all other
/// cases it is the back chain, the word that the stack pointer points to.
///
/// On x86_64 a general protection fault is an access to an address that is not canonical,
/// which the processor does not tell, or an instruction that user code may not execute. Code that
/// [traps by `hlt`](trapline_code_registry::trap_by_hlt) has the latter at its trap sites:
/// [`is_hlt`](trapline_code_registry::is_hlt) of the byte at `pc` tells them apart.
///
/// # Safety
///
/// * As for [`handle_wasm_exception`]; `interrupted` keeps the rule of handlers.
pub unsafe fn handle_wasm_exception_with(
    pc: VirtualAddress,
    interrupted: impl FnOnce(TrapKind) -> Interrupted,
) -> ControlFlow<Outcome> {
    // SAFETY: this function's duties are the same.
    match unsafe { try_handle_wasm_exception(pc, interrupted) } {
        Ok(outcome) => ControlFlow::Break(outcome),
        Err(_) => ControlFlow::Continue(()),
    }
}

/// [`handle_wasm_exception_with`] that says which check found that this is no trap.
///
/// # Errors
///
/// If the exception is not ours: the reason. Go on as if we were not here; it is for a diagnosis, not
/// for a decision.
///
/// # Safety
///
/// * As for [`handle_wasm_exception_with`].
pub unsafe fn try_handle_wasm_exception(
    pc: VirtualAddress,
    interrupted: impl FnOnce(TrapKind) -> Interrupted,
) -> Result<Outcome, NotATrap> {
    let Some((code, text_offset)) = lookup_code(pc) else {
        return Err(NotATrap::NotRegistered);
    };
    let Some(trap) = code.lookup_trap_code(text_offset) else {
        return Err(NotATrap::NoTrapSite);
    };
    drop(code);
    // SAFETY: the innermost activation of this CPU, on whose stack the
    // interrupted code ran, lives until its guest is left.
    let Some(activation) = (unsafe { head().as_ref() }) else {
        return Err(NotATrap::NoActivation);
    };
    let Interrupted { fp, faulting_addr } = interrupted(trap);
    let fault = GuestFault {
        pc,
        fp,
        faulting_addr,
        trap,
    };
    if let Some(other) = out_of_order(activation, fp) {
        // What a hook repairs is no trap, and leaves nobody.
        return Ok(if is_repaired(other, &fault) {
            Outcome::Retry
        } else {
            Outcome::Resume(detour(fp, stop_after_hardware_trap, 0))
        });
    }
    check_guest_frame(activation, fp)?;
    if is_repaired(activation, &fault) {
        return Ok(Outcome::Retry);
    }

    let store = activation.store();
    let wasm_fault = match faulting_addr.map(|addr| (addr, store.wasm_fault(addr))) {
        None => None,
        Some((_, Some(fault))) => Some(fault),
        Some((addr, None)) if addr.get() < NULL_PAGE_BYTES => None,
        Some((faulting_addr, None)) => {
            let escape = SandboxEscape {
                pc,
                faulting_addr,
                trap,
            };
            return Ok(Outcome::SandboxEscape(escape));
        }
    };
    leave(
        activation,
        HardwareTrap {
            pc,
            fp,
            faulting_addr,
            trap,
            wasm_fault,
        },
    )
}

/// The activation below which the frame at `fp` is, if that is not the innermost, `activation`, but an older one
/// that is nearer: then what trapped is that one's guest, on another stack.
#[inline]
fn out_of_order(activation: &Activation, fp: VirtualAddress) -> Option<&Activation> {
    if activation.is_entered_at(fp) || !is_fp_aligned(fp) {
        return None;
    }
    activation.owner_of(fp)
}

/// Whether the hook of the store took away the cause of a fault in the guest of this activation.
#[inline]
fn is_repaired(activation: &Activation, fault: &GuestFault) -> bool {
    activation.store().on_guest_fault(fault) == FaultVerdict::Handled
}

/// Finds out whether the frame at `fp` may be of the guest that `activation` entered: below
/// the entry trampoline's, which is below the `catch_traps`.
#[inline]
fn check_guest_frame(activation: &Activation, fp: VirtualAddress) -> Result<(), NotATrap> {
    // SAFETY: the innermost activation is the innermost of its store.
    let words = unsafe { activation.live_words() };
    let entry_fp = VirtualAddress::new(words.entry_fp);
    if words.entry_fp == 0 {
        Err(NotATrap::NoEntryFrame)
    } else if is_fp_aligned(fp) && fp < entry_fp && entry_fp <= activation.stack() {
        Ok(())
    } else {
        Err(NotATrap::FrameNotOfGuest { fp, entry_fp })
    }
}

#[inline]
fn leave(activation: &Activation, trap: HardwareTrap) -> Result<Outcome, NotATrap> {
    let fp = trap.fp;
    if !activation.note_hardware_trap(trap) {
        return Err(NotATrap::LeftAlready);
    }
    let resume = detour(fp, leave_after_hardware_trap, activation.address().get());
    Ok(Outcome::Resume(resume))
}
