//! Last in, first out: what happens to those who switch stacks in a guest and leave its activations
//! where they are. Each scenario that has to stop the process runs in a process of its own.
#![cfg(all(feature = "std", target_os = "linux"))]

mod support;

use core::ops::ControlFlow;
use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use support::fiber::{Fiber, Inside, Stack};
use support::{
    FakeStore, Fault, HostResult, Program, Run, WAYS_IN, calls, decide, head, pcs_on_stacks,
    register_guest, trap_in, trap_pc, unchanged,
};
use trapline_activation::{
    FaultVerdict, Outcome, TrapReason, capture_backtrace, raise_preexisting_trap,
};
use trapline_arch::VirtualAddress;
use trapline_backtrace::WalkEnd;
use trapline_code_registry::TrapKind;
use trapline_test_support::{leave_no_core_dump, standard_error, test_around, this_program};

/// Set in a process that runs a scenario: which of its variants.
const VARIANT: &str = "TRAPLINE_ORDER_TEST_VARIANT";

/// Who is on the lower one of two stacks, and how guests are entered.
#[derive(Clone, Copy, Debug)]
struct Variant {
    coroutine_is_below: bool,
    way_in: Run,
}

impl Variant {
    const COUNT: usize = 4;

    fn nth(nth: usize) -> Self {
        Self {
            coroutine_is_below: nth.is_multiple_of(2),
            way_in: WAYS_IN[nth / 2],
        }
    }

    /// Runs `outer` on a stack of its own, with a coroutine on another one, which runs `inner`.
    fn run(self, outer: impl FnOnce(&mut Fiber), inner: impl FnOnce(&Inside)) {
        let [lower, upper] = Stack::rising();
        let (outer_stack, inner_stack) = if self.coroutine_is_below {
            (upper, lower)
        } else {
            (lower, upper)
        };
        // SAFETY: what the bodies borrow lives until this process ends or the fibers have finished.
        let mut coroutine = unsafe { Fiber::on(inner_stack, inner) };
        // SAFETY: as above.
        let mut fiber = unsafe { Fiber::on(outer_stack, |_| outer(&mut coroutine)) };
        assert!(fiber.run_with_activations_left_where_they_are());
    }
}

/// Runs each variant of the scenario in a process of its own, which has to stop by itself, with these
/// words and the rule on standard error, before the scenario comes to its end.
macro_rules! assert_stops {
    ($words:expr, $scenario:expr) => {{
        fn here() {}
        assert_stops(test_around(&here), $words, $scenario)
    }};
}

fn assert_stops(test: &str, words: &str, scenario: impl Fn(Variant)) {
    if let Ok(variant) = std::env::var(VARIANT) {
        leave_no_core_dump();
        register_guest();
        scenario(Variant::nth(variant.parse().unwrap()));
        println!("end of scenario");
        std::process::exit(0);
    }
    for nth in 0..Variant::COUNT {
        let output = this_program()
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIANT, nth.to_string())
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = standard_error(&output.stderr);
        let all = format!("variant {nth}: {output:?}\n{stderr}");
        assert_eq!(output.status.signal(), Some(SIGABRT), "{all}");
        assert!(stderr.contains(words), "{all}");
        for words in ["last in, first out", "suspend_activations", "resume"] {
            assert!(stderr.contains(words), "{all}");
        }
    }
}

/// Linux's number for it, on each of the instruction sets.
const SIGABRT: i32 = 6;

/// A host function of the coroutine's guest.
fn yields(inside: &Inside) -> impl Fn() -> HostResult {
    || {
        inside.suspend();
        Ok(())
    }
}

/// The coroutine: enters a guest of the store, whose host function yields.
fn guest_that_yields(way_in: Run, store: &FakeStore) -> impl FnOnce(&Inside) {
    move |inside| {
        let yields = yields(inside);
        way_in(store, &Program::new().frames(1).host(&yields)).unwrap();
    }
}

