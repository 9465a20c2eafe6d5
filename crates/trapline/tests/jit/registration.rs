//! Code that comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use trapline::{CodeObject, RegisterError, TrapKind, lookup_code, register_code};
use trapline_test_support::skipped_under_emulation;

use crate::support::guest::JitCode;
use crate::support::{Entry, Guest, JitStore, frames};

/// A guest whose function `%stop` traps with this code.
fn stops_with(trap_code: &str) -> String {
    format!(
        "function %stop(i64) -> i64 tail {{
         block0(v0: i64):
         @10 trap {trap_code}
         }}"
    )
}

fn kind_of(store: &JitStore, entry: Entry, guest: &Guest) -> TrapKind {
    let trap = store
        .call(entry, guest, "stop", &[])
        .expect_err("told to trap");
    assert_eq!(frames(&trap), ["stop@10"]);
    trap.kind().expect("not the host's")
}

/// What the registry, or anybody else, knows of code that is gone must not be
/// mixed up with what takes its place.
#[test]
fn an_address_may_be_used_again_by_other_code() {
    if skipped_under_emulation!("it does not hand out the same addresses again") {
        return;
    }
    let store = JitStore::new();
    let old = Guest::new(&stops_with("user1"));
    let address = old.code().text().start;
    for entry in Entry::BOTH {
        assert_eq!(
            kind_of(&store, entry, &old),
            TrapKind::UnreachableCodeReached
        );
    }
    drop(old);

    // The operating system hands out the same addresses again, as a rule at
    // once; other tests, running beside this one, may get them first.
    for _ in 0..1000 {
        let new = Guest::new(&stops_with("int_ovf"));
        for entry in Entry::BOTH {
            assert_eq!(kind_of(&store, entry, &new), TrapKind::IntegerOverflow);
        }
        if new.code().text().start == address {
            return;
        }
    }
    panic!("the address was never used again");
}

#[test]
fn code_is_found_while_it_is_registered_and_not_before_or_after() {
    let code = JitCode::compile(&stops_with("user1"), &[]);
    let first = code.text().start;
    let last = code.text().end.checked_sub(1).expect("not empty");
    assert!(lookup_code(first).is_none());
    let guest = Guest::register(code);
    for (address, offset) in [(first, 0), (last, last.get() - first.get())] {
        let (found, at) = lookup_code(address).expect("registered");
        assert_eq!(at, offset);
        let found: *const dyn CodeObject = &raw const *found;
        assert!(std::ptr::addr_eq(found, Arc::as_ptr(guest.code())));
    }
    let code = guest.unregister();
    assert!(lookup_code(first).is_none());
    assert!(lookup_code(last).is_none());
    // And again.
    let guest = Guest::register(code);
    let kind = kind_of(&JitStore::new(), Entry::LandingPad, &guest);
    assert_eq!(kind, TrapKind::UnreachableCodeReached);
}

#[test]
fn the_same_code_twice_is_refused_and_changes_nothing() {
    let guest = Guest::new(&stops_with("user1"));
    let text = guest.code().text();
    let again = register_code(Arc::clone(guest.code()) as Arc<dyn CodeObject>);
    match again {
        Err(RegisterError::Overlap {
            requested,
            registered,
        }) => {
            assert_eq!(requested, text);
            assert_eq!(registered, text);
        }
        other => panic!("{other:?}"),
    }
    let kind = kind_of(&JitStore::new(), Entry::SavedContext, &guest);
    assert_eq!(kind, TrapKind::UnreachableCodeReached);
}

#[test]
fn two_copies_of_the_same_guest_are_two_guests() {
    let (one, other) = (
        Guest::new(&stops_with("user1")),
        Guest::new(&stops_with("user1")),
    );
    let store = JitStore::new();
    for entry in Entry::BOTH {
        for guest in [&one, &other] {
            let trap = store
                .call(entry, guest, "stop", &[])
                .expect_err("told to trap");
            assert_eq!(frames(&trap), ["stop@10"]);
            let backtrace = trap.backtrace.expect("a backtrace");
            assert!(guest.code().text().contains(&backtrace.as_slice()[0].pc));
        }
    }
}

#[test]
fn code_comes_and_goes_on_one_thread_while_others_trap() {
    const TRAPPING_THREADS: u64 = 3;
    const ROUNDS: usize = 300;

    /// Tells the trapping threads to stop, also when the test fails.
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..TRAPPING_THREADS {
            scope.spawn(|| {
                let store = JitStore::new();
                let guest = Guest::new(&stops_with("user1"));
                while !stop.load(Ordering::Relaxed) {
                    for entry in Entry::BOTH {
                        assert_eq!(
                            kind_of(&store, entry, &guest),
                            TrapKind::UnreachableCodeReached
                        );
                    }
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let store = JitStore::new();
        let mut codes: Vec<_> = (0..16)
            .map(|_| JitCode::compile(&stops_with("int_ovf"), &[]))
            .collect();
        for round in 0..ROUNDS {
            let guests: Vec<_> = codes.drain(..).map(Guest::register).collect();
            let kind = kind_of(&store, Entry::BOTH[round % 2], &guests[round % 16]);
            assert_eq!(kind, TrapKind::IntegerOverflow);
            codes.extend(guests.into_iter().map(Guest::unregister));
            // Some of it goes for good, and its memory with it.
            if round % 20 == 0 {
                codes[0] = JitCode::compile(&stops_with("int_ovf"), &[]);
            }
        }
    });
}
