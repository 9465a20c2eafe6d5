//! The two ways from a handler to the host of a guest that trapped. (In processes of their
//! own: which way it is, is the whole process's.)

use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use trapline_code_registry::TrapKind;
use trapline_signal::{SignalHandlers, WayOut, install, prepare_thread, set_way_out, way_out};
use trapline_test_support::skipped_under_emulation;

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore};
use super::support::{SIGNALS, os};

const WAYS: [WayOut; 2] = [WayOut::Jump, WayOut::Return];

/// Each kind of trap, by each signal that guests have here.
fn trap_in_all_ways(store: &GuestStore) {
    for (function, argument, kind) in [
        (
            Function::Load,
            store.in_guard(),
            TrapKind::MemoryOutOfBounds,
        ),
        (Function::Unreachable, 0, TrapKind::UnreachableCodeReached),
        (Function::Divide, 0, TrapKind::IntegerDivisionByZero),
    ] {
        let trap = store.call(function, argument).unwrap_err();
        assert_eq!(trap.kind(), Some(kind));
    }
}

#[test]
fn both_ways_lead_out_again_and_again_and_leave_nothing_behind() {
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        for way in WAYS {
            set_way_out(way);
            assert_eq!(way_out(), way);
            for _ in 0..1_000 {
                os::set_errno(libc::EXDEV);
                trap_in_all_ways(&store);
                assert_eq!(os::errno(), libc::EXDEV);
                assert!(!os::is_on_signal_stack());
            }
            for signal in SIGNALS {
                assert!(!os::is_blocked(signal));
            }
        }
    })
    .ran_to_its_end();
}

#[test]
fn both_ways_keep_the_floating_point_settings_of_the_code_that_goes_on() {
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        let before = os::float_settings();
        os::round_toward_zero();
        let expected = os::float_settings();
        assert_ne!(before, expected);
        for way in WAYS {
            set_way_out(way);
            store.settings_at_trap.set(None);
            trap_in_all_ways(&store);
            assert_eq!(store.settings_at_trap.get(), Some(expected), "{way:?}");
            assert_eq!(os::float_settings(), expected, "{way:?}");
        }
    })
    .ran_to_its_end();
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn by_default_a_trap_does_not_return_to_the_kernel() {
    if skipped_under_emulation!("there are no filters of system calls") {
        return;
    }
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        assert_eq!(way_out(), WayOut::Jump);
        os::forbid_returns_from_handlers();
        for _ in 0..10 {
            trap_in_all_ways(&store);
        }
    })
    .ran_to_its_end();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_trap_whose_signal_comes_to_us_first_makes_no_system_call() {
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        os::forbid_returns_from_handlers();
        os::forbid(libc::SYS_rt_sigprocmask);
        for _ in 0..10 {
            trap_in_all_ways(&store);
        }
    })
    .ran_to_its_end();
}

/// Others put an action back that they had found, and a mask into it: by way of the C library, which
/// gives it another place to return to.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_mask_of_an_action_with_our_handler_that_others_install_does_not_stay() {
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let mut action = os::get_action(libc::SIGSEGV);
        action.sa_flags &= !libc::SA_NODEFER;
        // SAFETY: the set is writable.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1) };
        os::set_action(libc::SIGSEGV, &action);
        let store = GuestStore::new();
        for _ in 0..3 {
            store.call(Function::Load, store.in_guard()).unwrap_err();
            assert!(!os::is_blocked(libc::SIGSEGV));
            assert!(!os::is_blocked(libc::SIGUSR1));
        }
    })
    .ran_to_its_end();
}