/// Enters a guest whose host function starts the coroutine, which is left waiting in a guest of its
/// own; and then does `then`.
fn host_that_starts_a_coroutine(
    variant: Variant,
    stores: [&FakeStore; 2],
    then: impl Fn() -> HostResult,
) {
    let Variant { way_in, .. } = variant;
    let outer = |coroutine: &mut Fiber| {
        let coroutine = RefCell::new(coroutine);
        let host = || {
            assert!(
                !coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are()
            );
            then()
        };
        let _ = way_in(stores[0], &Program::new().frames(1).host(&host));
    };
    variant.run(outer, guest_that_yields(way_in, stores[1]));
}

const LEFT: &str = "a guest was left that is not the one entered last";
const RECORDED: &str = "was recorded on a stack that this guest does not run on";
const RAISED: &str = "was to be left from a stack that this guest does not run on";
const TRAPPED: &str = "a guest trapped that is not the one entered last";

#[test]
fn a_guest_that_is_left_before_a_newer_one_on_another_stack_stops_the_process() {
    assert_stops!(LEFT, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        host_that_starts_a_coroutine(variant, stores.each_ref(), || Ok(()));
    });
}

#[test]
fn the_same_store_on_both_stacks_makes_no_difference() {
    assert_stops!(LEFT, |variant| {
        let store = FakeStore::new();
        host_that_starts_a_coroutine(variant, [&store; 2], || Ok(()));
    });
}

#[test]
fn an_older_guest_on_another_stack_that_is_left_first_stops_the_process() {
    assert_stops!(LEFT, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            assert!(!coroutine.run_with_activations_left_where_they_are());
            let coroutine = RefCell::new(coroutine);
            let finishes = || {
                coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are();
                Ok(())
            };
            let _ = way_in(&stores[0], &Program::new().host(&finishes));
        };
        variant.run(outer, guest_that_yields(way_in, &stores[1]));
    });
}

#[test]
fn an_error_recorded_while_the_innermost_guest_is_on_another_stack_stops_the_process() {
    assert_stops!(RECORDED, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        host_that_starts_a_coroutine(variant, stores.each_ref(), || {
            Err(TrapReason::User(anyhow::anyhow!("on purpose")))
        });
    });
}

#[test]
fn an_error_recorded_while_the_same_store_is_in_a_guest_on_another_stack_stops_the_process() {
    assert_stops!(RECORDED, |variant| {
        let store = FakeStore::new();
        host_that_starts_a_coroutine(variant, [&store; 2], || {
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        });
    });
}

#[test]
fn a_panic_recorded_while_the_innermost_guest_is_on_another_stack_stops_the_process() {
    assert_stops!(RECORDED, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        host_that_starts_a_coroutine(variant, stores.each_ref(), || panic!("on purpose"));
    });
}

#[test]
fn a_panic_that_takes_a_coroutine_apart_below_a_newer_guest_stops_the_process() {
    assert_stops!(RECORDED, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            assert!(!coroutine.run_with_activations_left_where_they_are());
            let coroutine = RefCell::new(coroutine);
            // As a coroutine that is dropped: what waits in it is unwound.
            let drops = || {
                coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are();
                Ok(())
            };
            let _ = way_in(&stores[0], &Program::new().host(&drops));
        };
        let inner = |inside: &Inside| {
            let yields = || {
                inside.suspend();
                panic!("dropped")
            };
            let _ = way_in(&stores[1], &Program::new().frames(1).host(&yields));
        };
        variant.run(outer, inner);
    });
}

#[test]
fn raising_while_the_innermost_guest_is_on_another_stack_stops_the_process() {
    assert_stops!(RAISED, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        host_that_starts_a_coroutine(variant, stores.each_ref(), || {
            // SAFETY: the process stops.
            unsafe { raise_preexisting_trap() }
        });
    });
}

/// A guest whose host function starts the coroutine, and which then traps by the hardware.
fn trap_after_starting_a_coroutine(variant: Variant, stores: [&FakeStore; 2]) {
    let way_in = variant.way_in;
    let outer = |coroutine: &mut Fiber| {
        let coroutine = RefCell::new(coroutine);
        let host = || {
            assert!(
                !coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are()
            );
            Ok(())
        };
        let fault = Fault::without_address();
        let program = Program::new().host_then(&host).frames(1).trap(&fault);
        let _ = way_in(stores[0], &program);
    };
    variant.run(outer, guest_that_yields(way_in, stores[1]));
}

