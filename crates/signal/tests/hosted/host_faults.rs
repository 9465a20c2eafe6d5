//! A fault of host code looks like what it is.

use trapline_signal::{install, prepare_thread};
use trapline_test_support::{NO_GUARD_PAGES, fault, skipped_under_emulation};

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore};
use super::support::{SIGNALS, os, recurse};

#[test]
fn plain_rust_dies_silently_by_its_own_signal_before_installation() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn plain_rust_dies_silently_by_its_own_signal_after_installation() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            let _handlers = install().unwrap();
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn plain_rust_dies_silently_by_its_own_signal_after_guests_ran() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            let _handlers = install().unwrap();
            prepare_thread().unwrap();
            assert!(GuestStore::new().call(Function::Unreachable, 0).is_err());
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn plain_rust_dies_silently_by_its_own_signal_after_uninstallation() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            install().unwrap().uninstall().unwrap();
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

/// Where the frame pointer has to be read from the interrupted code's stack, that
/// is not done for just any code.
#[test]
fn host_code_without_a_stack_dies_silently_by_its_own_signal() {
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        say("armed");
        // SAFETY: the signal ends the process.
        unsafe { fault::illegal_instruction_without_a_stack() }
    })
    .died_silently_of(libc::SIGILL);
}

#[test]
fn an_overflow_of_the_stack_ends_with_the_message_of_the_standard_library() {
    if skipped_under_emulation!(NO_GUARD_PAGES) {
        return;
    }
    let with_us = in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        recurse(0);
    });
    with_us.died_of(libc::SIGABRT, "has overflowed its stack");
    assert!(!with_us.stderr().contains("trapline:"));
}

#[test]
fn a_signal_that_somebody_sends_to_a_thread_kills() {
    for signal in SIGNALS {
        in_child!(signal, |signal| {
            os::set_action(signal, &os::action(libc::SIG_DFL, 0, &[]));
            let _handlers = install().unwrap();
            say("armed");
            os::send_to_self(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn a_signal_that_somebody_sends_to_the_process_kills() {
    if skipped_under_emulation!("a thread of the emulator's own may get it") {
        return;
    }
    for signal in SIGNALS {
        in_child!(signal, |signal| {
            os::set_action(signal, &os::action(libc::SIG_DFL, 0, &[]));
            let _handlers = install().unwrap();
            prepare_thread().unwrap();
            say("armed");
            // SAFETY: sends a signal to this process.
            unsafe { libc::kill(libc::getpid(), signal) };
            // Another thread may be the one that gets it.
            loop {
                std::thread::yield_now();
            }
        })
        .died_silently_of(signal);
    }
}

#[test]
fn a_signal_that_somebody_sends_meets_the_handler_of_the_standard_library_as_without_us() {
    // It has one for SIGSEGV and SIGBUS, which lets the first one pass and takes
    // the default action for the next.
    for with_us in [0, 1] {
        in_child!(with_us, |with_us| {
            if with_us != 0 {
                let _handlers = install().unwrap();
                prepare_thread().unwrap();
            }
            os::send_to_self(libc::SIGBUS);
            say("armed");
            os::send_to_self(libc::SIGBUS);
        })
        .died_silently_of(libc::SIGBUS);
    }
}
