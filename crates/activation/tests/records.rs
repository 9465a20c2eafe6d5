//! What is recorded: once, read once, and kept as it was.
#![cfg(feature = "std")]

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use support::{
    FakeStore, Fault, HostResult, Program, WAYS_IN, calls, pcs, register_guest, run, run_with_pad,
    trap_in, trap_pcs, unchanged,
};
use trapline_activation::{
    Activation, CaughtError, CoreDump, Left, PassedOn, Preparation, Trap, TrapReason, UnwindReason,
    WasmFault, capture_backtrace, catch_traps, catch_traps_into, catch_traps_with_landing_pad,
    catch_traps_with_landing_pad_into, for_each_activation, raise_preexisting_trap, raise_trap,
    record_trap, record_unwind,
};
use trapline_arch::VirtualAddress;
use trapline_code_registry::TrapKind;

fn wasm(kind: TrapKind) -> UnwindReason {
    UnwindReason::Trap(TrapReason::Wasm(kind))
}

/// The message of the panic that `f` must end in.
fn panic_message<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("did not panic");
    };
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast_ref::<&str>().unwrap()).to_string(),
    }
}

#[test]
fn a_second_record_panics_and_the_first_is_kept() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let twice = || -> HostResult {
            record_trap(TrapKind::OutOfFuel);
            let message = panic_message(|| record_unwind(wasm(TrapKind::Interrupt)));
            assert!(message.contains("recorded already"), "{message}");
            assert!(message.contains("all fuel"), "names the first: {message}");
            Ok(())
        };
        let trap = way_in(&store, &Program::new().frames(1).host(&twice)).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::OutOfFuel));
    }
}

#[test]
fn a_record_outside_of_any_activation_panics_and_says_so() {
    let message = panic_message(|| record_unwind(wasm(TrapKind::OutOfFuel)));
    assert!(message.contains("outside of any catch_traps"), "{message}");
    assert!(message.contains("all fuel"), "says why: {message}");
    let error = TrapReason::User(anyhow::anyhow!("disk on fire"));
    let message = panic_message(|| record_unwind(error.into()));
    assert!(message.contains("disk on fire"), "says why: {message}");
}

#[test]
fn a_raise_outside_of_any_activation_panics_and_says_so() {
    // SAFETY: there is nothing to leave, so this panics.
    let message = panic_message(|| unsafe { raise_preexisting_trap() });
    assert!(message.contains("outside of any catch_traps"), "{message}");
}

#[test]
fn a_raise_without_a_record_panics_and_says_so() {
    let store = FakeStore::new();
    let message = panic_message(|| {
        catch_traps(&store, |_| {
            // SAFETY: nothing is recorded, so this panics.
            unsafe { raise_preexisting_trap() }
        })
        .map(|never: std::convert::Infallible| match never {})
    });
    assert!(message.contains("nobody recorded why"), "{message}");
}

#[test]
fn a_raise_before_the_landing_pad_is_known_panics_and_says_so() {
    let store = FakeStore::new();
    let message = panic_message(|| {
        catch_traps_with_landing_pad(&store, |_| -> Option<()> {
            // SAFETY: no trampoline was called, so this panics.
            unsafe { raise_trap(TrapReason::Wasm(TrapKind::OutOfFuel)) }
        })
    });
    assert!(message.contains("no entry trampoline"), "{message}");
}

#[test]
fn a_failure_that_nobody_recorded_panics_and_says_so() {
    let store = FakeStore::new();
    let message = panic_message(|| {
        unchanged(&[&store], || {
            catch_traps_with_landing_pad(&store, |_| None::<()>)
        })
    });
    assert!(message.contains("nobody recorded why"), "{message}");
}

