//! Signals that are no traps reach whoever was there before us, as the kernel
//! would have delivered them.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;

use libc::{c_int, c_void, siginfo_t, ucontext_t};
use trapline_code_registry::TrapKind;
use trapline_signal::{install, prepare_thread};
use trapline_test_support::{fault, skipped_under_emulation};

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore, Hook};
use super::support::{SIGNALS, os};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Counts, and goes on after the faulting instruction.
unsafe extern "C" fn count_and_skip(signal: c_int, _: *mut siginfo_t, context: *mut c_void) {
    CALLS.fetch_add(1, SeqCst);
    // SAFETY: the kernel's, of an instruction in `fault`.
    fault::skip(signal, unsafe { &mut *context.cast() });
}

/// Counts.
unsafe extern "C" fn count(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
    CALLS.fetch_add(1, SeqCst);
}

/// Counts, and takes one argument.
extern "C" fn count_plainly(signal: c_int) {
    CALLS.fetch_add(signal as u32, SeqCst);
}

fn install_plain(signal: c_int, handler: os::PlainHandler, flags: c_int) {
    os::set_action(
        signal,
        &os::action(handler as *const () as usize, flags, &[]),
    );
}

#[test]
fn a_handler_gets_the_arguments_that_the_kernel_gave() {
    static SIGNAL: AtomicI32 = AtomicI32::new(0);
    static CODE: AtomicI32 = AtomicI32::new(0);
    static ADDRESS: AtomicUsize = AtomicUsize::new(0);
    static ERRNO: AtomicI32 = AtomicI32::new(0);
    static ON_SIGNAL_STACK: AtomicBool = AtomicBool::new(false);

    unsafe extern "C" fn note(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        ERRNO.store(os::errno(), SeqCst);
        SIGNAL.store(signal, SeqCst);
        ON_SIGNAL_STACK.store(os::is_on_signal_stack(), SeqCst);
        // SAFETY: the kernel's.
        unsafe {
            CODE.store((*info).si_code, SeqCst);
            ADDRESS.store((*info).si_addr().addr(), SeqCst);
            count_and_skip(signal, info, context);
        }
    }

    in_child!(|| {
        for &signal in fault::SIGNALS {
            os::install(signal, note, 0, &[]);
        }
        let _handlers = install().unwrap();
        prepare_thread().unwrap();

        let address = os::map(4096, libc::PROT_NONE).start + 0x678;
        os::set_errno(libc::EDOM);
        fault::read(address);
        assert_eq!(os::errno(), libc::EDOM);
        assert_eq!(ERRNO.load(SeqCst), libc::EDOM);
        assert_eq!(SIGNAL.load(SeqCst), libc::SIGSEGV);
        assert_eq!(CODE.load(SeqCst), 2, "SEGV_ACCERR");
        assert_eq!(ADDRESS.load(SeqCst), fault::reported(address));
        assert!(ON_SIGNAL_STACK.load(SeqCst));

        for (i, &signal) in fault::SIGNALS.iter().enumerate() {
            fault::raise(signal);
            assert_eq!(SIGNAL.load(SeqCst), signal);
            assert!(CODE.load(SeqCst) > 0);
            assert_eq!(CALLS.load(SeqCst), i as u32 + 2);
        }
    })
    .ran_to_its_end();
}

#[test]
fn the_value_of_a_queued_signal_arrives() {
    static VALUE: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn note(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's, of a signal that was queued.
        unsafe {
            assert_eq!((*info).si_code, libc::SI_QUEUE);
            VALUE.store((*info).si_value().sival_ptr.addr(), SeqCst);
        }
    }

    in_child!(|| {
        os::install(libc::SIGFPE, note, 0, &[]);
        let _handlers = install().unwrap();
        os::queue_to_self(libc::SIGFPE, 0xfeed_beef);
        assert_eq!(VALUE.load(SeqCst), 0xfeed_beef);
    })
    .ran_to_its_end();
}

