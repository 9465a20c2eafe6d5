//! Children forked while other threads register, remove and look up.
#![cfg(all(not(loom), unix, feature = "std"))]

mod common;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeRegistry, lookup_code, register_code};
use trapline_test_support::in_forked_child;

const FORKS: usize = 100;

/// Registered all the time.
const STEADY: usize = 0x10_0000;

/// Ranges of the writers, and of children.
const PARENTS: usize = 0x20_0000;
const CHILDS: usize = 0x30_0000;
const SIZE: usize = 0x100;

fn range(base: usize, nth: usize) -> core::ops::Range<usize> {
    base + nth * SIZE..base + (nth + 1) * SIZE
}

#[test]
fn a_child_forked_while_others_register_and_look_up_registers_removes_and_lets_go() {
    let other: &'static CodeRegistry = Box::leak(Box::default());
    let _steady = register_code(Code::new(STEADY..STEADY + SIZE)).expect("free");
    let done = AtomicBool::new(false);
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (done, written) = (&done, &written);
            scope.spawn(move || {
                while !done.load(SeqCst) {
                    let code = Code::new(range(PARENTS, writer));
                    drop(register_code(Arc::<Code>::clone(&code) as _).expect("free"));
                    drop(other.register(code).expect("free"));
                    written.fetch_add(1, SeqCst);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    assert!(lookup_code(VirtualAddress::new(STEADY)).is_some());
                    let _ = other.lookup(VirtualAddress::new(STEADY));
                }
            });
        }
        let failed = (0..FORKS)
            .map(|_| in_forked_child(|| in_child(other)))
            .find(|status| !status.success());
        done.store(true, SeqCst);
        assert_eq!(failed, None);
    });
    assert!(written.load(SeqCst) > FORKS, "writers wrote meanwhile");
}

/// All that a process does with a registry.
fn in_child(other: &'static CodeRegistry) {
    let drops: Arc<AtomicUsize> = Arc::default();
    let find = |pc: usize| lookup_code(VirtualAddress::new(pc)).is_some();
    let (steady, _) = lookup_code(VirtualAddress::new(STEADY)).expect("the parent's code is there");
    let steady = steady.as_any().downcast_ref::<Code>();
    steady
        .expect("registered as such")
        .assert_alive_with(STEADY);
    for turn in 0..3 {
        let registrations: Vec<_> = (0..40)
            .map(|nth| {
                let code = Code::counted(range(CHILDS, nth), &drops);
                let second = other.register(Arc::<Code>::clone(&code) as _);
                (
                    register_code(code).expect("free"),
                    second.expect("free there, too"),
                )
            })
            .collect();
        assert!(find(CHILDS) && find(CHILDS + 39 * SIZE));
        drop(registrations);
        assert!(!find(CHILDS) && find(STEADY));
        // A search of a thread that is not there would keep them.
        assert_eq!(drops.load(SeqCst), 40 * (turn + 1), "let go of at once");
    }
}