/// What the handlers return to is known as a signal's frame: who walks the stack in a handler that
/// ours forwards to comes to the code that was interrupted.
#[test]
fn a_walk_that_starts_in_a_handler_goes_on_in_the_interrupted_code() {
    // Of the unwinder ("Itanium C++ ABI: Exception Handling", level I; the last one is GCC's).
    unsafe extern "C" {
        fn _Unwind_Backtrace(
            visit: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
            data: *mut c_void,
        ) -> c_int;
        fn _Unwind_GetIP(frame: *mut c_void) -> usize;
        fn _Unwind_FindEnclosingFunction(pc: *mut c_void) -> *mut c_void;
    }
    unsafe extern "C" fn visit(frame: *mut c_void, found: *mut c_void) -> c_int {
        // SAFETY: called by the unwinder with one of its frames, and with what we gave it.
        unsafe {
            let pc = ptr::with_exposed_provenance_mut(_Unwind_GetIP(frame).wrapping_sub(1));
            let function = _Unwind_FindEnclosingFunction(pc).addr();
            *found.cast::<bool>() |= function == the_interrupted_function as *const () as usize;
        }
        0
    }
    unsafe extern "C" fn earlier(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        let mut found = false;
        // SAFETY: the visitor is of the type that is wanted.
        unsafe { _Unwind_Backtrace(visit, (&raw mut found).cast()) };
        say(if found { "seen" } else { "not seen" });
    }
    #[inline(never)]
    fn the_interrupted_function() {
        os::send_to_self(libc::SIGFPE);
        say("back");
    }
    let child = in_child!(|| {
        os::install(libc::SIGFPE, earlier, 0, &[]);
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        the_interrupted_function();
    });
    assert!(child.said("seen") && child.said("back"), "{child:#?}");
    child.ran_to_its_end();
}

#[test]
fn with_the_other_way_out_it_does() {
    if skipped_under_emulation!("there are no filters of system calls") {
        return;
    }
    in_child!(|| {
        let _handlers = install().unwrap();
        prepare_thread().unwrap();
        let store = GuestStore::new();
        set_way_out(WayOut::Return);
        os::forbid_returns_from_handlers();
        say("armed");
        trap_in_all_ways(&store);
    })
    .died_silently_of(libc::SIGSYS);
}

/// Our handlers, and on top of those of some signals `on_top`, with these flags and this mask;
/// the addresses of ours are kept beside the signals. And a guest.
fn with_on_top(
    ours: impl IntoIterator<Item = (c_int, &'static AtomicUsize)>,
    on_top: os::Handler,
    flags: c_int,
    mask: &[c_int],
) -> (SignalHandlers, GuestStore) {
    let handlers = install().unwrap();
    prepare_thread().unwrap();
    for (signal, ours) in ours {
        ours.store(os::get_action(signal).sa_sigaction, Ordering::SeqCst);
        os::install(signal, on_top, flags, mask);
    }
    (handlers, GuestStore::new())
}

#[test]
fn no_frame_of_a_handler_on_top_of_ours_is_skipped() {
    static OURS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    static CAME_BACK: AtomicU32 = AtomicU32::new(0);
    const ON_TOP: [c_int; 3] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE];

    unsafe extern "C" fn on_top(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let index = ON_TOP.iter().position(|on_top| *on_top == signal).unwrap();
        let ours = OURS[index].load(Ordering::SeqCst);
        // SAFETY: the address of a handler with three arguments.
        let ours = unsafe {
            std::mem::transmute::<*const c_void, os::Handler>(ptr::with_exposed_provenance(ours))
        };
        // SAFETY: what the kernel gave us.
        unsafe { ours(signal, info, context) };
        CAME_BACK.fetch_add(1, Ordering::SeqCst);
    }

    in_child!(|| {
        let ours = ON_TOP.into_iter().zip(&OURS);
        let (_handlers, store) = with_on_top(ours, on_top, libc::SA_ONSTACK, &[]);
        for way in WAYS {
            set_way_out(way);
            CAME_BACK.store(0, Ordering::SeqCst);
            trap_in_all_ways(&store);
            trap_in_all_ways(&store);
            // Whose own signal was blocked while their handler ran.
            for signal in ON_TOP {
                assert!(!os::is_blocked(signal));
            }
            assert!(CAME_BACK.load(Ordering::SeqCst) >= 4, "{way:?}");
        }
    })
    .ran_to_its_end();
}

