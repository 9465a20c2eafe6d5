//! Children that are forked, not started as programs of their own.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

/// What a child ends itself after, which waits for what never comes. Nothing else depends on it.
const TOO_LONG_SECONDS: u32 = 120;

/// How a forked child ends in which `body` is called: with status 0, with 101 if that panics, or by a signal
/// (SIGALRM if it never returned).
///
/// No exit handlers run in the child. Its standard output is the parent's: it should write nothing there.
///
/// # Panics
///
/// If the operating system makes no process, or does not say how it ends.
pub fn in_forked_child(body: impl FnOnce()) -> ExitStatus {
    // SAFETY: the child calls nothing but `body`, which is its caller's to answer for, and ends without a way
    // back to this frame's callers.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(TOO_LONG_SECONDS) };
        let status = match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => 0,
            Err(_) => 101,
        };
        // SAFETY: no preconditions.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: writes the status of a child of ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid: {}", io::Error::last_os_error());
    ExitStatus::from_raw(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_is_told() {
        assert!(in_forked_child(|| {}).success());
        assert_eq!(
            in_forked_child(|| std::panic::resume_unwind(Box::new(()))).code(),
            Some(101)
        );
        // SAFETY: ends the child.
        let killed = in_forked_child(|| unsafe {
            libc::raise(libc::SIGKILL);
        });
        assert_eq!(killed.signal(), Some(libc::SIGKILL));
    }
}
