//! Activations that are taken off one thread and put back on another, with the
//! fiber that they belong to.
#![cfg(feature = "std")]

mod support;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::ThreadId;

use support::fiber::{Fiber, Inside};
use support::{
    FakeStore, Fault, HostResult, INITIAL, Program, WAYS_IN, calls, head, pcs, pcs_on_stacks,
    register_guest, run, trap_in, trap_pcs, unchanged,
};
use trapline_activation::{
    ActivationMark, Trap, TrapReason, capture_backtrace, for_each_activation, suspend_activations,
};
use trapline_code_registry::TrapKind;

/// Something that one thread at a time uses.
struct Handed<T>(T);

// SAFETY: the tests hand these from thread to thread and wait.
unsafe impl<T> Send for Handed<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handed<T> {}

/// Runs a fiber to its end, each leg on a thread of its own; the number of
/// legs.
fn run_on_many_threads(fiber: &mut Fiber) -> usize {
    let mut legs = 0;
    loop {
        legs += 1;
        let finished = std::thread::scope(|scope| {
            let leg = scope.spawn(|| {
                assert!(head().is_null());
                let finished = fiber.run();
                assert!(head().is_null(), "nothing of the fiber stays behind");
                finished
            });
            leg.join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        });
        if finished {
            return legs;
        }
    }
}

fn chain_length() -> usize {
    let mut length = 0;
    let _: ControlFlow<()> = for_each_activation(|_| {
        length += 1;
        ControlFlow::Continue(())
    });
    length
}

/// A host function that suspends the fiber.
fn suspends(inside: &Inside) -> impl Fn() -> HostResult {
    || {
        inside.suspend();
        Ok(())
    }
}

#[test]
fn a_guest_suspended_on_one_thread_traps_on_another() {
    register_guest();
    for way_in in WAYS_IN {
        let store = Handed(FakeStore::new());
        let store = &store;
        let result = Handed(RefCell::new(None));
        let threads = Handed(RefCell::new(Vec::new()));
        let (result, threads) = (&result, &threads);
        let body = |inside: &Inside| {
            let store = &store.0;
            let suspend = || {
                threads.0.borrow_mut().push(std::thread::current().id());
                assert_eq!(pcs(&capture_backtrace(store))[1..], calls(2));
                inside.suspend();
                // The same frames, seen from another thread.
                assert_eq!(pcs(&capture_backtrace(store))[1..], calls(2));
                threads.0.borrow_mut().push(std::thread::current().id());
                Ok(())
            };
            let fault = Fault::at_address(store.memory.start + 3);
            let program = Program::new()
                .frames(2)
                .host_then(&suspend)
                .frames(1)
                .trap(&fault);
            let trap = unchanged(&[store], || way_in(store, &program)).unwrap_err();
            *result.0.borrow_mut() = Some(trap);
        };
        // SAFETY: what the body borrows lives until the fiber has finished, and
        // one thread at a time uses it.
        let mut fiber = unsafe { Fiber::new(body) };
        assert_eq!(run_on_many_threads(&mut fiber), 2);
        let trap = result.0.take().unwrap();
        assert_eq!(trap.wasm_fault.unwrap().wasm_address, 3);
        assert_eq!(trap_pcs(&trap).len(), 2 + 1 + 2);
        assert_eq!(store.0.words(), INITIAL);
        let threads: Vec<ThreadId> = threads.0.take();
        assert_ne!(threads[0], threads[1]);
    }
}

/// In one function, so that an address of thread-local storage that was kept
/// from the first entry would be used for the second.
#[inline(never)]
fn enter_again_and_again(store: &FakeStore, program: &Program<'_>) {
    let enter = |caller| {
        // SAFETY: the program is complete.
        let returned = unsafe { program.enter(caller) };
        assert!(returned);
    };
    use trapline_activation::catch_traps;
    catch_traps(store, enter).unwrap();
    assert!(head().is_null());
    catch_traps(store, enter).unwrap();
    assert!(head().is_null());
    catch_traps(store, enter).unwrap();
    assert!(head().is_null());
}

#[test]
fn a_fiber_that_moved_enters_again_on_the_thread_that_it_is_on() {
    register_guest();
    let store = &Handed(FakeStore::new());
    let body = |inside: &Inside| {
        let suspend = suspends(inside);
        let looks = || {
            // This entry is the only one on this thread, and it is on this one.
            assert_eq!(chain_length(), 1);
            suspend()?;
            assert_eq!(chain_length(), 1);
            Ok(())
        };
        let program = Program::new().frames(1).host(&looks);
        enter_again_and_again(&store.0, &program);
        enter_again_and_again(&store.0, &program);
    };
    // SAFETY: what the body borrows lives until the fiber has finished, and one
    // thread at a time uses it.
    let mut fiber = unsafe { Fiber::new(body) };
    assert_eq!(run_on_many_threads(&mut fiber), 7);
    assert_eq!(store.0.words(), INITIAL);
}