#[test]
fn a_record_that_nobody_raises_comes_back_as_an_error() {
    struct Counted<'a>(&'a Cell<u32>);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let store = FakeStore::new();
    let drops = &Cell::new(0);
    let trap = catch_traps(&store, |_| {
        record_trap(TrapKind::CastFailure);
        Counted(drops)
    })
    .map(|_| ())
    .unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::CastFailure));
    assert_eq!(drops.get(), 1, "the value is dropped");
    let trap = catch_traps_with_landing_pad(&store, |_| {
        record_trap(TrapKind::CastFailure);
        Some(Counted(drops))
    })
    .map(|_| ())
    .unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::CastFailure));
    assert_eq!(drops.get(), 2);
}

#[test]
fn a_panic_recorded_that_nobody_raises_goes_on() {
    let store = FakeStore::new();
    let message = panic_message(|| {
        unchanged(&[&store], || {
            catch_traps(&store, |_| {
                record_unwind(UnwindReason::Panic(Box::new("the payload")));
            })
        })
    });
    assert_eq!(message, "the payload");
}

#[test]
fn a_panic_of_the_closure_outweighs_what_was_recorded() {
    let store = FakeStore::new();
    let message = panic_message(|| {
        unchanged(&[&store], || {
            catch_traps(&store, |_| {
                record_trap(TrapKind::OutOfFuel);
                panic!("after the record");
            })
            .map(|never: std::convert::Infallible| match never {})
        })
    });
    assert_eq!(message, "after the record");
    // And nothing of it is left for the next guest.
    catch_traps(&store, |_| ()).unwrap();
}

#[test]
fn a_panic_of_the_closure_after_a_nested_trap_leaves_all_as_it_was() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let program = Program::new().frames(2).trap(&fault);
        let message = panic_message(|| {
            unchanged(&[&store], || {
                catch_traps(&store, |_| -> () {
                    let trap = way_in(&store, &program).unwrap_err();
                    assert_eq!(trap_pcs(&trap), trap_in(2));
                    drop(trap);
                    panic!("afterwards");
                })
            })
        });
        assert_eq!(message, "afterwards");
    }
}

#[test]
fn what_was_recorded_is_read_once() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
        let fails = Program::new().frames(1).host(&error);
        way_in(&store, &fails).unwrap_err();
        way_in(&store, &Program::new().frames(1).nothing()).unwrap();
    }
}

#[test]
fn whether_a_guest_is_being_left_can_be_seen() {
    let store = FakeStore::new();
    let unwinding = || {
        for_each_activation(|activation| ControlFlow::Break(activation.is_unwinding()))
            .break_value()
    };
    assert_eq!(unwinding(), None);
    catch_traps(&store, |_| {
        assert_eq!(unwinding(), Some(false));
        record_trap(TrapKind::OutOfFuel);
        assert_eq!(unwinding(), Some(true));
    })
    .unwrap_err();
    assert_eq!(unwinding(), None);
}

#[test]
fn a_builtin_may_record_and_raise_in_one() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let builtin = || -> HostResult {
            // SAFETY: called by a guest; nothing in between has a destructor.
            unsafe { raise_trap(TrapReason::Wasm(TrapKind::TableOutOfBounds)) }
        };
        let program = Program::new().frames(3).host(&builtin);
        let trap = unchanged(&[&store], || way_in(&store, &program)).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::TableOutOfBounds));
        assert_eq!(trap_pcs(&trap), calls(3));
    }
}

/// An error type of a host.
#[derive(PartialEq, Debug)]
struct Exit {
    status: i32,
    text: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit with {}", self.status)
    }
}

impl Error for Exit {}

#[test]
fn a_host_error_keeps_its_type_and_payload() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let error = || {
            Err(TrapReason::from(anyhow::Error::new(Exit {
                status: 3,
                text: "text".to_string(),
            })))
        };
        let program = Program::new().frames(1).host(&error);
        let trap = way_in(&store, &program).unwrap_err();
        assert_eq!(trap.kind(), None);
        assert_eq!(trap.to_string(), "error raised by a host function");
        let source = trap.source().unwrap();
        assert_eq!(source.to_string(), "exit with 3");
        assert_eq!(source.downcast_ref::<Exit>().unwrap().status, 3);
        let TrapReason::User(error) = trap.reason else {
            panic!("{:?}", trap.reason);
        };
        let exit = error.downcast::<Exit>().unwrap();
        assert_eq!((exit.status, exit.text.as_str()), (3, "text"));
    }
}

