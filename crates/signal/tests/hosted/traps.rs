//! Faults of guests come back as traps.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use libc::{c_int, c_void, siginfo_t};
use trapline_activation::{Trap, TrapReason, WasmFault};
use trapline_arch::VirtualAddress;
use trapline_code_registry::TrapKind;
use trapline_signal::{ensure_installed, install, prepare_thread};
use trapline_test_support::{NO_GUARD_PAGES, fault, skipped_under_emulation};

use super::support::child::{in_child, say};
use super::support::guest::{Function, GuestStore, Hook, MEMORY_SIZE};
use super::support::{SIGNALS, os, recurse};

fn prepare() {
    ensure_installed().unwrap();
    prepare_thread().unwrap();
}

#[track_caller]
fn assert_trap(trap: &Trap, function: Function, address: Option<usize>, kind: TrapKind) {
    let TrapReason::Jit {
        pc,
        faulting_addr,
        trap,
    } = trap.reason
    else {
        panic!("{trap:?}")
    };
    assert_eq!(pc, function.trap_site());
    let reported = address.map(fault::reported).map(VirtualAddress::new);
    assert_eq!(faulting_addr, reported);
    assert_eq!(trap, kind);
}

/// A load from `address` traps, and the trap says where.
#[track_caller]
fn assert_load_traps(store: &GuestStore, address: usize) -> Trap {
    let trap = store.call(Function::Load, address).unwrap_err();
    assert_trap(
        &trap,
        Function::Load,
        Some(address),
        TrapKind::MemoryOutOfBounds,
    );
    trap
}

#[test]
fn an_illegal_instruction_is_a_trap() {
    prepare();
    let trap = GuestStore::new()
        .call(Function::Unreachable, 0)
        .unwrap_err();
    assert_trap(
        &trap,
        Function::Unreachable,
        None,
        TrapKind::UnreachableCodeReached,
    );
}

#[test]
fn a_load_from_the_guard_region_is_a_trap_with_the_address_that_the_processor_tells() {
    prepare();
    let store = GuestStore::new();
    let address = store.in_guard();
    let trap = assert_load_traps(&store, address);
    assert_eq!(
        trap.wasm_fault,
        Some(WasmFault {
            memory_size: MEMORY_SIZE as u64,
            wasm_address: (fault::reported(address) - store.memory.start) as u64,
        })
    );
}

#[test]
fn a_load_through_a_null_reference_is_a_trap() {
    prepare();
    assert_load_traps(&GuestStore::new(), 0x10);
}

#[test]
fn a_load_from_a_page_without_a_file_behind_it_is_a_trap() {
    if cfg!(target_arch = "s390x")
        && skipped_under_emulation!("the address of a SIGBUS arrives with its halves exchanged")
    {
        return;
    }
    prepare();
    let mut store = GuestStore::new();
    let page = fault::page_of_an_empty_file();
    store.memory = page..page + 4096;
    let address = page + 8;
    assert_load_traps(&store, address);
}

#[test]
fn a_division_that_has_no_result_is_a_trap() {
    prepare();
    let store = GuestStore::new();
    for divisor in [0, usize::MAX] {
        let trap = store.call(Function::Divide, divisor).unwrap_err();
        assert_trap(
            &trap,
            Function::Divide,
            None,
            TrapKind::IntegerDivisionByZero,
        );
    }
}

#[test]
fn a_check_that_fails_is_a_trap() {
    prepare();
    let trap = GuestStore::new().call(Function::Check, 0).unwrap_err();
    assert_trap(&trap, Function::Check, None, TrapKind::NullReference);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_trap_by_hlt_is_a_trap_without_an_address_and_no_escape() {
    prepare();
    let trap = GuestStore::new().call(Function::Halt, 0).unwrap_err();
    assert_trap(&trap, Function::Halt, None, TrapKind::MemoryOutOfBounds);
    assert_eq!(trap.wasm_fault, None);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn hlt_where_no_trap_is_listed_ends_the_process_silently() {
    in_child!(|| {
        prepare();
        say("armed");
        let _ = GuestStore::new().call(Function::HaltUnlisted, 0);
    })
    .died_silently_of(libc::SIGSEGV);
}

#[test]
fn a_guest_that_does_not_trap_returns() {
    prepare();
    let store = GuestStore::new();
    assert_eq!(store.call(Function::Check, 7).unwrap(), 7);
    assert_eq!(store.call(Function::Load, store.memory.start).unwrap(), 0);
    assert_eq!(store.call(Function::Divide, 1).unwrap() as u32, 0x8000_0000);
}

#[test]
fn the_ten_thousandth_trap_is_as_the_first_and_leaves_nothing_behind() {
    prepare();
    let store = GuestStore::with_hook(Hook::NoteStack);
    let address = store.in_guard();
    for _ in 0..10_000 {
        assert_load_traps(&store, address);
        assert!(store.was_on_signal_stack.replace(false));
        assert!(!os::is_on_signal_stack());
    }
    for signal in SIGNALS {
        assert!(!os::is_blocked(signal));
    }
}

#[test]
fn traps_on_many_threads_at_once_are_each_their_own() {
    ensure_installed().unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                prepare_thread().unwrap();
                let store = GuestStore::new();
                for i in 0..200 {
                    let address = store.in_guard() + i * 8;
                    assert_load_traps(&store, address);
                    let trap = store.call(Function::Unreachable, 0).unwrap_err();
                    assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
                }
            });
        }
    });
}

