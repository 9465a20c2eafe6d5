//! Errors of host functions that were caused by errors of nested guests.
//!
//! An [`Error`] that a host function returns says by its type that it is to be passed on. One that became an
//! `anyhow::Error` on the way has to be looked for, when it is recorded.

use trapline_activation::PassedOn;

use crate::calls::error::Error;
use crate::calls::instantiate_error::InstantiateError;

type Cause = dyn core::error::Error + 'static;

/// The trap of a guest that this cause of a host function's error is, if it is one.
#[inline]
pub(crate) fn trap_in(cause: &Cause) -> Option<&Error> {
    // The size is at hand; for the type, the error has to be asked: once at most. (What `anyhow!` makes of a
    // literal is as large as an `Error`.)
    const _: () = assert!(ERROR != STARTUP);
    const ERROR: usize = size_of::<Error>();
    const STARTUP: usize = size_of::<InstantiateError>();
    let error = match size_of_val(cause) {
        ERROR => cause.downcast_ref::<Error>(),
        STARTUP => cause.downcast_ref::<InstantiateError>()?.as_trap(),
        _ => return None,
    }?;
    error.is_trap().then_some(error)
}

/// What is recorded for a host function's error, one of whose causes is a trap ([`trap_in`]).
///
/// A trap that the host function passed on as it was is recorded as that. If it is somewhere among the
/// causes, the error is recorded, with the trap's frames.
#[cold]
pub(crate) fn pass_on(mut error: anyhow::Error) -> PassedOn {
    // Not by way of anyhow, which looks through the contexts that the host has added.
    let outermost: &Cause = error.as_ref();
    if outermost.is::<Error>() {
        match error.downcast::<Error>().map(Error::into_passed_on) {
            Ok(Ok(trap)) => return trap,
            Ok(Err(mistake)) => error = mistake.into(),
            Err(other) => error = other,
        }
    }
    let frames = error.chain().find_map(trap_in).and_then(Error::raw_frames);
    Error::passed_on_in(error, frames)
}
