//! What the tests share.

pub(crate) mod child;
pub(crate) mod fault;
pub(crate) mod guest;
pub(crate) mod os;
mod poison;

/// The signals that trapline handles.
pub(crate) const SIGNALS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];
