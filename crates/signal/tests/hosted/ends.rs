//! Guests in processes that were forked, and on threads that are ending.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;

use libc::c_int;
use trapline_signal::{PrepareThreadError, ensure_installed, prepare_thread};
use trapline_test_support::on_a_new_thread;

use super::support::child::in_child;
use super::support::guest::{Function, GuestStore};
use super::support::os;

/// Traps of all kinds are caught here.
fn traps_work() -> bool {
    let store = GuestStore::new();
    let address = store.in_guard();
    store.call(Function::Unreachable, 0).is_err()
        && store.call(Function::Load, address).is_err()
        && store.call(Function::Divide, 0).is_err()
}

/// The status with which a forked process ended that did what `child` says.
fn in_forked(child: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child calls what a process may that had one thread, or what needs no lock of
    // others, and ends without the harness.
    unsafe {
        let forked = libc::fork();
        if forked == 0 {
            libc::_exit(child());
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(forked, &raw mut status, 0), forked);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status)
    }
}

#[test]
fn guests_trap_in_a_forked_process_and_on_its_new_threads() {
    in_child!(|| {
        ensure_installed().unwrap();
        prepare_thread().unwrap();
        assert!(traps_work());
        let status = in_forked(|| {
            let mut here = false;
            let there = on_a_new_thread(
                || {
                    prepare_thread().unwrap();
                    traps_work()
                },
                || here = traps_work(),
            );
            c_int::from(here) + 2 * c_int::from(there)
        });
        assert_eq!(status, 3);
        assert!(traps_work());
    })
    .ran_to_its_end();
}

#[test]
fn guests_trap_in_a_process_that_was_forked_while_others_trapped() {
    static DONE: AtomicBool = AtomicBool::new(false);
    static TRAPS: AtomicU32 = AtomicU32::new(0);
    in_child!(|| {
        ensure_installed().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn(|| {
                    prepare_thread().unwrap();
                    let store = GuestStore::new();
                    while !DONE.load(SeqCst) {
                        assert!(store.call(Function::Unreachable, 0).is_err());
                        TRAPS.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        while TRAPS.load(SeqCst) < 2 {
            thread::yield_now();
        }
        for _ in 0..20 {
            let status = in_forked(|| {
                c_int::from(store.call(Function::Unreachable, 0).is_err())
                    + 2 * c_int::from(store.call(Function::Load, store.in_guard()).is_err())
            });
            assert_eq!(status, 3);
        }
        DONE.store(true, SeqCst);
        others.into_iter().for_each(|other| other.join().unwrap());
    })
    .ran_to_its_end();
}

#[test]
fn a_guest_goes_on_in_both_processes_if_its_host_function_forks() {
    thread_local!(static FORKED: Cell<libc::pid_t> = const { Cell::new(-1) });
    extern "C" fn fork() {
        // SAFETY: the child goes on as far as its parent does, and ends.
        FORKED.set(unsafe { libc::fork() });
    }
    in_child!(|| {
        ensure_installed().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        assert!(store.call_host(fork).is_ok());
        if FORKED.get() == 0 {
            // SAFETY: ends this process.
            unsafe { libc::_exit(if traps_work() { 7 } else { 8 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child.
        unsafe { libc::waitpid(FORKED.get(), &raw mut status, 0) };
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7,
            "{status:#x}"
        );
        assert!(traps_work());
    })
    .ran_to_its_end();
}

#[test]
fn guests_trap_in_destructors_of_thread_locals_before_and_after_ours() {
    /// Runs guests when it is destroyed.
    struct AtEnd(&'static AtomicU32);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let ours_is_gone = matches!(prepare_thread(), Err(PrepareThreadError::ThreadEnding));
            let result = u32::from(traps_work()) + 2 * u32::from(ours_is_gone);
            self.0.store(result, SeqCst);
        }
    }
    static FIRST: AtomicU32 = AtomicU32::new(0);
    static LAST: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static BEFORE: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<AtEnd>> = const { RefCell::new(None) };
    }
    in_child!(|| {
        ensure_installed().unwrap();
        thread::spawn(|| {
            // Destroyed in the opposite order.
            AFTER.set(Some(AtEnd(&LAST)));
            prepare_thread().unwrap();
            assert!(traps_work());
            BEFORE.set(Some(AtEnd(&FIRST)));
        })
        .join()
        .unwrap();
        assert_eq!((FIRST.load(SeqCst), LAST.load(SeqCst)), (1, 3));
    })
    .ran_to_its_end();
}

#[test]
fn a_thread_that_is_ending_may_enter_its_first_guest() {
    struct AtEnd;
    impl Drop for AtEnd {
        fn drop(&mut self) {
            prepare_thread().unwrap();
            assert!(os::signal_stack().ss_size > 128 * 1024);
            DONE.store(traps_work(), SeqCst);
        }
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    thread_local!(static AT_END: AtEnd = const { AtEnd });
    in_child!(|| {
        ensure_installed().unwrap();
        thread::spawn(|| AT_END.with(|_| ())).join().unwrap();
        assert!(DONE.load(SeqCst));
    })
    .ran_to_its_end();
}
