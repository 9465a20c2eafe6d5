//! One thread at a time; the others sleep, and a fork comes between them.
#![cfg(not(loom))]

#[cfg(all(feature = "std", unix))]
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use trapline_lock::Mutex;

/// A value that is whole when both halves are equal.
#[derive(Default)]
struct Halves(usize, usize);

impl Halves {
    fn add(&mut self) {
        assert_eq!(self.0, self.1, "whole");
        self.0 += 1;
        core::hint::black_box(&mut *self);
        self.1 += 1;
    }
}

#[test]
fn one_thread_at_a_time_has_the_value() {
    const THREADS: usize = 4;
    // Miri changes threads after every few steps.
    const TURNS: usize = if cfg!(miri) { 200 } else { 10_000 };
    let value = Mutex::new(Halves::default());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..TURNS).for_each(|_| value.lock().add()));
        }
    });
    assert_eq!(value.lock().0, THREADS * TURNS);
}

#[test]
fn a_lock_is_free_again_after_a_panic_of_who_had_it() {
    let value = Mutex::new(0);
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut value = value.lock();
                *value = 1;
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!(*value.lock(), 1);
}

#[cfg(all(feature = "std", target_os = "linux"))]
#[test]
fn threads_that_wait_sleep() {
    use std::sync::mpsc;
    use trapline_test_support::{sleeps, thread_id};

    let value = Mutex::new(());
    let guard = value.lock();
    thread::scope(|scope| {
        let (sender, ids) = mpsc::channel();
        for _ in 0..8 {
            let (value, sender) = (&value, sender.clone());
            scope.spawn(move || {
                sender.send(thread_id()).expect("somebody listens");
                let _guard = value.lock();
            });
        }
        let asleep = ids.iter().take(8).filter(|id| sleeps(*id)).count();
        // First, so that a failure does not keep the threads waiting.
        drop(guard);
        assert_eq!(asleep, 8);
    });
}

#[cfg(all(feature = "std", unix))]
#[test]
fn locks_are_free_and_what_they_guard_is_whole_in_a_child_forked_while_others_have_them() {
    use std::sync::atomic::AtomicBool;
    use trapline_test_support::{in_forked_child, on_a_new_thread};

    const FORKS: usize = 60;
    let values: [Mutex<Halves>; 3] = Default::default();
    let (done, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for nth in 0..4 {
            let (values, done, turns) = (&values, &done, &turns);
            scope.spawn(move || {
                while !done.load(SeqCst) {
                    values[nth % values.len()].lock().add();
                    turns.fetch_add(1, SeqCst);
                }
            });
        }
        let failed = (0..FORKS)
            .map(|_| {
                in_forked_child(|| {
                    for value in &values {
                        value.lock().add();
                        value.lock().add();
                    }
                    // A child's own threads and children as well.
                    on_a_new_thread(|| values[0].lock().add(), || values[0].lock().add());
                    assert!(in_forked_child(|| values[1].lock().add()).success());
                })
            })
            .find(|status| !status.success());
        done.store(true, SeqCst);
        assert_eq!(failed, None);
    });
    assert!(turns.load(SeqCst) > FORKS, "locks were taken meanwhile");
}

#[cfg(all(feature = "std", unix))]
#[test]
fn hooks_are_called_in_children_and_only_there() {
    use trapline_test_support::in_forked_child;

    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static VALUE: Mutex<usize> = Mutex::new(0);
    extern "C" fn hook() {
        CALLS.fetch_add(1, SeqCst);
        // Locks are free in a hook.
        *VALUE.lock() += 1;
    }
    assert_eq!(*VALUE.lock(), 0);
    trapline_lock::call_in_children(hook);
    let status = in_forked_child(|| {
        assert_eq!(CALLS.load(SeqCst), 1);
        assert_eq!(*VALUE.lock(), 1);
    });
    assert!(status.success(), "{status}");
    assert_eq!(CALLS.load(SeqCst), 0);
}