/// Passes a trap through `layers` guests of `store`, each of which is called by
/// the host function that the next one calls; `wrap` is what each host function
/// makes of the trap.
fn through_layers(store: &FakeStore, layers: usize, wrap: &dyn Fn(Trap) -> anyhow::Error) -> Trap {
    let fault = Fault::without_address();
    if layers == 0 {
        return run(store, &Program::new().frames(1).trap(&fault)).unwrap_err();
    }
    let host = || {
        Err(TrapReason::User(wrap(through_layers(
            store,
            layers - 1,
            wrap,
        ))))
    };
    let program = Program::new().frames(2).host(&host);
    let trap = if layers.is_multiple_of(2) {
        run(store, &program)
    } else {
        run_with_pad(store, &program)
    };
    trap.unwrap_err()
}

fn frames_ptr(trap: &Trap) -> *const trapline_backtrace::Frame {
    trap.backtrace.as_ref().unwrap().as_slice().as_ptr()
}

#[test]
fn a_trap_passed_through_layers_is_captured_once_and_stays_what_it_was() {
    register_guest();
    let store = FakeStore::new();
    let frames = RefCell::new(Vec::new());
    let wrap = |trap: Trap| {
        frames.borrow_mut().push(frames_ptr(&trap));
        anyhow::Error::new(trap)
    };
    let layers = 60;
    let trap = through_layers(&store, layers, &wrap);
    assert_eq!(store.captures.get(), 1);
    assert!(frames.borrow().iter().all(|ptr| *ptr == frames_ptr(&trap)));
    let TrapReason::Jit { trap: kind, .. } = trap.reason else {
        panic!("{:?}", trap.reason);
    };
    assert_eq!(kind, TrapKind::MemoryOutOfBounds);
    // The whole way, from the first capture.
    let mut expected = trap_in(1);
    expected.extend(calls(2 * layers));
    assert_eq!(trap_pcs(&trap), expected);
}

#[test]
fn a_trap_passed_through_layers_with_context_is_captured_once() {
    register_guest();
    let store = FakeStore::new();
    let frames = RefCell::new(Vec::new());
    let wrap = |trap: Trap| {
        frames.borrow_mut().push(frames_ptr(&trap));
        anyhow::Error::new(trap).context("while calling on")
    };
    let layers = 60;
    let trap = through_layers(&store, layers, &wrap);
    assert_eq!(store.captures.get(), 1);
    assert!(frames.borrow().iter().all(|ptr| *ptr == frames_ptr(&trap)));
    // Each layer's words are there, and the first trap is at the bottom.
    let TrapReason::User(error) = &trap.reason else {
        panic!("{:?}", trap.reason);
    };
    let contexts = error
        .chain()
        .filter(|cause| cause.to_string() == "while calling on")
        .count();
    assert_eq!(contexts, layers);
    let bottom = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Trap>())
        .last()
        .unwrap();
    assert_eq!(bottom.kind(), Some(TrapKind::MemoryOutOfBounds));
}

#[test]
fn a_trap_passed_on_in_a_host_error_of_its_own_is_captured_once() {
    #[derive(Debug)]
    struct Wrapped(Trap);
    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }
    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    register_guest();
    let store = FakeStore::new();
    let trap = through_layers(&store, 5, &|trap| anyhow::Error::new(Wrapped(trap)));
    assert_eq!(store.captures.get(), 1);
    let TrapReason::User(error) = &trap.reason else {
        panic!("{:?}", trap.reason);
    };
    assert!(error.is::<Wrapped>());
}

#[test]
fn a_host_error_that_is_raised_anew_in_each_layer_is_captured_in_each() {
    // The counterpart: these are different errors.
    register_guest();
    let store = FakeStore::new();
    through_layers(&store, 5, &|_| anyhow::anyhow!("another error"));
    assert_eq!(store.captures.get(), 6);
}

