//! Recording why a guest is left, and leaving it. Normal context: the exception
//! handler has returned, or there never was one.

use core::error::Error;

use trapline_code_registry::TrapKind;

use crate::activation::{Activation, Unwind, head};
use crate::capture::capture_for_trap;
use crate::{Trap, TrapReason, UnwindReason, panic};

/// Records, in the innermost activation, why its guest is to be left, and
/// captures what the guest's store wants of it: backtrace and core dump.
///
/// For host functions and runtime builtins called by compiled code; what is
/// recorded takes effect when the compiled code, told by the sentinel that it
/// gets returned, calls the builtin that ends in [`raise_preexisting_trap`].
///
/// A host error that carries a [`Trap`] (of a nested guest) is not captured
/// again: it keeps the first backtrace. If it is nothing but that trap, it is
/// passed on as it is; if the trap is somewhere among its causes, the new
/// trap shares the trap's backtrace.
///
/// # Panics
///
/// If there is no activation on this CPU, or if one reason is recorded already. A host
/// panic that there is no activation for goes on from here.
pub fn record_unwind(reason: UnwindReason) {
    // SAFETY: the innermost activation lives further out than this call.
    let Some(activation) = (unsafe { head().as_ref() }) else {
        recorded_outside(reason);
    };
    match reason {
        UnwindReason::Panic(payload) => activation.record(Unwind::Panic(payload)),
        UnwindReason::Trap(TrapReason::User(error)) => record_host_error(activation, error),
        UnwindReason::Trap(reason) => {
            // SAFETY: the innermost one; compiled code called out of the guest.
            unsafe { record_captured(activation, Trap::new(reason)) };
        }
    }
}

/// Without the reason's `Debug` (and anyhow's), code that an image would have for nothing else.
#[cold]
fn recorded_outside(reason: UnwindReason) -> ! {
    match reason {
        UnwindReason::Trap(TrapReason::User(error)) => outside(&&*error),
        UnwindReason::Trap(reason) => outside(&reason),
        UnwindReason::Panic(payload) => panic::resume(payload),
    }
}

fn outside(what: &dyn core::fmt::Display) -> ! {
    panic!("a reason to leave a guest was recorded outside of any catch_traps: {what}");
}

/// Records that a host function failed.
fn record_host_error(activation: &Activation, error: anyhow::Error) {
    let mut cause: &(dyn Error + 'static) = error.as_ref();
    if cause.is::<Trap>() {
        let trap = match error.downcast::<Trap>() {
            Ok(trap) => trap,
            Err(error) => Trap::new(TrapReason::User(error)),
        };
        if trap.backtrace.is_some() {
            return activation.record(Unwind::Trap(trap));
        }
        // One that the host function made itself.
        // SAFETY: the innermost one; compiled code called out of the guest.
        return unsafe { record_captured(activation, trap) };
    }
    // (`anyhow::Chain` can be walked from both ends, which takes its time.)
    while let Some(earlier) = cause.source() {
        if let Some(trap) = earlier.downcast_ref::<Trap>()
            && let Some(backtrace) = trap.backtrace.clone()
        {
            let mut trap = Trap::new(TrapReason::User(error));
            trap.backtrace = Some(backtrace);
            return activation.record(Unwind::Trap(trap));
        }
        cause = earlier;
    }
    // SAFETY: the innermost one; compiled code called out of the guest.
    unsafe { record_captured(activation, Trap::new(TrapReason::User(error))) }
}

/// Records a trap with backtrace and core dump.
///
/// # Safety
///
/// * As for [`capture_for_trap`].
//
// In line, with what makes the trap: moved around, it would be copied several times.
#[inline(always)]
unsafe fn record_captured(activation: &Activation, trap: Trap) {
    // SAFETY: the caller's duty.
    let backtrace = unsafe { capture_for_trap(activation) };
    let coredump = activation
        .store()
        .coredump(&trap.reason, backtrace.as_ref());
    activation.record(Unwind::Trap(Trap {
        backtrace,
        coredump,
        ..trap
    }));
}

/// Leaves the guest for the innermost [`catch_traps`](crate::catch_traps), with
/// what was recorded.
///
/// # Safety
///
/// * Called by compiled code, directly or through a builtin of the runtime, in
///   the guest that the innermost activation entered.
/// * Nothing between the guest and this call has a destructor that must run;
///   and, where the guest was entered with [`catch_traps`](crate::catch_traps),
///   nothing between that and the guest.
///
/// # Panics
///
/// If there is no activation on this CPU, if nothing is recorded in the
/// innermost one, or if it has no place to land.
pub unsafe fn raise_preexisting_trap() -> ! {
    // SAFETY: the innermost activation lives further out than this call.
    let Some(activation) = (unsafe { head().as_ref() }) else {
        panic!("a trap was raised outside of any catch_traps");
    };
    assert!(
        activation.is_unwinding(),
        "a trap was raised, but nobody recorded why"
    );
    // SAFETY: the caller's duties.
    unsafe { activation.land() }
}

/// Records a reason and leaves the guest: [`record_unwind`] and
/// [`raise_preexisting_trap`] in one.
///
/// # Safety
///
/// * As for [`raise_preexisting_trap`].
///
/// # Panics
///
/// If there is no activation on this CPU, if a reason is recorded already, or
/// if there is no place to land.
pub unsafe fn raise_trap(reason: TrapReason) -> ! {
    record_unwind(UnwindReason::Trap(reason));
    // SAFETY: the caller's duties.
    unsafe { raise_preexisting_trap() }
}

/// Where the detour of a hardware trap leads: runs in normal context, on the
/// guest's own stack, below the frame that trapped. `activation` is the address
/// of the activation that the exception handler left its note in.
///
/// It may allocate: what was interrupted is compiled code, which holds no lock
/// of the host.
pub(crate) extern "C" fn leave_after_hardware_trap(activation: usize) -> ! {
    // SAFETY: the handler passes the innermost activation, whose guest was
    // interrupted and has not been left.
    let activation = unsafe { &*core::ptr::with_exposed_provenance::<Activation>(activation) };
    let Some(hardware) = activation.hardware_trap() else {
        panic!("a detour was taken, but no exception handler left a note");
    };
    let mut trap = Trap::new(TrapReason::Jit {
        pc: hardware.pc,
        faulting_addr: hardware.faulting_addr,
        trap: hardware.trap,
    });
    trap.wasm_fault = hardware.wasm_fault;
    // SAFETY: the innermost activation, with the trapping frame.
    unsafe { record_captured(activation, trap) };
    // SAFETY: between the guest and this frame there is nothing, and this frame
    // has given away what it owned.
    unsafe { activation.land() }
}

/// Records a trap found by a runtime builtin: `record_unwind` for a kind.
///
/// # Panics
///
/// As [`record_unwind`].
pub fn record_trap(kind: TrapKind) {
    record_unwind(UnwindReason::Trap(TrapReason::Wasm(kind)));
}