#[test]
fn a_process_may_end_while_a_handler_runs_on_another_thread() {
    static RUNS: AtomicBool = AtomicBool::new(false);

    /// Uses its stack for ever.
    unsafe extern "C" fn stay(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        let mut count = 0_u64;
        loop {
            // SAFETY: a local.
            unsafe { (&raw mut count).write_volatile(count.wrapping_add(1)) };
            RUNS.store(true, SeqCst);
        }
    }

    in_child!(|| {
        os::install(libc::SIGFPE, stay, 0, &[]);
        let _handlers = install().unwrap();
        // To the main thread, which waits for this one; its signal stack is the standard
        // library's.
        // SAFETY: sends a signal.
        let sent = unsafe {
            let main = libc::getpid();
            libc::syscall(libc::SYS_tgkill, main, main, libc::SIGFPE)
        };
        assert_eq!(sent, 0);
        while !RUNS.load(SeqCst) {
            thread::yield_now();
        }
    })
    .ran_to_its_end();
}

#[test]
fn a_plain_handler_is_called_with_the_signal() {
    in_child!(|| {
        for signal in SIGNALS {
            install_plain(signal, count_plainly, 0);
        }
        let _handlers = install().unwrap();
        let mut expected = 0;
        for signal in SIGNALS {
            os::send_to_self(signal);
            expected += signal as u32;
            assert_eq!(CALLS.load(SeqCst), expected);
        }
    })
    .ran_to_its_end();
}

#[test]
fn a_handler_runs_with_its_mask_and_the_signal_itself_blocked() {
    unsafe extern "C" fn check(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
        CALLS.fetch_add(1, SeqCst);
        for blocked in [signal, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP] {
            assert!(os::is_blocked(blocked));
        }
        assert!(!os::is_blocked(libc::SIGCHLD));
    }

    in_child!(|| {
        os::install(libc::SIGBUS, check, 0, &[libc::SIGUSR1, libc::SIGUSR2]);
        let _handlers = install().unwrap();
        block(libc::SIGHUP);
        os::send_to_self(libc::SIGBUS);
        assert_eq!(CALLS.load(SeqCst), 1);
        // As before: what was blocked is, what was not is not.
        assert!(os::is_blocked(libc::SIGHUP));
        for signal in [libc::SIGBUS, libc::SIGUSR1, libc::SIGUSR2] {
            assert!(!os::is_blocked(signal));
        }
    })
    .ran_to_its_end();
}

#[test]
fn a_handler_with_nodefer_runs_with_the_signal_not_blocked() {
    unsafe extern "C" fn check(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
        CALLS.fetch_add(1, SeqCst);
        assert!(!os::is_blocked(signal));
    }

    in_child!(|| {
        os::install(libc::SIGBUS, check, libc::SA_NODEFER, &[]);
        let _handlers = install().unwrap();
        os::send_to_self(libc::SIGBUS);
        assert_eq!(CALLS.load(SeqCst), 1);
    })
    .ran_to_its_end();
}

#[test]
fn a_handler_that_changes_the_mask_of_the_interrupted_code_changes_it() {
    unsafe extern "C" fn block_usr1(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel's.
        let mask = unsafe { &mut (*context.cast::<ucontext_t>()).uc_sigmask };
        // SAFETY: a valid set.
        unsafe { libc::sigaddset(mask, libc::SIGUSR1) };
    }

    in_child!(|| {
        os::install(libc::SIGILL, block_usr1, 0, &[]);
        let _handlers = install().unwrap();
        os::send_to_self(libc::SIGILL);
        assert!(os::is_blocked(libc::SIGUSR1));
    })
    .ran_to_its_end();
}

#[test]
fn a_one_shot_handler_is_called_once_and_then_the_default_kills() {
    in_child!(|| {
        os::install(libc::SIGILL, count_and_skip, libc::SA_RESETHAND, &[]);
        let _handlers = install().unwrap();
        fault::raise(libc::SIGILL);
        assert_eq!(CALLS.load(SeqCst), 1);
        say("armed");
        fault::raise(libc::SIGILL);
    })
    .died_silently_of(libc::SIGILL);
}

#[test]
fn a_one_shot_handler_that_ran_is_not_put_back() {
    in_child!(|| {
        os::install(libc::SIGILL, count_and_skip, libc::SA_RESETHAND, &[]);
        let handlers = install().unwrap();
        fault::raise(libc::SIGILL);
        handlers.uninstall().unwrap();
        assert_eq!(os::get_action(libc::SIGILL).sa_sigaction, libc::SIG_DFL);
    })
    .ran_to_its_end();
}