/// What an embedder makes of a trap of a nested guest.
#[derive(PartialEq, Debug)]
struct Theirs(u32);

impl fmt::Display for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("theirs")
    }
}

impl Error for Theirs {}

impl CaughtError for Theirs {
    fn into_trap(self: Box<Self>) -> Trap {
        Trap::new(TrapReason::User(anyhow::Error::new(*self)))
    }
}

#[test]
fn an_embedders_own_error_that_is_passed_on_comes_out_as_it_went_in() {
    register_guest();
    let store = FakeStore::new();
    let host = || -> HostResult {
        record_unwind(PassedOn::Error(Box::new(Theirs(7))).into());
        // SAFETY: nothing between here and the guest has a destructor left.
        unsafe { raise_preexisting_trap() }
    };
    let program = Program::new().frames(2).host(&host);
    // SAFETY: programs of the tests are complete.
    let guest = |caller| unsafe { program.enter(caller) };
    let into = |left: Left<'_>| match left {
        Left::Trap(_) => panic!("it was passed on"),
        Left::PassedOn(error) => {
            let error: Box<dyn Any> = error;
            error.downcast::<Theirs>().unwrap()
        }
    };
    let by_pad =
        catch_traps_with_landing_pad_into(&store, |caller| guest(caller).then_some(()), into);
    let by_context = catch_traps_into(&store, |caller| assert!(guest(caller)), into);
    assert_eq!(
        [by_pad, by_context],
        [Err(Box::new(Theirs(7))), Err(Box::new(Theirs(7)))]
    );
    // Who does not know the type gets a trap.
    for way_in in WAYS_IN {
        let trap = way_in(&store, &program).unwrap_err();
        let TrapReason::User(error) = trap.reason else {
            panic!("made of theirs");
        };
        assert_eq!(error.downcast_ref(), Some(&Theirs(7)));
    }
    assert_eq!((store.captures.get(), store.coredumps.get()), (0, 0));
}

#[test]
fn no_backtrace_is_captured_for_a_host_error_that_carries_one_of_the_embedders() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        store.carries_trap.set(|cause| cause.is::<Theirs>());
        let error = || anyhow::Error::new(Theirs(1)).context("on the way");
        let host = || Err(TrapReason::User(error()));
        let trap = way_in(&store, &Program::new().frames(2).host(&host)).unwrap_err();
        assert!(trap.backtrace.is_none());
        assert_eq!((store.captures.get(), store.coredumps.get()), (0, 0));
        let host = || Err(TrapReason::User(anyhow::anyhow!("another one")));
        let trap = way_in(&store, &Program::new().frames(2).host(&host)).unwrap_err();
        assert!(trap.backtrace.is_some());
    }
}

#[test]
fn a_trap_that_a_host_function_makes_of_an_error_with_a_trap_is_not_captured_again() {
    register_guest();
    let store = FakeStore::new();
    let made_anew = |trap: Trap| {
        let error = anyhow::Error::new(trap).context("looked at");
        anyhow::Error::new(Trap::new(TrapReason::User(error)))
    };
    let frames = RefCell::new(Vec::new());
    let trap = through_layers(&store, 5, &|trap| {
        frames.borrow_mut().push(frames_ptr(&trap));
        made_anew(trap)
    });
    assert_eq!(store.captures.get(), 1);
    assert!(frames.borrow().iter().all(|ptr| *ptr == frames_ptr(&trap)));
}