#[test]
fn a_suspended_fiber_is_in_no_chain_and_its_store_looks_unentered() {
    register_guest();
    let (a, b) = (FakeStore::new(), FakeStore::new());
    let body = |inside: &Inside| {
        let suspend = suspends(inside);
        let inner = Program::new().frames(1).host(&suspend);
        let call_inner = || {
            run(&b, &inner).unwrap();
            Ok(())
        };
        let middle = Program::new().frames(1).host(&call_inner);
        let call_middle = || {
            run(&a, &middle).unwrap();
            Ok(())
        };
        run(&a, &Program::new().frames(1).host(&call_middle)).unwrap();
    };
    // SAFETY: what the body borrows lives until the fiber has finished.
    let mut fiber = unsafe { Fiber::new(body) };
    assert!(fiber.is_in_no_guest());
    assert!(!unchanged(&[&a, &b], || fiber.run()));
    assert!(!fiber.is_in_no_guest());
    assert!(head().is_null());
    assert_eq!((a.words(), b.words()), (INITIAL, INITIAL));
    assert_eq!(pcs(&capture_backtrace(&a)), []);
    // The stores can be used by others meanwhile.
    let fault = Fault::without_address();
    let trap = run(&a, &Program::new().frames(3).trap(&fault)).unwrap_err();
    assert_eq!(trap_pcs(&trap), trap_in(3));
    assert!(unchanged(&[&a, &b], || fiber.run()));
}

#[test]
fn a_fiber_run_by_a_host_function_comes_and_goes_on_top_of_its_guest() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let seen = RefCell::new(Vec::new());
        let body = |inside: &Inside| {
            let suspend = || {
                seen.borrow_mut()
                    .push(pcs_on_stacks(&capture_backtrace(&store)));
                inside.suspend();
                seen.borrow_mut()
                    .push(pcs_on_stacks(&capture_backtrace(&store)));
                Ok(())
            };
            let program = Program::new().frames(1).host(&suspend);
            way_in(&store, &program).unwrap();
            let trap = way_in(&store, &Program::new().trap(&fault)).unwrap_err();
            seen.borrow_mut()
                .push(pcs_on_stacks(trap.backtrace.as_ref().unwrap()));
        };
        // SAFETY: what the body borrows lives until the fiber has finished.
        let fiber = RefCell::new(unsafe { Fiber::new(body) });
        let run_fiber = || {
            unchanged(&[&store], || fiber.borrow_mut().run());
            Ok(())
        };
        // The first leg on top of two frames, the second one on top of five.
        way_in(&store, &Program::new().frames(2).host(&run_fiber)).unwrap();
        way_in(&store, &Program::new().frames(5).host(&run_fiber)).unwrap();
        drop(fiber);
        let seen = seen.into_inner();
        assert_eq!(seen[0], [calls(1), calls(2)].concat());
        assert_eq!(seen[1], [calls(1), calls(5)].concat());
        assert_eq!(seen[2], [trap_in(0), calls(5)].concat());
        assert_eq!(store.words(), INITIAL);
    }
}

#[test]
fn two_fibers_of_one_store_take_turns() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let traps = RefCell::new(Vec::new());
        let body = |depth: usize| {
            let (store, traps) = (&store, &traps);
            move |inside: &Inside| {
                let suspend = || {
                    let before = pcs(&capture_backtrace(store));
                    assert!(before.ends_with(&calls(depth)));
                    inside.suspend();
                    assert_eq!(pcs(&capture_backtrace(store)), before);
                    Ok(())
                };
                let fault = Fault::without_address();
                let program = Program::new()
                    .frames(depth)
                    .host_then(&suspend)
                    .host_then(&suspend)
                    .trap(&fault);
                for _ in 0..3 {
                    let trap = unchanged(&[store], || way_in(store, &program)).unwrap_err();
                    traps.borrow_mut().push((depth, trap_pcs(&trap).len()));
                }
            }
        };
        // SAFETY: what the bodies borrow lives until the fibers have finished.
        let (mut first, mut second) = unsafe { (Fiber::new(body(2)), Fiber::new(body(9))) };
        let mut finished = (false, false);
        let mut turns = 0;
        while finished != (true, true) {
            turns += 1;
            if !finished.0 {
                finished.0 = unchanged(&[&store], || first.run());
            }
            // Not in step.
            if !finished.1 && turns % 2 == 0 {
                finished.1 = unchanged(&[&store], || second.run());
            }
        }
        let traps = traps.into_inner();
        assert_eq!(traps.len(), 6);
        assert!(
            traps.iter().all(|(depth, frames)| *frames == depth + 3),
            "{traps:?}"
        );
        assert_eq!(store.words(), INITIAL);
        assert!(head().is_null());
    }
}

