//! A process in which somebody stands in front of `sigaction`, as the Java virtual machine's
//! `libjsig.so` does if it is preloaded: the machine's own handlers stay, and what others
//! install is kept, reported and called after them.
//!
//! One test, since all of it is the whole process's. None in a static program, where nobody
//! stands in front of anybody.
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
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

use libc::{c_int, c_void, sigaction, siginfo_t};

type Sigaction = unsafe extern "C" fn(c_int, *const sigaction, *mut sigaction) -> c_int;
type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// What others have installed for each of the signals, from when the machine has its handlers there.
static CHAINED: Mutex<Option<[sigaction; 4]>> = Mutex::new(None);
/// The addresses of their handlers, for the machine's.
static HANDLERS: [AtomicUsize; 4] = [const { AtomicUsize::new(libc::SIG_DFL) }; 4];

static MACHINE: AtomicU32 = AtomicU32::new(0);
static EARLIER: AtomicU32 = AtomicU32::new(0);

/// The kernel's own.
unsafe extern "C" fn really(signal: c_int, new: *const sigaction, old: *mut sigaction) -> c_int {
    // SAFETY: the C library has a function of this name and type behind ours; the caller's
    // duties are its.
    unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"sigaction".as_ptr());
        std::mem::transmute::<*mut c_void, Sigaction>(next)(signal, new, old)
    }
}

/// What this whole program calls by the name of `sigaction`.
#[unsafe(export_name = "sigaction")]
unsafe extern "C" fn interposed(
    signal: c_int,
    new: *const sigaction,
    old: *mut sigaction,
) -> c_int {
    let mut chained = CHAINED.lock().unwrap();
    let index = SIGNALS.iter().position(|known| *known == signal);
    let (Some(chained), Some(index)) = (&mut *chained, index) else {
        // SAFETY: the caller's duties.
        return unsafe { really(signal, new, old) };
    };
    // SAFETY: readable and writable, if they are there, as for `sigaction`.
    unsafe {
        let before = chained[index];
        if let Some(new) = new.as_ref() {
            chained[index] = *new;
            HANDLERS[index].store(new.sa_sigaction, SeqCst);
        }
        if let Some(old) = old.as_mut() {
            *old = before;
        }
    }
    0
}

/// The machine's handler. (Nothing here is its own.)
unsafe extern "C" fn machine(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    MACHINE.fetch_add(1, SeqCst);
    let index = SIGNALS.iter().position(|known| *known == signal).unwrap();
    let chained = HANDLERS[index].load(SeqCst);
    assert!(chained != libc::SIG_DFL && chained != libc::SIG_IGN);
    // SAFETY: all handlers of this program have three arguments, and get the kernel's.
    unsafe {
        let chained = ptr::with_exposed_provenance::<c_void>(chained);
        std::mem::transmute::<*const c_void, Handler>(chained)(signal, info, context);
    }
}

unsafe extern "C" fn earlier(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    EARLIER.fetch_add(1, SeqCst);
}

fn action(handler: Handler) -> sigaction {
    // SAFETY: all zeros is a value of this structure.
    let mut action: sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    action
}

/// The handler that `ask` says there is.
fn handler_of(signal: c_int, ask: Sigaction) -> usize {
    // SAFETY: all zeros is a value of this structure.
    let mut found: sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks only.
    let result = unsafe { ask(signal, ptr::null(), &raw mut found) };
    assert_eq!(result, 0);
    found.sa_sigaction
}

#[test]
fn who_chains_handlers_keeps_the_signals_and_gives_them_on_to_ours() {
    let (machines, earliers) = (machine as *const () as usize, earlier as *const () as usize);
    let its_action = action(machine);
    for signal in SIGNALS {
        // SAFETY: the handler keeps to what handlers may do.
        let result = unsafe { really(signal, &raw const its_action, ptr::null_mut()) };
        assert_eq!(result, 0);
    }
    *CHAINED.lock().unwrap() = Some([action(earlier); 4]);

    for _ in 0..2 {
        let handlers = trapline_signal::install().unwrap();
        let ours = SIGNALS.map(|signal| handler_of(signal, sigaction));
        for (signal, ours) in SIGNALS.into_iter().zip(ours) {
            assert_eq!(handler_of(signal, really), machines);
            assert!(ours != machines && ours != earliers);
        }
        assert_eq!(handlers.on_top(), []);

        MACHINE.store(0, SeqCst);
        EARLIER.store(0, SeqCst);
        for signal in SIGNALS {
            // SAFETY: sends a signal to this thread, which has a handler.
            assert_eq!(unsafe { libc::raise(signal) }, 0);
        }
        assert_eq!((MACHINE.load(SeqCst), EARLIER.load(SeqCst)), (4, 4));

        handlers.uninstall().unwrap();
        for signal in SIGNALS {
            assert_eq!(handler_of(signal, really), machines);
            assert_eq!(handler_of(signal, sigaction), earliers);
        }
    }
}