#[test]
fn a_thread_that_was_not_prepared_traps_too() {
    ensure_installed().unwrap();
    thread::spawn(|| {
        let trap = GuestStore::new()
            .call(Function::Unreachable, 0)
            .unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
    })
    .join()
    .unwrap();
}

#[test]
fn a_guest_called_by_a_host_function_of_a_guest_traps_by_itself() {
    extern "C" fn host() {
        let inner = GuestStore::new();
        let trap = inner.call(Function::Divide, 0).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
    }

    prepare();
    let outer = GuestStore::new();
    outer.call_host(host).unwrap();
    let trap = outer.call(Function::Unreachable, 0).unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
}

#[test]
fn a_fault_that_the_store_repairs_is_retried_and_nobody_notices() {
    prepare();
    let store = GuestStore::with_hook(Hook::Repair);
    os::set_errno(libc::EINTR);
    let loaded = store.call(Function::Load, store.in_guard());
    assert_eq!(os::errno(), libc::EINTR);
    assert_eq!(loaded.unwrap(), 0);
}

#[test]
fn what_is_retried_is_the_instruction_that_trapped_whatever_it_is() {
    prepare();
    for (function, argument, kind) in [
        (Function::Unreachable, 0, TrapKind::UnreachableCodeReached),
        (Function::Divide, 0, TrapKind::IntegerDivisionByZero),
        (Function::Check, 0, TrapKind::NullReference),
        #[cfg(target_arch = "x86_64")]
        (Function::Halt, 0, TrapKind::MemoryOutOfBounds),
    ] {
        let store = GuestStore::with_hook(Hook::AskTwice);
        let trap = store.call(function, argument).unwrap_err();
        assert_eq!(trap.kind(), Some(kind));
        assert_eq!(store.times_asked.get(), 2, "{kind}");
    }
}

#[test]
fn a_signal_that_somebody_sends_is_no_trap_even_at_a_trap_site() {
    static WORD: AtomicUsize = AtomicUsize::new(0);
    static CALLS: AtomicU32 = AtomicU32::new(0);
    static TID: AtomicUsize = AtomicUsize::new(0);

    unsafe extern "C" fn count(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel's.
        assert_eq!(unsafe { (*info).si_code }, libc::SI_TKILL);
        CALLS.fetch_add(1, Ordering::SeqCst);
    }

    in_child!(|| {
        for signal in SIGNALS {
            os::install(signal, count, libc::SA_RESTART, &[]);
        }
        let _handlers = install().unwrap();
        let guest = thread::spawn(|| {
            prepare_thread().unwrap();
            TID.store(os::gettid() as usize, Ordering::SeqCst);
            GuestStore::new()
                .call(Function::Spin, WORD.as_ptr().addr())
                .unwrap();
        });
        while TID.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        for sent in 0..400 {
            // SAFETY: sends a signal to the guest's thread.
            unsafe {
                libc::syscall(
                    libc::SYS_tgkill,
                    libc::getpid(),
                    TID.load(Ordering::SeqCst),
                    SIGNALS[sent as usize % 4],
                );
            }
            while CALLS.load(Ordering::SeqCst) == sent {
                thread::yield_now();
            }
        }
        WORD.store(1, Ordering::SeqCst);
        guest.join().unwrap();
        assert_eq!(CALLS.load(Ordering::SeqCst), 400);
    })
    .ran_to_its_end();
}

#[test]
fn a_guest_fault_where_no_trap_is_listed_ends_the_process_silently() {
    in_child!(|| {
        prepare();
        let store = GuestStore::new();
        say("armed");
        let _ = store.call(Function::LoadUnlisted, store.in_guard());
    })
    .died_silently_of(libc::SIGSEGV);
}

#[test]
fn a_guest_fault_outside_all_memories_stops_the_process_with_a_message() {
    let ended = in_child!(|| {
        prepare();
        let store = GuestStore::new();
        let elsewhere = os::map(4096, libc::PROT_NONE).start;
        say(&format!(
            "expect pc {}, address {:#x},",
            Function::Load.trap_site(),
            fault::reported(elsewhere),
        ));
        let _ = store.call(Function::Load, elsewhere);
    });
    ended.died_of(
        libc::SIGABRT,
        "trapline: guest fault at a trap site outside all memories of its store: pc 0x",
    );
    let message = ended.stderr();
    assert!(message.ends_with(
        ", trap out of bounds memory access; this is a sandbox escape, the process stops\n"
    ));
    let told = message
        .split_once("store: ")
        .unwrap()
        .1
        .split_once(" trap")
        .unwrap()
        .0;
    assert!(ended.said(&format!("expect {told}")), "{ended:#?}");
}

