//! Children forked in the middle of another thread's start. (Alone in its process.)
#![cfg(unix)]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use trapline_test_support::allocator::Watched;
use trapline_test_support::{in_forked_child, on_a_new_thread};

#[global_allocator]
static ALLOCATOR: Watched = Watched(stop_if_starting);

/// Whether threads stop in their start, at each allocation.
static STOPS: AtomicBool = AtomicBool::new(false);
/// Whether one has stopped. It goes on when this is taken back.
static STOPPED: AtomicBool = AtomicBool::new(false);
static STARTED: AtomicUsize = AtomicUsize::new(0);

thread_local!(static HAS_STARTED: Cell<bool> = const { Cell::new(false) });

fn stop_if_starting() {
    if STOPS.load(SeqCst) && !HAS_STARTED.get() {
        STOPPED.store(true, SeqCst);
        while STOPPED.load(SeqCst) {
            thread::yield_now();
        }
    }
}

#[test]
fn a_child_that_was_forked_at_any_point_of_a_threads_start_has_threads_of_its_own() {
    /// The standard library keeps a tree of threads, whose nodes have up to 11: it allocates one for some of these,
    /// under its lock.
    const THREADS: usize = 16;

    HAS_STARTED.set(true);
    let (done, mut forks) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        let (mut failed, mut threads) = (None, Vec::new());
        for nth in 0..THREADS {
            STOPS.store(true, SeqCst);
            threads.push(scope.spawn(|| {
                HAS_STARTED.set(true);
                STARTED.fetch_add(1, SeqCst);
                while !done.load(SeqCst) {
                    thread::park();
                }
            }));
            while STARTED.load(SeqCst) == nth {
                if !STOPPED.load(SeqCst) {
                    thread::yield_now();
                    continue;
                }
                if failed.is_none() {
                    let status = in_forked_child(|| {
                        STOPS.store(false, SeqCst);
                        let mut here = false;
                        assert!(on_a_new_thread(|| true, || here = true) && here);
                    });
                    forks += 1;
                    failed = (!status.success()).then_some(status);
                }
                STOPPED.store(false, SeqCst);
            }
            STOPS.store(false, SeqCst);
        }
        done.store(true, SeqCst);
        threads.iter().for_each(|thread| thread.thread().unpark());
        assert_eq!(failed, None);
    });
    assert!(forks > THREADS, "{forks}: starting threads allocate");
}