#[test]
fn a_caught_trap_is_passed_on_as_it_is() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        for limit in [0, usize::MAX] {
            let fault = Fault::without_address();
            let inner = Program::new().frames(2).trap(&fault);
            let frames = Cell::new(None);
            let host = || -> HostResult {
                store.limit.set(limit);
                let trap = way_in(&store, &inner).unwrap_err();
                store.limit.set(usize::MAX);
                frames.set(trap.backtrace.as_ref().map(|_| frames_ptr(&trap)));
                let captures = store.captures.replace(0);
                assert_eq!(captures, 1);
                record_unwind(PassedOn::from(trap).into());
                // SAFETY: nothing between here and the guest has a destructor left.
                unsafe { raise_preexisting_trap() }
            };
            let trap = way_in(&store, &Program::new().frames(3).host(&host)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
            assert_eq!(store.captures.replace(0), 0, "captured again");
            assert_eq!(
                trap.backtrace.as_ref().map(|_| frames_ptr(&trap)),
                frames.get()
            );
            assert_eq!(trap.backtrace.is_some(), limit > 0);
        }
    }
    let message = panic_message(|| record_unwind(PassedOn::Error(Box::new(Theirs(7))).into()));
    assert!(message.contains("outside of any catch_traps"), "{message}");
    let message =
        panic_message(|| record_unwind(PassedOn::Reason(TrapKind::OutOfFuel.into()).into()));
    assert!(message.contains("outside of any catch_traps"), "{message}");
}

#[test]
fn of_a_caught_trap_the_reason_alone_can_be_passed_on() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let inner = Program::new().frames(2).trap(&fault);
        let host = || -> HostResult {
            {
                let trap = way_in(&store, &inner).unwrap_err();
                assert!(trap.backtrace.is_some());
                store.captures.set(0);
                record_unwind(PassedOn::Reason(trap.reason).into());
            }
            // SAFETY: nothing between here and the guest has a destructor left.
            unsafe { raise_preexisting_trap() }
        };
        let trap = way_in(&store, &Program::new().frames(3).host(&host)).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
        assert!(trap.backtrace.is_none() && trap.wasm_fault.is_none());
        assert_eq!(store.captures.get(), 0, "captured again");
    }
}

#[test]
fn an_error_of_ones_own_is_made_of_the_trap_when_all_is_as_it_was_before() {
    register_guest();
    let into = |left: Left<'_>| {
        let Left::Trap(trap) = left else {
            panic!("nothing was passed on");
        };
        assert!(for_each_activation(|_| ControlFlow::Break(())).is_continue());
        (trap.kind(), trap.backtrace.take())
    };
    let store = FakeStore::new();
    let before = store.words();
    for pad in [false, true] {
        let fault = Fault::without_address();
        let program = Program::new().frames(2).trap(&fault);
        // SAFETY: programs of the tests are complete.
        let guest = |caller| unsafe { program.enter(caller) };
        let result = if pad {
            catch_traps_with_landing_pad_into(&store, |caller| guest(caller).then_some(()), into)
        } else {
            catch_traps_into(&store, |caller| assert!(guest(caller)), into)
        };
        let (kind, backtrace) = result.unwrap_err();
        assert_eq!(kind, Some(TrapKind::MemoryOutOfBounds));
        assert_eq!(pcs(&backtrace.unwrap()), trap_in(2));
        assert_eq!(store.words(), before);
    }
    // What is not taken is dropped, and a panic of the closure's is one as any other.
    let count = Arc::new(());
    let host = || {
        Err(TrapReason::User(anyhow::Error::new(Counted(Arc::clone(
            &count,
        )))))
    };
    let program = Program::new().frames(1).host(&host);
    // SAFETY: programs of the tests are complete.
    let guest = |caller| unsafe { program.enter(caller) }.then_some(());
    let result = catch_traps_with_landing_pad_into(&store, guest, |_| "failed");
    assert_eq!(result, Err("failed"));
    assert_eq!(Arc::strong_count(&count), 1);
    let message = panic_message(|| {
        catch_traps_with_landing_pad_into(&store, guest, |_| -> () { panic!("no error today") })
    });
    assert_eq!(message, "no error today");
    assert_eq!(Arc::strong_count(&count), 1);
    run(&store, &Program::new().frames(1).nothing()).unwrap();
}