#[test]
fn a_handler_that_faults_while_its_signal_is_blocked_ends_the_process() {
    unsafe extern "C" fn fault_again(signal: c_int, _: *mut siginfo_t, _: *mut c_void) {
        fault::raise(signal);
    }

    for &signal in fault::SIGNALS {
        if signal == libc::SIGBUS
            && skipped_under_emulation!("a SIGBUS that is blocked is not forced")
        {
            continue;
        }
        in_child!(signal, |signal| {
            os::install(signal, fault_again, 0, &[]);
            let _handlers = install().unwrap();
            prepare_thread().unwrap();
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn a_handler_with_nodefer_that_faults_is_called_for_that_too() {
    unsafe extern "C" fn fault_once(signal: c_int, _: *mut siginfo_t, context: *mut c_void) {
        if CALLS.fetch_add(1, SeqCst) == 0 {
            fault::raise(signal);
        }
        // SAFETY: the kernel's, of an instruction in `fault`.
        fault::skip(signal, unsafe { &mut *context.cast() });
    }

    in_child!(|| {
        for &signal in fault::SIGNALS {
            os::install(signal, fault_once, libc::SA_NODEFER | libc::SA_ONSTACK, &[]);
        }
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        for &signal in fault::SIGNALS {
            CALLS.store(0, SeqCst);
            fault::raise(signal);
            assert_eq!(CALLS.load(SeqCst), 2);
        }
    })
    .ran_to_its_end();
}

#[test]
fn the_default_action_for_a_fault_kills() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            os::set_action(signal, &os::action(libc::SIG_DFL, 0, &[]));
            let _handlers = install().unwrap();
            prepare_thread().unwrap();
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn an_ignored_signal_that_somebody_sends_is_ignored_and_traps_go_on() {
    in_child!(|| {
        for signal in SIGNALS {
            os::set_action(signal, &os::action(libc::SIG_IGN, 0, &[]));
        }
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        for signal in SIGNALS {
            os::send_to_self(signal);
        }
        let trap = GuestStore::new().call(Function::Divide, 0).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
    })
    .ran_to_its_end();
}

#[test]
fn an_ignored_signal_that_the_processor_raises_kills() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            os::set_action(signal, &os::action(libc::SIG_IGN, 0, &[]));
            let _handlers = install().unwrap();
            say("armed");
            fault::raise(signal);
        })
        .died_silently_of(signal);
    }
}

/// Sends SIGFPE to a thread that waits in `read`, then gives it something to
/// read (not before [`count`] has been called, if that is the handler); what `read`
/// returned, and `errno`.
fn interrupt_a_read(is_handled: bool) -> (isize, c_int) {
    static TID: AtomicUsize = AtomicUsize::new(0);
    let mut pipe = [0; 2];
    // SAFETY: fills the array.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let reader = thread::spawn(move || {
        TID.store(os::gettid() as usize, SeqCst);
        let mut byte = 0_u8;
        // SAFETY: reads one byte.
        let read = unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) };
        (read, os::errno())
    });
    let tid = loop {
        match TID.load(SeqCst) {
            0 => thread::yield_now(),
            tid => break tid,
        }
    };
    // "S": it sleeps, in `read` (it may before, while it starts; then another
    // state would follow). The state stands after the name in parentheses.
    for _ in 0..20 {
        let stat = format!("/proc/self/task/{tid}/stat");
        while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
            thread::yield_now();
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
    // SAFETY: sends a signal to the reader.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGFPE) };
    if is_handled {
        while CALLS.load(SeqCst) == 0 {
            thread::yield_now();
        }
    } else {
        // Long enough for the signal to be delivered; in a slow machine the test
        // then shows less, but does not fail.
        thread::sleep(std::time::Duration::from_millis(100));
    }
    os::write(pipe[1], "x");
    reader.join().unwrap()
}

#[test]
fn a_sent_signal_restarts_system_calls_if_its_handler_would() {
    in_child!(|| {
        os::install(libc::SIGFPE, count, libc::SA_RESTART, &[]);
        let _handlers = install().unwrap();
        assert_eq!(interrupt_a_read(true).0, 1);
        assert_eq!(CALLS.load(SeqCst), 1);
    })
    .ran_to_its_end();
}

#[test]
fn an_ignored_signal_does_not_interrupt_system_calls() {
    in_child!(|| {
        os::set_action(libc::SIGFPE, &os::action(libc::SIG_IGN, 0, &[]));
        let _handlers = install().unwrap();
        assert_eq!(interrupt_a_read(false).0, 1);
    })
    .ran_to_its_end();
}

