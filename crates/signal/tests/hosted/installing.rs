//! Installing and uninstalling leave others their due.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;

use libc::{c_int, c_void, siginfo_t};
use trapline_signal::{
    ActionOnTop, OnTop, SignalHandlers, UninstallErrorKind, ensure_installed, install,
    prepare_thread,
};

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore};
use super::support::{SIGNALS, os};

/// Whether there is a dynamic linker that knows where an address is.
const LIBRARIES_ARE_KNOWN: bool = cfg!(not(target_feature = "crt-static"));

static FIRST: AtomicU32 = AtomicU32::new(0);
static SECOND: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn first(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    FIRST.fetch_add(1, SeqCst);
}

unsafe extern "C" fn second(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    SECOND.fetch_add(1, SeqCst);
}

fn all_actions() -> Vec<(usize, c_int, Vec<c_int>)> {
    SIGNALS
        .map(|signal| os::parts(&os::get_action(signal)))
        .to_vec()
}

fn traps_work() -> bool {
    prepare_thread().unwrap();
    GuestStore::new().call(Function::Unreachable, 0).is_err()
}

#[test]
fn uninstalling_puts_back_what_was_there() {
    in_child!(|| {
        os::install(
            libc::SIGSEGV,
            first,
            libc::SA_ONSTACK | libc::SA_RESTART,
            &[libc::SIGUSR1, libc::SIGHUP],
        );
        os::set_action(libc::SIGBUS, &os::action(libc::SIG_IGN, 0, &[]));
        os::set_action(libc::SIGILL, &os::action(libc::SIG_DFL, 0, &[]));
        os::install(
            libc::SIGFPE,
            second,
            libc::SA_NODEFER | libc::SA_RESETHAND,
            &[],
        );
        let before = all_actions();
        for _ in 0..3 {
            let handlers = install().unwrap();
            for (now, before) in all_actions().iter().zip(&before) {
                assert_ne!(now.0, before.0);
                assert!(now.2.is_empty(), "our mask is empty");
            }
            assert!(traps_work());
            handlers.uninstall().unwrap();
            assert_eq!(all_actions(), before);
        }
    })
    .ran_to_its_end();
}

#[test]
fn the_handlers_stay_until_the_last_use_is_given_up() {
    in_child!(|| {
        let before = all_actions();
        let one = install().unwrap();
        let ours = all_actions();
        let two = install().unwrap();
        assert_eq!(all_actions(), ours);
        one.uninstall().unwrap();
        assert_eq!(all_actions(), ours);
        assert!(traps_work());
        two.uninstall().unwrap();
        assert_eq!(all_actions(), before);
    })
    .ran_to_its_end();
}

#[test]
fn ensuring_is_for_good() {
    in_child!(|| {
        ensure_installed().unwrap();
        ensure_installed().unwrap();
        let ours = all_actions();
        install().unwrap().uninstall().unwrap();
        assert_eq!(all_actions(), ours);
        assert!(traps_work());
    })
    .ran_to_its_end();
}

#[test]
fn dropping_the_token_uninstalls_nothing() {
    in_child!(|| {
        drop(install().unwrap());
        assert!(traps_work());
    })
    .ran_to_its_end();
}

/// Uninstalling is refused, and changes nothing; who is on top.
#[track_caller]
fn refused(handlers: SignalHandlers) -> (Vec<OnTop>, String, SignalHandlers) {
    let before = all_actions();
    let error = handlers.uninstall().unwrap_err();
    assert_eq!(all_actions(), before);
    let message = error.to_string();
    let UninstallErrorKind::OnTop(on_top) = error.kind() else {
        panic!("{error:?}");
    };
    (on_top.clone(), message, error.into_handlers())
}

#[test]
fn uninstalling_is_refused_while_somebody_is_on_top() {
    in_child!(|| {
        let handlers = install().unwrap();
        assert_eq!(handlers.on_top(), []);
        let ours = os::get_action(libc::SIGBUS);
        os::install(libc::SIGBUS, first, 0, &[]);

        let (on_top, message, handlers) = refused(handlers);
        let [
            OnTop {
                signal,
                action:
                    ActionOnTop::Handler {
                        address, library, ..
                    },
            },
        ] = &on_top[..]
        else {
            panic!("{on_top:?}")
        };
        assert_eq!(*signal, libc::SIGBUS);
        assert_eq!(*address, first as *const () as usize);
        assert!(message.contains(&format!("SIGBUS goes to the handler at {address:#x}")));
        if LIBRARIES_ARE_KNOWN {
            // The test binary.
            assert!(library.as_ref().unwrap().contains("hosted"));
        } else {
            assert_eq!(*library, None);
        }
        assert_eq!(handlers.on_top(), on_top);

        // Both still work: the one on top, and ours for the other signals.
        os::send_to_self(libc::SIGBUS);
        assert_eq!(FIRST.load(SeqCst), 1);
        assert!(traps_work());

        os::set_action(libc::SIGBUS, &ours);
        handlers.uninstall().unwrap();
    })
    .ran_to_its_end();
}