/// An error that is counted as long as it lives.
#[derive(Debug)]
struct Counted(#[expect(dead_code, reason = "held")] Arc<()>);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

impl Error for Counted {}

#[test]
fn a_cpu_is_prepared_before_the_first_guest_that_needs_it_and_not_again() {
    register_guest();
    // Another thread is another CPU.
    let on_a_new_cpu = |stores: [&FakeStore; 3]| {
        for way_in in WAYS_IN {
            for _ in 0..3 {
                for store in stores {
                    way_in(store, &Program::new().frames(1).nothing()).unwrap();
                }
            }
        }
    };
    let counts = |needs: [Option<Preparation>; 3]| {
        thread::spawn(move || {
            let stores = needs.map(|preparation| {
                let store = FakeStore::new();
                store.preparation.set(preparation);
                store
            });
            on_a_new_cpu([&stores[0], &stores[1], &stores[2]]);
            stores.map(|store| store.preparations.get())
        })
        .join()
        .unwrap()
    };
    let [a, b] = [Preparation::unique(), Preparation::unique()].map(Some);
    assert_ne!(a, b);
    assert_eq!(counts([None, None, None]), [0, 0, 0]);
    assert_eq!(counts([a, None, a]), [1, 0, 0]);
    assert_eq!(counts([a, None, a]), [1, 0, 0], "each CPU");
    assert_eq!(counts([a, b, None]), [6, 6, 0], "the last one counts");
}

#[test]
fn a_guest_is_not_entered_on_a_cpu_that_can_not_be_prepared() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        store.preparation.set(Some(Preparation::unique()));
        store.can_be_prepared.set(false);
        let host = || -> HostResult { panic!("the guest runs") };
        let program = Program::new().frames(1).host(&host);
        for tries in 1..3 {
            let trap = unchanged(&[&store], || way_in(&store, &program)).unwrap_err();
            let TrapReason::User(error) = &trap.reason else {
                panic!("{trap:?}");
            };
            assert_eq!(error.to_string(), "no handlers here");
            assert!(trap.backtrace.is_none());
            assert_eq!(store.preparations.get(), tries);
        }
        store.can_be_prepared.set(true);
        way_in(&store, &Program::new().frames(1).nothing()).unwrap();
        // In a host function, with the words of the outer entry in place.
        let outer = || {
            store.preparation.set(Some(Preparation::unique()));
            store.can_be_prepared.set(false);
            let nested = unchanged(&[&store], || way_in(&store, &program));
            Err(nested.unwrap_err().reason)
        };
        let trap = way_in(&store, &Program::new().frames(2).host(&outer)).unwrap_err();
        assert_eq!(trap.source().unwrap().to_string(), "no handlers here");
        assert_eq!(trap.backtrace.unwrap().len(), 2);
    }
}

#[test]
fn all_is_as_it_was_while_a_cpu_is_prepared_and_after_a_panic_there() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let nested = Cell::new(false);
        let host = || -> HostResult {
            // What a preparation sees, and leaves behind if it panics.
            store.preparation.set(Some(Preparation::unique()));
            let before = store.words();
            store.while_prepared.set(Some(|store| {
                store.while_prepared.set(None);
                assert_eq!(pcs(&capture_backtrace(store)), calls(3));
                // A guest that needs nothing may be entered there.
                let needs = store.preparation.take();
                run(store, &Program::new().frames(1).nothing()).unwrap();
                store.preparation.set(needs);
                panic!("not prepared");
            }));
            let message = panic_message(|| {
                unchanged(&[&store], || {
                    way_in(&store, &Program::new().frames(1).nothing())
                })
            });
            assert_eq!(message, "not prepared");
            assert_eq!(store.words(), before);
            nested.set(true);
            // The guest of the outer entry goes on, or is left, as if nothing had happened.
            way_in(&store, &Program::new().frames(1).nothing()).unwrap();
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        };
        let program = Program::new().frames(3).host(&host);
        let trap = unchanged(&[&store], || way_in(&store, &program)).unwrap_err();
        assert!(nested.get());
        assert_eq!(trap.kind(), Some(TrapKind::OutOfFuel));
        assert_eq!(trap_pcs(&trap), calls(3));
    }
}

