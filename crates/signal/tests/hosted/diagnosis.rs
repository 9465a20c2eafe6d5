//! Guests that are entered wrongly end the process without a word; unless somebody has asked for one.

use trapline_signal::{
    Missing, ensure_installed, missing_on_this_thread, prepare_thread, set_diagnosis,
};
use trapline_test_support::fault;

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore, Hook};
use super::support::{SIGNALS, os};

/// A way to get a fault that is no trap, and what the diagnosis says of it.
struct Wrong {
    fault: fn(),
    signal: i32,
    words: &'static str,
}

const WRONG: &[Wrong] = &[
    Wrong {
        fault: || fault::raise(libc::SIGSEGV),
        signal: libc::SIGSEGV,
        words: "SIGSEGV at pc 0x",
    },
    Wrong {
        fault: || {
            let _ = GuestStore::of_unregistered_code().call(Function::Unreachable, 0);
        },
        signal: libc::SIGILL,
        words: "the pc is in no registered code",
    },
    Wrong {
        fault: || {
            let store = GuestStore::new();
            let _ = store.call(Function::LoadUnlisted, store.in_guard());
        },
        signal: libc::SIGSEGV,
        words: "its trap table has no entry for this instruction",
    },
    Wrong {
        fault: || GuestStore::new().call_outside(Function::Unreachable, 0),
        signal: libc::SIGILL,
        words: "none was entered on this thread: enter it inside of catch_traps",
    },
    Wrong {
        fault: || {
            let other = GuestStore::new();
            GuestStore::new().call_as_a_guest_of(&other, Function::Unreachable, 0);
        },
        signal: libc::SIGILL,
        words: "no entry frame pointer is in the words of the store that was entered",
    },
    Wrong {
        fault: || GuestStore::new().call_past_trampoline(Function::Unreachable, 16),
        signal: libc::SIGILL,
        words: "its frame is not below the entry frame of the guest that was entered last",
    },
    Wrong {
        fault: || {
            let store = GuestStore::with_hook(Hook::TrapAgain);
            let _ = store.call(Function::Unreachable, 0);
        },
        signal: libc::SIGILL,
        words: "a guest trapped that is being left already",
    },
    Wrong {
        fault: || {
            let store = GuestStore::with_hook(Hook::Fault(libc::SIGSEGV));
            let _ = store.call(Function::Unreachable, 0);
        },
        signal: libc::SIGSEGV,
        words: "in a handler: enter no guest from a signal handler",
    },
];

fn prepare() {
    ensure_installed().unwrap();
    prepare_thread().unwrap();
}

/// What the process does, `number` being that of the way; it is armed.
fn go_wrong(number: i32) {
    prepare();
    say("armed");
    (WRONG[number as usize].fault)();
}

#[test]
fn each_wrong_way_of_entering_is_named_with_what_to_do_if_asked_for() {
    for (number, wrong) in (0..).zip(WRONG) {
        let ended = in_child!(number, |number| {
            set_diagnosis(true);
            go_wrong(number);
        });
        ended.died_of(wrong.signal, wrong.words);
        ended.died_of(wrong.signal, " is no trap: ");
        assert_eq!(ended.lines_of_stderr(), 1, "{ended:#?}");
    }
}

#[test]
fn each_wrong_way_of_entering_is_silent_by_default() {
    for (number, wrong) in (0..).zip(WRONG) {
        let ended = in_child!(number, go_wrong);
        ended.died_silently_of(wrong.signal);
    }
}

#[test]
fn traps_and_signals_that_somebody_sends_are_not_diagnosed() {
    let ended = in_child!(|| {
        set_diagnosis(true);
        prepare();
        let store = GuestStore::new();
        store.call(Function::Unreachable, 0).unwrap_err();
        store.call(Function::Load, store.in_guard()).unwrap_err();
        say("armed");
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGFPE) };
    });
    ended.died_silently_of(libc::SIGFPE);
}

#[test]
fn what_a_thread_lacks_is_told_before_a_guest_is_entered() {
    let ended = in_child!(|| {
        let missing = missing_on_this_thread();
        let handlers = missing
            .iter()
            .filter(|missing| matches!(missing, Missing::Handler { .. }));
        assert_eq!(handlers.count(), SIGNALS.len());
        assert!(
            missing
                .iter()
                .any(|missing| matches!(missing, Missing::SignalStack))
        );
        for missing in missing {
            assert!(missing.to_string().contains("call "), "{missing}");
        }
        prepare();
        assert!(missing_on_this_thread().is_empty());
        os::block(libc::SIGILL);
        let missing = missing_on_this_thread();
        let [
            missing @ Missing::Unblocked {
                signal: libc::SIGILL,
            },
        ] = &missing[..]
        else {
            panic!("{missing:?}")
        };
        assert!(
            missing
                .to_string()
                .contains("SIGILL is blocked on this thread")
        );
    });
    ended.ran_to_its_end();
}