#[test]
fn an_alternate_stack_that_the_kernel_takes_away_for_handlers_is_back_afterwards() {
    if skipped_under_emulation!("alternate stacks are not taken away") {
        return;
    }
    in_child!(|| {
        let _handlers = install().unwrap();
        os::set_disarming_signal_stack(os::map(1 << 18, libc::PROT_READ | libc::PROT_WRITE));
        let store = GuestStore::new();
        for way in WAYS {
            set_way_out(way);
            for _ in 0..10 {
                trap_in_all_ways(&store);
                assert_eq!(os::signal_stack().ss_size, 1 << 18, "{way:?}");
                assert_eq!(os::signal_stack().ss_flags & libc::SS_DISABLE, 0, "{way:?}");
            }
        }
    })
    .ran_to_its_end();
}

/// A handler that calls ours last of all leaves no frame of its own: compilers make a jump of
/// the call. (By hand, since they need not.)
#[cfg(target_arch = "x86_64")]
#[test]
fn the_mask_of_a_handler_that_jumps_to_ours_does_not_stay() {
    static OURS: AtomicUsize = AtomicUsize::new(0);

    #[unsafe(naked)]
    unsafe extern "C" fn on_top(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        std::arch::naked_asm!("mov rax, [rip + {ours}]", "jmp rax", ours = sym OURS)
    }

    in_child!(|| {
        let ours = [(libc::SIGSEGV, &OURS)];
        // It blocks its own signal, and another one.
        let mask = [libc::SIGUSR1];
        let (_handlers, store) = with_on_top(ours, on_top, libc::SA_ONSTACK, &mask);
        for way in WAYS {
            set_way_out(way);
            for _ in 0..3 {
                store.call(Function::Load, store.in_guard()).unwrap_err();
                assert!(!os::is_blocked(libc::SIGSEGV), "{way:?}");
                assert!(!os::is_blocked(libc::SIGUSR1), "{way:?}");
            }
        }
    })
    .ran_to_its_end();
}

/// A handler that passes on a copy of the context may have it where the kernel's would be.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_copy_of_the_context_is_not_taken_for_the_kernels() {
    static OURS: AtomicUsize = AtomicUsize::new(0);
    static CAME_BACK: AtomicUsize = AtomicUsize::new(0);

    // What compilers make of `let copy = *context; ours(signal, info, &copy); CAME_BACK += 1;
    // *context = copy;`, with the copy at the stack pointer.
    #[unsafe(naked)]
    unsafe extern "C" fn on_top(_: c_int, _: *mut siginfo_t, _: *mut c_void) {
        std::arch::naked_asm!(
            "push rbx",
            "mov rbx, rdx",
            "sub rsp, 976",
            "mov r8, rsi",
            "mov r9, rdi",
            // The kernel's context has 304 bytes.
            "mov rsi, rdx",
            "mov rdi, rsp",
            "mov rcx, 38",
            "rep movsq",
            "mov rdi, r9",
            "mov rsi, r8",
            "mov rdx, rsp",
            "call [rip + {ours}]",
            "lock inc qword ptr [rip + {came_back}]",
            "mov rdi, rbx",
            "mov rsi, rsp",
            "mov rcx, 38",
            "rep movsq",
            "add rsp, 976",
            "pop rbx",
            "ret",
            ours = sym OURS,
            came_back = sym CAME_BACK,
        )
    }

    in_child!(|| {
        let ours = [(libc::SIGSEGV, &OURS)];
        let flags = libc::SA_ONSTACK | libc::SA_NODEFER;
        let (_handlers, store) = with_on_top(ours, on_top, flags, &[]);
        for way in WAYS {
            set_way_out(way);
            CAME_BACK.store(0, Ordering::SeqCst);
            for _ in 0..3 {
                store.call(Function::Load, store.in_guard()).unwrap_err();
            }
            assert!(CAME_BACK.load(Ordering::SeqCst) >= 3, "{way:?}");
        }
    })
    .ran_to_its_end();
}
