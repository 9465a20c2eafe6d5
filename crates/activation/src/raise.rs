//! Recording why a guest is left, and leaving it. Normal context: the exception
//! handler has returned, or there never was one.

use alloc::boxed::Box;
use core::any::Any;
use core::error::Error;

use trapline_backtrace::RawBacktrace;
use trapline_code_registry::TrapKind;

use crate::activation::{Activation, called_from};
use crate::capture::capture_for_trap;
use crate::order::{self, OutOfOrder};
use crate::{PassedOn, Trap, TrapReason, UnwindReason, WasmFault, panic};

/// Records, in the innermost activation, why its guest is to be left, and
/// captures what the guest's store wants of it: backtrace and core dump.
///
/// For host functions and runtime builtins called by compiled code; what is
/// recorded takes effect when the compiled code, told by the sentinel that it
/// gets returned, calls the builtin that ends in [`raise_preexisting_trap`].
///
/// A host error that carries a [`Trap`] (of a nested guest) is not captured
/// again: it keeps the first backtrace and core dump. If it is nothing but that trap, it is
/// passed on as it is; if the trap is somewhere among its causes, the new
/// trap shares the trap's backtrace. Embedders with errors of their own say so by the type
/// ([`UnwindReason::PassedOn`]), which costs nothing, or are asked ([`Store::carries_trap`](crate::Store::carries_trap)).
///
/// # Panics
///
/// If there is no activation on this CPU, or if one reason is recorded already. A host
/// panic that there is no activation for goes on from here.
///
/// The panic does not unwind, but ends the process, if the innermost guest runs on another stack than
/// this: see ["Several stacks"](crate#several-stacks).
//
// In line, so that a caller that knows its reason passes no more than that.
#[inline(always)]
pub fn record_unwind(reason: UnwindReason) {
    match reason {
        UnwindReason::Trap(TrapReason::User(error)) => record_host_error(error),
        UnwindReason::Trap(reason) => record_reason(reason),
        UnwindReason::PassedOn(error) => record_passed_on(error),
        UnwindReason::Panic(payload) => record_panic(payload),
    }
}

/// Records that a host function panicked.
#[cold]
#[inline(never)]
fn record_panic(payload: Box<dyn Any + Send>) {
    match called_from(OutOfOrder::Recorded) {
        Some(activation) => activation.unwind().put_panic(payload),
        None => panic::resume(payload),
    }
}

/// Records a trap that the host has found.
#[cold]
#[inline(never)]
fn record_reason(reason: TrapReason) {
    let Some(activation) = called_from(OutOfOrder::Recorded) else {
        outside(&reason);
    };
    // SAFETY: the innermost one; compiled code called out of the guest.
    unsafe { record_captured(activation, reason, None) };
}

/// The cause as a trap, if it is one.
#[inline]
fn as_trap<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a Trap> {
    // The size is at hand; for the type, the error has to be asked.
    if size_of_val(cause) == size_of::<Trap>() {
        cause.downcast_ref()
    } else {
        None
    }
}

