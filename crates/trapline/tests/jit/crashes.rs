//! Faults that are nobody's traps: they end the process as they would without
//! us, or loudly.

use std::os::unix::process::ExitStatusExt;
use std::ptr;

use trapline::Store;
use trapline_test_support::fault::reported;
use trapline_test_support::{NO_GUARD_PAGES, skipped_under_emulation, standard_error};

use crate::support::subprocess::{assert_dies_silently, outputs_of};
use crate::support::{Guest, JitStore, LinearMemory};

fn guest() -> Guest {
    Guest::new(
        "function %stop(i64) -> i64 tail {
         block0(v0: i64):
         @10 trap user1
         }
         function %ask(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @20 v2 = call fn0(v0, v1)
         @24 return v2
         }
         function %load(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @30 v2 = load.i64 heap_oob v1
         @34 return v2
         }
         function %trusted_load(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @40 v2 = load.i64 notrap v1
         @44 return v2
         }",
    )
}

/// An address that nobody can access, in no store's memory.
fn inaccessible() -> usize {
    let memory = LinearMemory::new(0);
    let address = memory.base().as_ptr().addr();
    // Nobody else shall get these addresses.
    std::mem::forget(memory);
    address
}

#[test]
fn a_trap_in_code_that_is_no_longer_registered_is_not_ours() {
    assert_dies_silently(
        "crashes::a_trap_in_code_that_is_no_longer_registered_is_not_ours",
        libc::SIGILL,
        |entry| {
            let guest = guest();
            let store = JitStore::new();
            let trap = store.call(entry, &guest, "stop", &[]);
            trap.expect_err("registered as yet");
            let trampoline = guest.code().trampoline("stop", entry);
            let _code = guest.unregister();
            let mut words = [0; 16];
            let words = &raw mut words;
            let _ = trapline::catch_traps(&store, |caller| {
                // SAFETY: the code is still there; the trap ends the process.
                unsafe { trampoline(caller, words) }
            });
        },
    );
}

#[test]
fn a_trap_of_a_guest_that_nobody_entered_properly_is_not_ours() {
    assert_dies_silently(
        "crashes::a_trap_of_a_guest_that_nobody_entered_properly_is_not_ours",
        libc::SIGILL,
        |entry| {
            let guest = guest();
            let store = JitStore::new();
            let trap = store.call(entry, &guest, "stop", &[]);
            trap.expect_err("entered properly");
            let trampoline = guest.code().trampoline("stop", entry);
            let mut words = [0; 16];
            // SAFETY: the trap ends the process.
            unsafe { trampoline(store.default_caller(), &raw mut words) };
        },
    );
}

/// Entered, but as a guest of another store: there is no telling what would be
/// left by leaving that one.
#[test]
fn a_trap_of_a_guest_entered_for_another_store_is_not_ours() {
    assert_dies_silently(
        "crashes::a_trap_of_a_guest_entered_for_another_store_is_not_ours",
        libc::SIGILL,
        |entry| {
            let guest = guest();
            let (store, other) = (JitStore::new(), JitStore::new());
            for store in [&store, &other] {
                let trap = store.call(entry, &guest, "stop", &[]);
                trap.expect_err("entered properly");
            }
            let trampoline = guest.code().trampoline("stop", entry);
            let mut words = [0; 16];
            let words = &raw mut words;
            let _ = trapline::catch_traps(&other, |_| {
                // SAFETY: the trap ends the process.
                unsafe { trampoline(store.default_caller(), words) }
            });
        },
    );
}

#[test]
fn a_fault_of_a_host_function_is_a_bug_of_the_host() {
    assert_dies_silently(
        "crashes::a_fault_of_a_host_function_is_a_bug_of_the_host",
        libc::SIGSEGV,
        |entry| {
            let store = JitStore::new().with_host(|_, address| {
                let pointer = ptr::without_provenance::<u32>(address as usize);
                // SAFETY: not safe at all: ends the process.
                Ok(unsafe { pointer.read_volatile() })
            });
            let _ = store.call(entry, &guest(), "ask", &[inaccessible() as u64]);
        },
    );
}

#[test]
fn a_fault_of_the_guest_where_none_was_expected_is_a_bug_of_the_compiler() {
    assert_dies_silently(
        "crashes::a_fault_of_the_guest_where_none_was_expected_is_a_bug_of_the_compiler",
        libc::SIGSEGV,
        |entry| {
            let store = JitStore::new();
            let _ = store.call(entry, &guest(), "trusted_load", &[inaccessible() as u64]);
        },
    );
}

#[test]
fn a_fault_in_plain_rust_after_a_guest_is_a_bug_of_the_host() {
    assert_dies_silently(
        "crashes::a_fault_in_plain_rust_after_a_guest_is_a_bug_of_the_host",
        libc::SIGSEGV,
        |entry| {
            let trap = JitStore::new().call(entry, &guest(), "stop", &[]);
            trap.expect_err("told to trap");
            let pointer = ptr::without_provenance::<u8>(inaccessible());
            // SAFETY: not safe at all: ends the process.
            unsafe { pointer.read_volatile() };
        },
    );
}

/// The standard library has a word to say about this one; we have not.
#[test]
fn a_host_function_out_of_stack_is_a_bug_of_the_host() {
    if skipped_under_emulation!(NO_GUARD_PAGES) {
        return;
    }
    #[expect(unconditional_recursion, reason = "that is what is tried")]
    fn recurse(depth: u64) -> u64 {
        std::hint::black_box(recurse(depth + 1) + depth)
    }

    let name = "crashes::a_host_function_out_of_stack_is_a_bug_of_the_host";
    let outputs = outputs_of(name, |entry| {
        let store = JitStore::new().with_host(|_, depth| Ok(recurse(depth) as u32));
        let _ = store.call(entry, &guest(), "ask", &[0]);
    });
    for output in outputs {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let stderr = standard_error(&output.stderr);
        assert!(stderr.contains("has overflowed its stack"), "{stderr}");
        assert!(!stderr.contains("trapline:"), "{stderr}");
    }
}

/// At a trap site, but in none of the store's memories: the sandbox did not
/// hold, and nobody may go on as if it had.
#[test]
fn a_fault_outside_of_all_memories_stops_the_process_with_a_message() {
    let name = "crashes::a_fault_outside_of_all_memories_stops_the_process_with_a_message";
    let outputs = outputs_of(name, |entry| {
        let store = JitStore::new().with_memory(LinearMemory::new(4096));
        let address = inaccessible();
        println!("address {:#x},", reported(address));
        let _ = store.call(entry, &guest(), "load", &[address as u64]);
    });
    for output in outputs {
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = standard_error(&output.stderr);
        let address = stdout
            .lines()
            .find(|line| line.starts_with("address "))
            .expect("the address was printed");
        assert!(stderr.contains(address), "{address} in {stderr}");
        assert!(stderr.contains("out of bounds memory access"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