#[test]
fn a_hardware_trap_while_the_innermost_guest_is_on_another_stack_stops_the_process() {
    assert_stops!(TRAPPED, |variant| {
        let stores = [FakeStore::new(), FakeStore::new()];
        trap_after_starting_a_coroutine(variant, stores.each_ref());
    });
}

#[test]
fn a_hardware_trap_while_the_same_store_is_in_a_guest_on_another_stack_stops_the_process() {
    assert_stops!(TRAPPED, |variant| {
        let store = FakeStore::new();
        trap_after_starting_a_coroutine(variant, [&store; 2]);
    });
}

#[test]
fn a_suspended_guest_that_is_left_without_being_resumed_stops_the_process() {
    assert_stops!(LEFT, |variant| {
        let store = FakeStore::new();
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            assert!(!coroutine.run());
            assert!(head().is_null());
            coroutine.run_with_activations_left_where_they_are();
        };
        variant.run(outer, guest_that_yields(way_in, &store));
    });
}

/// A value, that is: an error is noticed in any build.
#[test]
#[cfg(debug_assertions)]
fn a_guest_that_is_left_on_another_thread_stops_the_process_where_assertions_are_on() {
    assert_stops!("a guest was left on another CPU (thread)", |variant| {
        let store = FakeStore::new();
        let outer = |coroutine: &mut Fiber| {
            coroutine.run_with_activations_left_where_they_are();
            std::thread::scope(|scope| {
                scope.spawn(|| coroutine.run_with_activations_left_where_they_are());
            });
        };
        variant.run(outer, guest_that_yields(variant.way_in, &store));
    });
}

#[test]
fn an_error_recorded_on_another_thread_than_the_guest_was_entered_on_stops_the_process() {
    let outside = "a reason to leave a guest was recorded outside of any catch_traps";
    fn here() {}
    let test = test_around(&here);
    if std::env::var(VARIANT).is_err() {
        let output = this_program()
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIANT, "0")
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = standard_error(&output.stderr);
        assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
        assert!(stderr.contains(outside), "{stderr}");
        return;
    }
    leave_no_core_dump();
    register_guest();
    let store = FakeStore::new();
    let outer = |coroutine: &mut Fiber| {
        coroutine.run_with_activations_left_where_they_are();
        std::thread::scope(|scope| {
            scope.spawn(|| coroutine.run_with_activations_left_where_they_are());
        });
    };
    let inner = |inside: &Inside| {
        let fails = || {
            inside.suspend();
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        };
        let _ = support::run(&store, &Program::new().host(&fails));
    };
    Variant::nth(0).run(outer, inner);
}

#[test]
fn a_coroutine_that_ends_before_anybody_looks_has_done_no_harm() {
    register_guest();
    for variant in (0..Variant::COUNT).map(Variant::nth) {
        let stores = [FakeStore::new(), FakeStore::new()];
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            let coroutine = RefCell::new(coroutine);
            let ends = Cell::new(0);
            let host = || {
                let ended = coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are();
                ends.set(ends.get() + usize::from(ended));
                Ok(())
            };
            let fails = || Err(TrapReason::Wasm(TrapKind::CastFailure));
            let program = Program::new()
                .frames(1)
                .host_then(&host)
                .host_then(&host)
                .frames(1)
                .host(&fails);
            let trap = unchanged(&[&stores[0], &stores[1]], || way_in(&stores[0], &program));
            assert_eq!(trap.unwrap_err().kind(), Some(TrapKind::CastFailure));
            assert_eq!(ends.get(), 1);
        };
        variant.run(outer, guest_that_yields(way_in, &stores[1]));
        assert!(head().is_null());
    }
}