#[test]
fn installing_again_leaves_those_on_top_where_they_are() {
    in_child!(|| {
        let _one = install().unwrap();
        os::install(libc::SIGBUS, first, 0, &[]);
        let with_them = all_actions();
        let _two = install().unwrap();
        assert_eq!(all_actions(), with_them);
    })
    .ran_to_its_end();
}

#[test]
fn the_refusal_names_library_and_symbol() {
    in_child!(|| {
        let handlers = install().unwrap();
        // Any exported function will do: it is never called.
        let address = libc::sched_yield as *const () as usize;
        os::set_action(libc::SIGILL, &os::action(address, 0, &[]));
        let (on_top, message, _) = refused(handlers);
        let ActionOnTop::Handler {
            symbol, library, ..
        } = &on_top[0].action
        else {
            panic!("{on_top:?}")
        };
        if !LIBRARIES_ARE_KNOWN {
            assert_eq!((symbol, library), (&None, &None));
            return;
        }
        let (name, offset) = symbol.as_ref().unwrap();
        assert!(name.contains("sched_yield"));
        assert_eq!(*offset, 0);
        assert!(library.as_ref().unwrap().contains("libc"));
        assert!(
            message.contains("SIGILL goes to the handler at 0x"),
            "{message}"
        );
        assert!(message.contains("sched_yield + 0x0 in /"), "{message}");
    })
    .ran_to_its_end();
}

#[test]
fn the_refusal_names_every_signal_and_the_actions_that_are_no_handlers() {
    in_child!(|| {
        let handlers = install().unwrap();
        os::set_action(libc::SIGSEGV, &os::action(libc::SIG_DFL, 0, &[]));
        os::set_action(libc::SIGFPE, &os::action(libc::SIG_IGN, 0, &[]));
        let (on_top, message, _) = refused(handlers);
        let expected = [
            (libc::SIGSEGV, ActionOnTop::Default),
            (libc::SIGFPE, ActionOnTop::Ignore),
        ];
        assert_eq!(on_top, expected.map(|(signal, action)| OnTop { signal, action }));
        assert_eq!(
            message,
            "cannot uninstall the signal handlers: SIGSEGV has the default action; SIGFPE is ignored"
        );
    })
    .ran_to_its_end();
}

#[test]
fn a_use_that_is_not_the_last_is_given_up_whoever_is_on_top() {
    in_child!(|| {
        let one = install().unwrap();
        let two = install().unwrap();
        os::install(libc::SIGBUS, first, 0, &[]);
        one.uninstall().unwrap();
        let _ = refused(two);
    })
    .ran_to_its_end();
}

#[test]
fn installing_again_forwards_to_whoever_is_there_by_then() {
    in_child!(|| {
        os::install(libc::SIGBUS, first, 0, &[]);
        install().unwrap().uninstall().unwrap();
        os::install(libc::SIGBUS, second, 0, &[]);
        let _handlers = install().unwrap();
        os::send_to_self(libc::SIGBUS);
        assert_eq!((FIRST.load(SeqCst), SECOND.load(SeqCst)), (0, 1));
    })
    .ran_to_its_end();
}

#[test]
fn our_handler_put_back_by_somebody_else_still_forwards() {
    in_child!(|| {
        os::install(libc::SIGBUS, first, 0, &[]);
        let handlers = install().unwrap();
        let found = os::get_action(libc::SIGBUS);
        handlers.uninstall().unwrap();
        // Somebody who had found us there puts us back.
        os::set_action(libc::SIGBUS, &found);
        os::send_to_self(libc::SIGBUS);
        assert_eq!(FIRST.load(SeqCst), 1);
        // And this must not make us our own predecessor.
        let handlers = install().unwrap();
        os::send_to_self(libc::SIGBUS);
        assert_eq!(FIRST.load(SeqCst), 2);
        handlers.uninstall().unwrap();
        assert_eq!(
            os::get_action(libc::SIGBUS).sa_sigaction,
            first as *const () as usize
        );
    })
    .ran_to_its_end();
}

#[test]
fn no_signal_is_lost_while_handlers_come_and_go() {
    static STOP: AtomicBool = AtomicBool::new(false);

    in_child!(|| {
        os::install(libc::SIGSEGV, first, 0, &[]);
        let sender = thread::spawn(|| {
            let mut sent = 0;
            while !STOP.load(SeqCst) {
                os::send_to_self(libc::SIGSEGV);
                sent += 1;
                assert_eq!(FIRST.load(SeqCst), sent);
            }
            sent
        });
        for _ in 0..20_000 {
            install().unwrap().uninstall().unwrap();
        }
        STOP.store(true, SeqCst);
        assert!(sender.join().unwrap() > 0);
    })
    .ran_to_its_end();
}

#[test]
fn installing_from_many_threads_installs_once() {
    in_child!(|| {
        let before = all_actions();
        let all: Vec<_> = (0..8)
            .map(|_| thread::spawn(|| (0..100).map(|_| install().unwrap()).collect::<Vec<_>>()))
            .collect();
        let mut tokens: Vec<_> = all.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let last = tokens.pop().unwrap();
        for token in tokens {
            token.uninstall().unwrap();
        }
        assert!(traps_work());
        last.uninstall().unwrap();
        assert_eq!(all_actions(), before);
        say("as before");
    })
    .ran_to_its_end();
}