#[test]
fn a_coredump_is_taken_once_for_each_trap_and_kept() {
    register_guest();
    let store = FakeStore::new();
    store.coredump.set(Some(b"dump"));
    let trap = through_layers(&store, 4, &anyhow::Error::new);
    assert_eq!(store.coredumps.get(), 1);
    assert_eq!(
        trap.coredump.as_ref().map(CoreDump::as_bytes),
        Some(&b"dump"[..])
    );
    assert_eq!(format!("{:?}", trap.coredump.unwrap()), "CoreDump(4 bytes)");
    let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
    let trap = run(&store, &Program::new().host(&error)).unwrap_err();
    assert_eq!(trap.coredump.unwrap().into_bytes(), b"dump");
    assert_eq!(store.coredumps.get(), 2);
}

#[test]
fn a_coredump_without_a_backtrace_is_taken_once_and_kept() {
    register_guest();
    let store = FakeStore::new();
    store.coredump.set(Some(b"dump"));
    store.limit.set(0);
    let trap = through_layers(&store, 4, &anyhow::Error::new);
    assert_eq!(store.coredumps.get(), 1);
    assert_eq!(trap.coredump.unwrap().as_bytes(), b"dump");
}

/// Enters guests of the store, which are left in several ways.
fn enter_and_leave(store: &FakeStore) {
    unchanged(&[store], || {
        let fault = Fault::without_address();
        run(store, &Program::new().frames(2).nothing()).unwrap();
        let trap = run(store, &Program::new().frames(2).trap(&fault)).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
        let host = || Err(TrapReason::User(anyhow::anyhow!("another one")));
        let trap = run_with_pad(store, &Program::new().host(&host)).unwrap_err();
        assert_eq!(trap.source().unwrap().to_string(), "another one");
        let host = || panic!("another panic");
        let message = panic_message(|| run_with_pad(store, &Program::new().host(&host)));
        assert_eq!(message, "another panic");
    });
}

#[test]
fn guests_may_be_entered_while_a_trap_of_their_store_is_completed_and_made_an_error_of() {
    /// Enters guests when it is dropped.
    #[derive(Debug)]
    struct Enters(usize);
    impl fmt::Display for Enters {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("enters")
        }
    }
    impl Error for Enters {}
    impl Drop for Enters {
        fn drop(&mut self) {
            // SAFETY: the store outlives the error, which never left its thread.
            enter_and_leave(unsafe { &*std::ptr::with_exposed_provenance(self.0) });
        }
    }
    register_guest();
    let store = FakeStore::new();
    let address = (&raw const store).expose_provenance();
    let dropped_in_the_slot = || Err(TrapReason::User(anyhow::Error::new(Enters(address))));
    let fault = Fault::without_address();
    let programs = [
        Program::new().frames(2).trap(&fault),
        Program::new().frames(2).host(&dropped_in_the_slot),
    ];
    for (program, is_hosts) in programs.iter().zip([false, true]) {
        for pad in [false, true] {
            store.while_dumped.set(Some(enter_and_leave));
            let into = |left: Left<'_>| {
                let Left::Trap(trap) = left else {
                    panic!("nothing was passed on");
                };
                enter_and_leave(&store);
                (trap.kind(), trap.backtrace.take())
            };
            // SAFETY: programs of the tests are complete.
            let guest = |caller| unsafe { program.enter(caller) };
            let (kind, backtrace) = unchanged(&[&store], || {
                if pad {
                    catch_traps_with_landing_pad_into(
                        &store,
                        |caller| guest(caller).then_some(()),
                        into,
                    )
                } else {
                    catch_traps_into(&store, |caller| assert!(guest(caller)), into)
                }
            })
            .unwrap_err();
            assert_eq!(kind.is_none(), is_hosts);
            let expected = if is_hosts { calls(2) } else { trap_in(2) };
            assert_eq!(pcs(&backtrace.unwrap()), expected);
        }
    }
}

