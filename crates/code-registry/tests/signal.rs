//! Lookups in a signal handler that interrupts a writer on its own thread.
#![cfg(all(not(loom), unix))]

mod common;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{lookup_code, register_code};

/// Registered all the time.
const STEADY: usize = 0x10_0000;

/// Registered and removed, again and again: so many ranges from here on.
const CHANGING: usize = 0x20_0000;
const RANGES: usize = 50;
const DISTANCE: usize = 0x100;

/// Interrupted writes that are enough.
const ENOUGH: usize = 300;

/// What the handler saw.
static STEADY_FOUND: AtomicUsize = AtomicUsize::new(0);
static STEADY_MISSED: AtomicUsize = AtomicUsize::new(0);
static CHANGING_FOUND: AtomicUsize = AtomicUsize::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);
/// Whether the thread is in a write, and how often the handler interrupted one.
static WRITING: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicUsize = AtomicUsize::new(0);

/// Does what a trap handler does, and counts what it can't report from here.
extern "C" fn handler(_signal: libc::c_int) {
    if WRITING.load(SeqCst) {
        INTERRUPTED.fetch_add(1, SeqCst);
    }
    match lookup_code(VirtualAddress::new(STEADY + 5)) {
        Some((code, 5)) if code.text().start.get() == STEADY => &STEADY_FOUND,
        Some(_) => &WRONG,
        None => &STEADY_MISSED,
    }
    .fetch_add(1, SeqCst);
    for nth in 0..RANGES {
        let start = CHANGING + nth * DISTANCE;
        if let Some((code, offset)) = lookup_code(VirtualAddress::new(start + 7)) {
            let right = offset == 7
                && code.text().start.get() == start
                && code
                    .as_any()
                    .downcast_ref::<Code>()
                    .is_some_and(|code| code.is_alive_with(start + 7));
            if right { &CHANGING_FOUND } else { &WRONG }.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn a_handler_that_interrupts_a_writer_on_its_thread_finds_what_is_registered() {
    // SAFETY: all zeros is a valid `sigaction`, and the handler only does what
    // handlers may do: atomics, and lookups.
    let result = unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, core::ptr::null_mut())
    };
    assert_eq!(result, 0);

    let steady = Code::new(STEADY..STEADY + 0x100);
    let _registration = register_code(Arc::<Code>::clone(&steady)).expect("free");
    let done = AtomicBool::new(false);
    // As a number: musl's are pointers, which threads may not share.
    // SAFETY: no preconditions.
    let writer = unsafe { libc::pthread_self() } as usize;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let writer = writer as libc::pthread_t;
                // SAFETY: the thread runs until this one is joined.
                assert_eq!(unsafe { libc::pthread_kill(writer, libc::SIGUSR1) }, 0);
                thread::yield_now();
            }
        });
        let mut registrations: Vec<_> = (0..RANGES).map(|_| None).collect();
        let mut turn = 0_usize;
        // Until the handler has seen enough, within reason: signals may come so fast that
        // the first write gets hundreds of them, with nothing yet to be found.
        let enough = || INTERRUPTED.load(SeqCst) >= ENOUGH && CHANGING_FOUND.load(SeqCst) >= ENOUGH;
        while turn < 20_000_000 && !enough() {
            let nth = turn * 7 % RANGES;
            turn += 1;
            let start = CHANGING + nth * DISTANCE;
            WRITING.store(true, SeqCst);
            registrations[nth] = match registrations[nth].take() {
                Some(_removed) => None,
                None => Some(register_code(Code::new(start..start + 0x10)).expect("free")),
            };
            WRITING.store(false, SeqCst);
        }
        done.store(true, SeqCst);
    });

    steady.assert_alive_with(STEADY);
    assert_eq!(WRONG.load(SeqCst), 0);
    assert_eq!(STEADY_MISSED.load(SeqCst), 0);
    assert!(STEADY_FOUND.load(SeqCst) >= ENOUGH);
    assert!(CHANGING_FOUND.load(SeqCst) > 0);
    assert!(
        INTERRUPTED.load(SeqCst) >= ENOUGH,
        "writers were interrupted"
    );
}
