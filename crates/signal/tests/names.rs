//! A process in which the dynamic linker is asked what a handler is called while another thread installs ours.
//!
//! Alone in its process, and in none that is static, where nobody stands in front of anybody.
#![cfg(all(
    target_os = "linux",
    not(target_feature = "crt-static"),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "s390x",
    ),
))]

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

use libc::{c_int, c_void};
use trapline_signal::{UninstallErrorKind, install};

static ASKED: AtomicU32 = AtomicU32::new(0);

/// What this whole program calls by the name of `dladdr`: it waits for a thread that installs, as the dynamic linker
/// does for the initialiser of a library.
#[unsafe(export_name = "dladdr")]
extern "C" fn interposed(_: *const c_void, _: *mut libc::Dl_info) -> c_int {
    ASKED.fetch_add(1, SeqCst);
    thread::spawn(|| drop(install())).join().unwrap();
    // Nothing is known.
    0
}

extern "C" fn on_top(_: c_int) {}

#[test]
fn names_of_handlers_on_top_are_asked_for_while_others_may_install() {
    // SAFETY: ends this process, if two threads wait for each other.
    unsafe { libc::alarm(30) };
    let handlers = install().unwrap();
    // SAFETY: a structure of integers, for which all zeros is a value; and a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_top as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGFPE, &raw const action, ptr::null_mut()),
            0
        );
    }
    let refused = handlers.uninstall().unwrap_err();
    assert!(matches!(refused.kind(), UninstallErrorKind::OnTop(on_top) if on_top.len() == 1));
    assert_eq!(ASKED.load(SeqCst), 1);
}
