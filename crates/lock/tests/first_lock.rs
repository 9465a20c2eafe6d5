//! The first lock of a process, and the first hook, while a fork is under way. (Alone in its process.)
#![cfg(all(not(loom), not(miri), unix, feature = "std"))]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use trapline_lock::{Mutex, call_in_children};
use trapline_test_support::in_forked_child;

/// Whole when both halves are equal.
static VALUE: Mutex<(u32, u32)> = Mutex::new((0, 0));

/// The fork has begun.
static FORKING: AtomicBool = AtomicBool::new(false);
/// The other thread has the lock.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The hook was called.
static CALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn hook() {
    CALLED.store(true, SeqCst);
}

fn wait_for(what: &AtomicBool) {
    while !what.load(SeqCst) {
        thread::yield_now();
    }
}

/// Comes back when the other thread has the lock.
extern "C" fn let_the_lock_be_taken() {
    FORKING.store(true, SeqCst);
    wait_for(&TAKEN);
}

#[test]
fn the_first_lock_is_free_and_the_first_hook_is_called_in_a_child_whose_fork_had_begun_before() {
    // SAFETY: calls what a handler of forks may: nothing that waits for the thread that forks.
    let result = unsafe { libc::pthread_atfork(Some(let_the_lock_be_taken), None, None) };
    assert_eq!(result, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&FORKING);
            call_in_children(hook);
            let mut value = VALUE.lock();
            value.0 += 1;
            TAKEN.store(true, SeqCst);
            // Longer than a fork takes that waits for nobody.
            thread::sleep(Duration::from_millis(200));
            value.1 += 1;
        });
        let status = in_forked_child(|| {
            // SAFETY: ends the child if the lock is never free there.
            unsafe { libc::alarm(10) };
            assert_eq!(*VALUE.lock(), (1, 1));
            assert!(CALLED.load(SeqCst));
        });
        assert!(status.success(), "{status}");
        assert!(!CALLED.load(SeqCst), "in children only");
    });
}