#[test]
fn a_host_error_and_a_panic_leave_a_guest_that_moved() {
    register_guest();
    for way_in in WAYS_IN {
        let store = &Handed(FakeStore::new());
        let results = &Handed(RefCell::new(Vec::<Result<(), Trap>>::new()));
        let body = |inside: &Inside| {
            let error = || {
                inside.suspend();
                Err(TrapReason::Wasm(TrapKind::Interrupt))
            };
            let panic = || {
                inside.suspend();
                panic!("on purpose")
            };
            let result = way_in(&store.0, &Program::new().frames(1).host(&error));
            results.0.borrow_mut().push(result);
            let program = Program::new().frames(1).host(&panic);
            let payload = catch_unwind(AssertUnwindSafe(|| way_in(&store.0, &program)));
            assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"on purpose"));
            assert!(!std::thread::panicking());
            // And a panic that leaves the fiber.
            way_in(&store.0, &program).unwrap();
        };
        // SAFETY: what the body borrows lives until the fiber has finished, and
        // one thread at a time uses it.
        let mut fiber = unsafe { Fiber::new(body) };
        let payload = catch_unwind(AssertUnwindSafe(|| run_on_many_threads(&mut fiber)));
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"on purpose"));
        let results = results.0.take();
        assert_eq!(
            results[0].as_ref().unwrap_err().kind(),
            Some(TrapKind::Interrupt)
        );
        assert_eq!(store.0.words(), INITIAL);
    }
}

#[test]
fn a_recorded_reason_moves_with_its_activation() {
    register_guest();
    let store = &Handed(FakeStore::new());
    let kind = &Handed(Cell::new(None));
    let body = |inside: &Inside| {
        let records = || {
            trapline_activation::record_trap(TrapKind::CastFailure);
            inside.suspend();
            Ok(())
        };
        let trap = run(&store.0, &Program::new().frames(1).host(&records)).unwrap_err();
        kind.0.set(trap.kind());
    };
    // SAFETY: what the body borrows lives until the fiber has finished, and one
    // thread at a time uses it.
    let mut fiber = unsafe { Fiber::new(body) };
    assert_eq!(run_on_many_threads(&mut fiber), 2);
    assert_eq!(kind.0.get(), Some(TrapKind::CastFailure));
}

#[test]
fn suspending_nothing_is_nothing() {
    let store = FakeStore::new();
    unchanged(&[&store], || {
        let mark = ActivationMark::here();
        // SAFETY: nothing was entered since the mark.
        let suspended = unsafe { suspend_activations(mark) };
        assert!(suspended.is_empty());
        // SAFETY: there is no fiber that anything could happen to.
        unsafe { suspended.resume() };
    });
    // In a guest as well.
    register_guest();
    let host = || {
        unchanged(&[&store], || {
            let mark = ActivationMark::here();
            // SAFETY: nothing was entered since the mark.
            let suspended = unsafe { suspend_activations(mark) };
            assert!(suspended.is_empty());
            // SAFETY: there is no fiber that anything could happen to.
            unsafe { suspended.resume() };
        });
        assert_eq!(pcs(&capture_backtrace(&store)), calls(2));
        Ok(())
    };
    run(&store, &Program::new().frames(2).host(&host)).unwrap();
    // And a fiber that enters no guest.
    // SAFETY: the body borrows nothing.
    let mut fiber = unsafe { Fiber::new(|inside| inside.suspend()) };
    assert!(!fiber.run());
    assert!(fiber.is_in_no_guest());
    assert!(fiber.run());
}

#[test]
fn the_order_of_the_chain_is_kept_over_suspensions() {
    register_guest();
    let stores = [FakeStore::new(), FakeStore::new(), FakeStore::new()];
    let contexts = |inner: &[usize]| -> Vec<_> {
        inner
            .iter()
            .map(|i| trapline_activation::Store::vm_store_context(&stores[*i]))
            .collect()
    };
    let chain = || {
        let mut seen = Vec::new();
        let _: ControlFlow<()> = for_each_activation(|activation| {
            seen.push(activation.vm_store_context());
            ControlFlow::Continue(())
        });
        seen
    };
    let body = |inside: &Inside| {
        let suspend = || {
            assert_eq!(chain(), contexts(&[2, 1, 0]));
            for _ in 0..10 {
                inside.suspend();
                assert_eq!(chain(), contexts(&[2, 1, 0]));
            }
            Ok(())
        };
        let innermost = Program::new().host(&suspend);
        let call_innermost = || {
            run(&stores[2], &innermost).unwrap();
            Ok(())
        };
        run(&stores[1], &Program::new().host(&call_innermost)).unwrap();
    };
    // SAFETY: what the body borrows lives until the fiber has finished.
    let fiber = RefCell::new(unsafe { Fiber::new(body) });
    let run_fiber = || {
        while !fiber.borrow_mut().run() {
            assert_eq!(chain(), contexts(&[0]));
        }
        Ok(())
    };
    run(&stores[0], &Program::new().frames(1).host(&run_fiber)).unwrap();
}