/// Records that a host function failed.
#[cold]
#[inline(never)]
fn record_host_error(error: anyhow::Error) {
    let Some(activation) = called_from(OutOfOrder::Recorded) else {
        outside(&&*error);
    };
    let mut cause: &(dyn Error + 'static) = error.as_ref();
    if as_trap(cause).is_some() {
        return record_trap_in_error(activation, error);
    }
    let store = activation.store();
    // (`anyhow::Chain` can be walked from both ends, which takes its time.)
    while !store.carries_trap(cause) {
        let Some(earlier) = cause.source() else {
            // SAFETY: the innermost one; compiled code called out of the guest.
            return unsafe { record_captured(activation, TrapReason::User(error), None) };
        };
        if let Some(trap) = as_trap(earlier)
            && trap.backtrace.is_some()
        {
            let backtrace = trap.backtrace.clone();
            return record_with_backtrace(activation, error, backtrace);
        }
        cause = earlier;
    }
    activation.unwind().pass_on(store.pass_on(error));
}

/// Records a host function's error with the backtrace that is known of it.
#[cold]
fn record_with_backtrace(
    activation: &Activation,
    error: anyhow::Error,
    backtrace: Option<RawBacktrace>,
) {
    let mut trap = activation.unwind().put(TrapReason::User(error), None);
    trap.backtrace = backtrace;
    trap.leave();
}

/// Records a trap that a host function has passed on, or made itself.
#[cold]
fn record_trap_in_error(activation: &Activation, error: anyhow::Error) {
    let (reason, wasm_fault) = match error.downcast::<Trap>() {
        Ok(trap) if trap.backtrace.is_some() || trap.coredump.is_some() => {
            return activation.unwind().put_whole(trap);
        }
        // One that the host function made itself.
        Ok(trap) => match (trap.reason, trap.wasm_fault) {
            // Of another error, which may carry what was captured.
            (TrapReason::User(error), None) => return record_host_error(error),
            others => others,
        },
        Err(error) => (TrapReason::User(error), None),
    };
    // SAFETY: the innermost one; compiled code called out of the guest.
    unsafe { record_captured(activation, reason, wasm_fault) };
}

/// Records an error that was caught before, as it is.
//
// In line as far as the slot: see there.
#[inline]
fn record_passed_on(error: PassedOn) {
    match called() {
        Some(activation) => activation.unwind().pass_on(error),
        None => nobody_to_pass_on_to(error),
    }
}

#[cold]
fn nobody_to_pass_on_to(error: PassedOn) -> ! {
    match error {
        PassedOn::Reason(reason) => outside(&reason),
        PassedOn::Error(error) => outside(&error.into_trap().reason),
    }
}

/// [`called_from`] for who is put into other functions.
#[inline(never)]
fn called<'a>() -> Option<&'a Activation> {
    called_from(OutOfOrder::Recorded)
}

/// Without the reason's `Debug` (and anyhow's), code that an image would have for nothing else.
#[cold]
fn outside(what: &dyn core::fmt::Display) -> ! {
    panic!("a reason to leave a guest was recorded outside of any catch_traps: {what}");
}

/// Records a trap with backtrace and core dump.
///
/// # Safety
///
/// * As for [`capture_for_trap`].
//
// In line, with what makes the reason: see the slot.
#[inline(always)]
unsafe fn record_captured(
    activation: &Activation,
    reason: TrapReason,
    wasm_fault: Option<WasmFault>,
) {
    let mut trap = activation.unwind().put(reason, wasm_fault);
    let limit = activation.store().backtrace_limit();
    if limit > 0 {
        // SAFETY: the caller's duty.
        unsafe { capture_for_trap(activation, limit, &mut trap.backtrace) };
    }
    trap.coredump = activation
        .store()
        .coredump(&trap.reason, trap.backtrace.as_ref());
    trap.leave();
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
/// innermost one, or if it has no place to land. Without unwinding, if the innermost guest runs on another
/// stack than this.
#[inline(never)]
pub unsafe fn raise_preexisting_trap() -> ! {
    let Some(activation) = called_from(OutOfOrder::Raised) else {
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
    let reason = TrapReason::Jit {
        pc: hardware.pc,
        faulting_addr: hardware.faulting_addr,
        trap: hardware.trap,
    };
    // SAFETY: the innermost activation, with the trapping frame.
    unsafe { record_captured(activation, reason, hardware.wasm_fault) };
    // SAFETY: between the guest and this frame there is nothing, and this frame
    // has given away what it owned.
    unsafe { activation.land() }
}

/// Where the detour leads of a guest that trapped without being the one entered last: it can't be left,
/// since what was entered last would be, too. On the guest's own stack, as above.
pub(crate) extern "C" fn stop_after_hardware_trap(_: usize) -> ! {
    order::stop(OutOfOrder::Trapped)
}

/// Records a trap found by a runtime builtin: `record_unwind` for a kind.
///
/// # Panics
///
/// As [`record_unwind`].
pub fn record_trap(kind: TrapKind) {
    record_unwind(UnwindReason::Trap(TrapReason::Wasm(kind)));
}