/// An address that is not canonical, on any of the processors.
const NOT_CANONICAL: usize = 0x1234_5678_9abc_def0;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_guest_fault_at_an_address_that_the_processor_does_not_tell_is_an_escape() {
    in_child!(|| {
        prepare();
        let _ = GuestStore::new().call(Function::Load, NOT_CANONICAL);
    })
    .died_of(libc::SIGABRT, "address 0x8000000000000000, trap");
}

#[test]
#[cfg(not(target_arch = "x86_64"))]
fn a_guest_fault_at_an_address_that_is_not_canonical_is_an_escape() {
    if skipped_under_emulation!("an address that is not canonical arrives as 0") {
        return;
    }
    // The top byte is no part of an address there.
    let told = match cfg!(target_arch = "aarch64") {
        true => NOT_CANONICAL & (usize::MAX >> 8),
        false => fault::reported(NOT_CANONICAL),
    };
    in_child!(|| {
        prepare();
        let _ = GuestStore::new().call(Function::Load, NOT_CANONICAL);
    })
    .died_of(libc::SIGABRT, &format!("address {told:#x}, trap"));
}

/// On aarch64 the processor does not look at the top byte of an address: an
/// access that has one set is an access to the rest of the address.
#[test]
#[cfg(target_arch = "aarch64")]
fn a_tagged_address_is_the_address_without_its_tag() {
    prepare();
    let store = GuestStore::new();
    let tag = 0xa5 << 56;
    assert_eq!(
        store
            .call(Function::Load, store.memory.start | tag)
            .unwrap(),
        0
    );
    for address in [store.in_guard(), 0x10] {
        let trap = store.call(Function::Load, address | tag).unwrap_err();
        assert_trap(
            &trap,
            Function::Load,
            Some(address),
            TrapKind::MemoryOutOfBounds,
        );
    }
}

#[test]
fn a_host_function_that_faults_ends_the_process_silently_by_its_own_signal() {
    static SIGNAL: AtomicU32 = AtomicU32::new(0);
    extern "C" fn host() {
        fault::raise(SIGNAL.load(Ordering::SeqCst) as i32);
    }

    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            prepare();
            SIGNAL.store(signal as u32, Ordering::SeqCst);
            let store = GuestStore::new();
            assert!(store.call(Function::Unreachable, 0).is_err());
            say("armed");
            let _ = store.call_host(host);
        })
        .died_silently_of(signal);
    }
}

#[test]
fn a_host_function_that_uses_up_the_stack_ends_as_without_us() {
    if skipped_under_emulation!(NO_GUARD_PAGES) {
        return;
    }
    extern "C" fn host() {
        recurse(0);
    }

    in_child!(|| {
        prepare();
        let _ = GuestStore::new().call_host(host);
    })
    .died_of(libc::SIGABRT, "has overflowed its stack");
}

#[test]
fn a_fault_inside_the_handler_is_passed_on_and_not_handled_again() {
    for &signal in fault::SIGNALS {
        in_child!(signal, |signal| {
            prepare();
            let store = GuestStore::with_hook(Hook::Fault(signal));
            say("armed");
            let _ = store.call(Function::Load, store.in_guard());
        })
        .died_silently_of(signal);
    }
}

#[test]
fn a_guest_on_a_signal_stack_is_part_of_a_handler() {
    extern "C" fn enter_guest(_: c_int) {
        let _ = GuestStore::new().call(Function::Unreachable, 0);
    }

    in_child!(|| {
        prepare();
        // Registers the code, which a handler must not.
        let _ = GuestStore::new();
        let handler = enter_guest as *const () as usize;
        os::set_action(libc::SIGUSR1, &os::action(handler, libc::SA_ONSTACK, &[]));
        say("armed");
        os::send_to_self(libc::SIGUSR1);
    })
    .died_silently_of(libc::SIGILL);
}

#[test]
fn these_tests_notice_a_handler_that_allocates() {
    extern "C" fn allocate(_: c_int) {
        std::hint::black_box(Box::new(1));
    }

    in_child!(|| {
        prepare();
        let handler = allocate as *const () as usize;
        os::set_action(libc::SIGUSR1, &os::action(handler, libc::SA_ONSTACK, &[]));
        os::send_to_self(libc::SIGUSR1);
    })
    .died_of(libc::SIGABRT, "a handler allocates or frees");
}

#[test]
fn a_handler_from_before_us_sees_the_fault_inside_our_handler() {
    static SEEN: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn skip(signal: c_int, _: *mut siginfo_t, context: *mut c_void) {
        SEEN.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the kernel's, of an instruction in `fault`.
        fault::skip(signal, unsafe { &mut *context.cast() });
    }

    in_child!(|| {
        os::install(libc::SIGILL, skip, 0, &[]);
        prepare();
        let store = GuestStore::with_hook(Hook::Fault(libc::SIGILL));
        // The hook faults, is helped over it, and then says that it is a trap.
        let trap = store.call(Function::Load, store.in_guard()).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
        assert_eq!(SEEN.load(Ordering::SeqCst), 1);
    })
    .ran_to_its_end();
}