#[test]
fn a_fault_that_is_repaired_is_no_trap_whatever_the_order() {
    register_guest();
    for variant in (0..Variant::COUNT).map(Variant::nth) {
        let stores = [FakeStore::new(), FakeStore::new()];
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            let coroutine = RefCell::new(coroutine);
            let goes_on = || {
                coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are();
                Ok(())
            };
            // Of the guest that waits for the coroutine to come back, as a handler would see it.
            let fault = |hook| {
                stores[0].hook.set(hook);
                let fp = capture_backtrace(&stores[0]).as_slice()[0].fp;
                decide(VirtualAddress::new(trap_pc()), fp, None)
            };
            let faults = || {
                let repaired = fault(|_| FaultVerdict::Handled);
                assert_eq!(repaired, ControlFlow::Break(Outcome::Retry));
                let trap = fault(|_| FaultVerdict::NotHandled);
                assert!(matches!(trap, ControlFlow::Break(Outcome::Resume(_))));
                Ok(())
            };
            let program = Program::new()
                .frames(1)
                .host_then(&goes_on)
                .host_then(&faults)
                .host_then(&goes_on)
                .nothing();
            way_in(&stores[0], &program).unwrap();
        };
        variant.run(outer, guest_that_yields(way_in, &stores[1]));
    }
}

/// On stacks in any order: each guest is left for its own reason, by each of the ways.
#[test]
fn guests_on_several_stacks_that_keep_the_order_are_left_as_on_one() {
    register_guest();
    for variant in (0..Variant::COUNT).map(Variant::nth) {
        let stores = [FakeStore::new(), FakeStore::new()];
        let way_in = variant.way_in;
        let fault = Fault::without_address();
        let trapped = Cell::new(0);
        // Of the outer store again, on top of the coroutine's guest.
        let enter_all_ways = |store: &FakeStore| {
            let fails = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
            let panics = || panic!("on purpose");
            let trap = way_in(store, &Program::new().frames(2).host(&fails)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::OutOfFuel));
            let trap = way_in(store, &Program::new().frames(2).trap(&fault)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
            let pcs = pcs_on_stacks(trap.backtrace.as_ref().unwrap());
            assert!(pcs.starts_with(&trap_in(2)));
            let panic = Program::new().host(&panics);
            let payload = catch_unwind(AssertUnwindSafe(|| way_in(store, &panic)));
            assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"on purpose"));
            trapped.set(trapped.get() + 1);
        };
        let outer = |coroutine: &mut Fiber| {
            let coroutine = RefCell::new(coroutine);
            let host = || {
                enter_all_ways(&stores[0]);
                // Comes back finished: nothing is left where it is.
                assert!(
                    coroutine
                        .borrow_mut()
                        .run_with_activations_left_where_they_are()
                );
                enter_all_ways(&stores[0]);
                Err(TrapReason::Wasm(TrapKind::Interrupt))
            };
            let trap = way_in(&stores[0], &Program::new().frames(1).host(&host)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::Interrupt));
        };
        let inner = |_: &Inside| {
            let host = || {
                enter_all_ways(&stores[1]);
                enter_all_ways(&stores[0]);
                Err(TrapReason::Wasm(TrapKind::Interrupt))
            };
            let trap = way_in(&stores[1], &Program::new().frames(1).host(&host)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::Interrupt));
        };
        unchanged(&stores.each_ref(), || variant.run(outer, inner));
        assert_eq!(trapped.get(), 4);
    }
}

/// The words of the store are of two guests then, on two stacks: what is between is not read.
#[test]
fn no_frames_of_a_guest_are_looked_for_on_another_stack() {
    register_guest();
    for variant in (0..Variant::COUNT).map(Variant::nth) {
        let store = FakeStore::new();
        let way_in = variant.way_in;
        let outer = |coroutine: &mut Fiber| {
            let coroutine = RefCell::new(coroutine);
            let host = || {
                coroutine
                    .borrow_mut()
                    .run_with_activations_left_where_they_are();
                Ok(())
            };
            let looks = || {
                let found = capture_backtrace(&store);
                assert!(matches!(found.end(), WalkEnd::Broken { .. }), "{found:?}");
                // What is known for certain comes first, or is left out.
                assert!(found.is_empty(), "{found:?}");
                Ok(())
            };
            let program = Program::new()
                .frames(1)
                .host_then(&host)
                .host_then(&looks)
                .host_then(&host)
                .nothing();
            way_in(&store, &program).unwrap();
        };
        let inner = |inside: &Inside| {
            let yields = || {
                assert_eq!(pcs_on_stacks(&capture_backtrace(&store))[..1], calls(1)[..]);
                inside.suspend();
                Ok(())
            };
            way_in(&store, &Program::new().frames(1).host(&yields)).unwrap();
        };
        variant.run(outer, inner);
    }
}