#[test]
fn a_panic_of_what_completes_a_host_error_takes_its_place() {
    register_guest();
    for way_in in WAYS_IN {
        let count = Arc::new(());
        let store = FakeStore::new();
        // As `catch_unwind_and_record_trap` of trapline-host-result.
        let host = || -> HostResult {
            let error = anyhow::Error::new(Counted(Arc::clone(&count)));
            record_unwind(UnwindReason::Trap(TrapReason::User(error)));
            unreachable!("the core dump panics")
        };
        for _ in 0..2 {
            store
                .while_dumped
                .set(Some(|_| panic!("no core dump today")));
            let program = Program::new().frames(1).host(&host);
            let message = panic_message(|| unchanged(&[&store], || way_in(&store, &program)));
            assert_eq!(message, "no core dump today");
            assert_eq!(Arc::strong_count(&count), 1, "dropped, and once");
        }
        enter_and_leave(&store);
    }
}

#[test]
fn reasons_convert_and_tell_their_kind() {
    assert!(matches!(
        TrapReason::from(TrapKind::OutOfFuel),
        TrapReason::Wasm(TrapKind::OutOfFuel)
    ));
    assert_eq!(TrapReason::from(anyhow::anyhow!("x")).kind(), None);
    let jit = TrapReason::Jit {
        pc: VirtualAddress::new(1),
        faulting_addr: None,
        trap: TrapKind::IntegerOverflow,
    };
    assert_eq!(jit.kind(), Some(TrapKind::IntegerOverflow));
    assert_eq!(jit.to_string(), "wasm trap: integer overflow");
    let trap = Trap::from(jit);
    assert!(trap.backtrace.is_none() && trap.coredump.is_none() && trap.wasm_fault.is_none());
    assert!(trap.source().is_none());
    assert!(matches!(
        UnwindReason::from(trap.reason),
        UnwindReason::Trap(_)
    ));
}

#[test]
fn a_memory_fault_is_the_source_of_its_trap() {
    let mut trap = Trap::new(TrapReason::Wasm(TrapKind::MemoryOutOfBounds));
    trap.wasm_fault = Some(WasmFault {
        memory_size: 0x1_0000,
        wasm_address: 0xdead_0000,
    });
    assert_eq!(
        trap.source().unwrap().to_string(),
        "memory fault at wasm address 0xdead0000 in linear memory of size 0x10000"
    );
}

#[test]
fn a_trap_may_go_into_any_error_type_and_to_any_thread() {
    fn check<T: Error + Send + Sync + 'static>() {}
    check::<Trap>();
    check::<WasmFault>();
}

#[test]
fn activations_are_visited_innermost_first_until_the_visitor_breaks_off() {
    register_guest();
    let stores: Vec<FakeStore> = (0..4).map(|_| FakeStore::new()).collect();
    fn nest(stores: &[FakeStore], at_the_bottom: &dyn Fn()) {
        let Some((first, rest)) = stores.split_first() else {
            at_the_bottom();
            return;
        };
        let host = || {
            nest(rest, at_the_bottom);
            Ok(())
        };
        run(first, &Program::new().frames(1).host(&host)).unwrap();
    }
    let context = |store: &FakeStore| trapline_activation::Store::vm_store_context(store);
    nest(&stores, &|| {
        let mut seen = Vec::new();
        let all = for_each_activation(|activation: &Activation| {
            seen.push(activation.vm_store_context());
            ControlFlow::<()>::Continue(())
        });
        assert_eq!(all, ControlFlow::Continue(()));
        let expected: Vec<_> = stores.iter().rev().map(context).collect();
        assert_eq!(seen, expected);

        let mut visited = 0;
        let third = for_each_activation(|activation| {
            visited += 1;
            if visited == 3 {
                ControlFlow::Break(activation.vm_store_context())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!(third, ControlFlow::Break(context(&stores[1])));
        assert_eq!(visited, 3);

        // By hand, the same.
        let innermost = support::head();
        // SAFETY: the innermost activation, in which we are.
        let mut next = unsafe { innermost.as_ref() };
        let mut by_hand = Vec::new();
        while let Some(activation) = next {
            by_hand.push(activation.vm_store_context());
            next = activation.previous();
        }
        assert_eq!(by_hand, expected);
    });
}