#[test]
fn a_sent_signal_interrupts_system_calls_if_its_handler_would() {
    in_child!(|| {
        os::install(libc::SIGFPE, count, 0, &[]);
        let _handlers = install().unwrap();
        assert_eq!(interrupt_a_read(true), (-1, libc::EINTR));
        assert_eq!(CALLS.load(SeqCst), 1);
    })
    .ran_to_its_end();
}

#[test]
fn the_first_process_of_a_namespace_is_not_killed_by_what_somebody_sends() {
    if skipped_under_emulation!("it has no process namespaces") {
        return;
    }
    in_child!(|| {
        os::set_action(libc::SIGSEGV, &os::action(libc::SIG_DFL, 0, &[]));
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::with_hook(Hook::Repair);
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::SIGCHLD;
        // The child goes on with the stack of its own copy.
        let stack = 0;
        // `clone(2)`: this one has them the other way round.
        let (first, second) = match cfg!(target_arch = "s390x") {
            true => (stack, flags),
            false => (flags, stack),
        };
        // SAFETY: as `fork`, but for the namespaces; the child does what a
        // handler may do, and ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) };
        if child == 0 {
            // SAFETY: asks, and ends the process.
            unsafe {
                let first = libc::getpid() == 1;
                os::send_to_self(libc::SIGSEGV);
                // Our handler is still there, for this signal too.
                let repaired = store.call(Function::Load, store.in_guard()).is_ok();
                libc::_exit(if first && repaired { 42 } else { 1 });
            }
        }
        if child < 0 {
            say("there are no namespaces for us here");
            return;
        }
        let mut status = 0;
        // SAFETY: fills in the status.
        let waited = unsafe { libc::waitpid(child as libc::pid_t, &raw mut status, 0) };
        assert_eq!(i64::from(waited), child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42,
            "{status:#x}"
        );
    })
    .ran_to_its_end();
}

/// One stop of a traced process by a signal.
#[derive(Debug, PartialEq, Eq)]
struct Stop {
    signal: c_int,
    code: c_int,
    address: usize,
    pc: String,
}

/// Runs `f` in a traced process, and returns the stops, and the signal that
/// ended it.
fn trace(f: impl Fn()) -> (Vec<Stop>, c_int) {
    let nothing = ptr::null_mut::<c_void>();
    // SAFETY: the usual protocol of ptrace; the forked child runs `f`, which
    // allocates nothing, and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing);
            f();
            libc::_exit(0);
        }
        let mut stops = Vec::new();
        loop {
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            if libc::WIFSIGNALED(status) {
                return (stops, libc::WTERMSIG(status));
            }
            assert!(libc::WIFSTOPPED(status), "{status:#x}");
            let mut info: siginfo_t = std::mem::zeroed();
            libc::ptrace(libc::PTRACE_GETSIGINFO, child, nothing, &raw mut info);
            let signal = libc::WSTOPSIG(status);
            stops.push(Stop {
                signal,
                code: info.si_code,
                address: info.si_addr().addr(),
                pc: pc_of(child),
            });
            let deliver = ptr::without_provenance_mut::<c_void>(signal as usize);
            libc::ptrace(libc::PTRACE_CONT, child, nothing, deliver);
        }
    }
}

/// The program counter of a stopped process: the last of the numbers there.
fn pc_of(process: libc::pid_t) -> String {
    let numbers = std::fs::read_to_string(format!("/proc/{process}/syscall")).unwrap();
    numbers.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn a_debugger_sees_the_process_die_where_it_faulted() {
    if skipped_under_emulation!("it cannot trace processes") {
        return;
    }
    in_child!(|| {
        for &signal in fault::SIGNALS {
            os::set_action(signal, &os::action(libc::SIG_DFL, 0, &[]));
        }
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let raised = fault::SIGNALS
            .iter()
            .map(|&signal| (signal, fault::raise as fn(c_int)));
        let sent = [libc::SIGSEGV, libc::SIGFPE].map(|signal| (signal, os::send_to_self as _));
        for (signal, f) in raised.chain(sent) {
            let (stops, end) = trace(|| f(signal));
            assert_eq!(end, signal);
            // Once for our handler, once for the default action: the same
            // signal, with the same details, at the same instruction.
            assert_eq!(stops.len(), 2, "{stops:#?}");
            assert_eq!(stops[0], stops[1]);
            assert_eq!(stops[0].signal, signal);
        }
    })
    .ran_to_its_end();
}

fn block(signal: c_int) {
    // SAFETY: a valid set and number.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
    }
}
