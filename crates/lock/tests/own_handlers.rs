//! A program with handlers of forks that hold a lock of its own. (Alone in its process.)
#![cfg(all(not(loom), not(miri), unix, feature = "std"))]

use core::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use trapline_lock::Mutex;
use trapline_test_support::in_forked_child;

const FORKS: usize = 50;

/// The program's own lock, which a fork takes along. Whoever has it may take others below it.
struct Own(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: it is there to be shared.
unsafe impl Sync for Own {}

static OWN: Own = Own(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
static BELOW: Mutex<usize> = Mutex::new(0);

extern "C" fn take() {
    // SAFETY: it is initialised and never moves.
    unsafe { libc::pthread_mutex_lock(OWN.0.get()) };
}

extern "C" fn give_back() {
    // SAFETY: this thread has it.
    unsafe { libc::pthread_mutex_unlock(OWN.0.get()) };
}

fn under_both_locks() {
    take();
    *BELOW.lock() += 1;
    give_back();
}

#[test]
fn forks_take_locks_of_who_is_above_first_whenever_their_handlers_were_installed() {
    // SAFETY: a common way to have a lock free in children.
    let result = unsafe { libc::pthread_atfork(Some(take), Some(give_back), Some(give_back)) };
    assert_eq!(result, 0);
    // SAFETY: ends this process, if two threads wait for each other.
    unsafe { libc::alarm(600) };
    let (done, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                under_both_locks();
                turns.fetch_add(1, SeqCst);
            }
        });
        while turns.load(SeqCst) == 0 {
            thread::yield_now();
        }
        let failed = (0..FORKS)
            .map(|_| in_forked_child(under_both_locks))
            .find(|status| !status.success());
        done.store(true, SeqCst);
        assert_eq!(failed, None);
    });
    // SAFETY: nothing waits any more.
    unsafe { libc::alarm(0) };
}
