//! Children that are forked, not started as programs of their own.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitStatus;
use std::ptr;
use std::thread;

/// What a child ends itself after, which waits for what never comes. Nothing else depends on it.
const TOO_LONG_SECONDS: u32 = 120;

/// How a forked child ends in which `body` is called: with status 0, with 101 if that panics, or by a signal
/// (SIGALRM if it never returned).
///
/// No exit handlers run in the child. Its standard output is the parent's: it should write nothing there. A thread
/// of its own is made by [`on_a_new_thread`].
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

/// What `body` returns, called on a new thread while this one calls `meanwhile`.
///
/// For forked children. A thread that the standard library makes takes a lock of that library as it starts, and as it
/// ends. In a child that was forked while another thread had it, a thread made by [`thread::spawn`] waits for
/// ever. The threads of this function are the C library's, which sees to its own locks in `fork`.
///
/// # Panics
///
/// As `body` or `meanwhile` does, when both are done; and if the operating system makes no thread.
pub fn on_a_new_thread<R: Send, F: FnOnce() -> R + Send>(body: F, meanwhile: impl FnOnce()) -> R {
    struct Work<F, R> {
        body: Option<F>,
        result: Option<thread::Result<R>>,
    }
    extern "C" fn run<F: FnOnce() -> R, R>(work: *mut c_void) -> *mut c_void {
        // SAFETY: it is the structure below, which this thread has for itself until it is joined.
        let work = unsafe { &mut *work.cast::<Work<F, R>>() };
        let body = work.body.take();
        work.result = body.map(|body| catch_unwind(AssertUnwindSafe(body)));
        ptr::null_mut()
    }

    let mut work = Work {
        body: Some(body),
        result: None,
    };
    let argument = (&raw mut work).cast();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: `work` is of the type that the function expects, stays until the thread is joined, below, and is
    // not touched meanwhile. All in it may go to another thread.
    let made =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run::<F, R>, argument) };
    assert_eq!(made, 0, "pthread_create");
    let here = catch_unwind(AssertUnwindSafe(meanwhile));
    // SAFETY: the thread was made above, and is joined once.
    let joined = unsafe { libc::pthread_join(thread.assume_init(), ptr::null_mut()) };
    assert_eq!(joined, 0, "pthread_join");
    let there = work.result.take().expect("the thread calls it");
    here.and(there).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_is_told() {
        assert!(in_forked_child(|| {}).success());
        assert_eq!(
            in_forked_child(|| resume_unwind(Box::new(()))).code(),
            Some(101)
        );
        // SAFETY: ends the child.
        let killed = in_forked_child(|| unsafe {
            libc::raise(libc::SIGKILL);
        });
        assert_eq!(killed.signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn both_threads_run_at_the_same_time_and_what_each_says_is_told() {
        use std::sync::Barrier;

        let both = Barrier::new(2);
        let main = thread::current().id();
        let other = on_a_new_thread(
            || {
                both.wait();
                thread::current().id()
            },
            || {
                both.wait();
            },
        );
        assert_ne!(other, main);
        for panics_here in [false, true] {
            let panic = |here| {
                if here == panics_here {
                    resume_unwind(Box::new(here));
                }
            };
            let told = catch_unwind(|| on_a_new_thread(|| panic(false), || panic(true)));
            let told = told.expect_err("one of them panicked");
            assert_eq!(told.downcast_ref(), Some(&panics_here));
        }
    }
}
