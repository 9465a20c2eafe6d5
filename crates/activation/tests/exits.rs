//! However a guest is left, the chain of activations and the store's words are
//! what they were before it was entered.
#![cfg(feature = "std")]

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use support::{
    FakeStore, Fault, INITIAL, OldStyleStore, Program, WAYS_IN, Words, head, register_guest, run,
    trap_pc, unchanged,
};
use trapline_activation::{TrapReason, catch_traps, catch_traps_with_landing_pad};
use trapline_code_registry::TrapKind;

/// How a guest is entered.
#[derive(Clone, Copy)]
struct WayIn {
    run: support::Run,
    /// Whether it is left for its landing pad.
    pad: bool,
}

const WAYS: [WayIn; 2] = [
    WayIn {
        run: WAYS_IN[0],
        pad: false,
    },
    WayIn {
        run: WAYS_IN[1],
        pad: true,
    },
];

/// The ways out of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Value,
    HardwareTrap,
    HostError,
    BuiltinTrap,
    HostPanic,
    /// The closure given to `catch_traps` panics before it enters.
    OwnPanic,
}

const EXITS: [Exit; 6] = [
    Exit::Value,
    Exit::HardwareTrap,
    Exit::HostError,
    Exit::BuiltinTrap,
    Exit::HostPanic,
    Exit::OwnPanic,
];

fn caught<R: std::fmt::Debug>(f: impl FnOnce() -> R) -> &'static str {
    let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
    payload.downcast_ref::<&'static str>().unwrap()
}

/// Enters a guest of `store` that calls the host, which does `inside`, and that
/// is then left by `exit`; checks that it was.
fn leave(store: &FakeStore, way_in: WayIn, exit: Exit, inside: &dyn Fn()) {
    let call_inside = || {
        inside();
        Ok(())
    };
    let error = || Err(TrapReason::User(anyhow::anyhow!("an error")));
    let builtin = || Err(TrapReason::Wasm(TrapKind::CastFailure));
    let panic = || panic!("a host panic");
    let fault = Fault::at_address(store.memory.start + 5);
    let start = Program::new().frames(2).host_then(&call_inside).frames(1);
    match exit {
        Exit::Value => (way_in.run)(store, &start.nothing()).unwrap(),
        Exit::HardwareTrap => {
            let trap = (way_in.run)(store, &start.trap(&fault)).unwrap_err();
            assert!(matches!(trap.reason, TrapReason::Jit { pc, .. } if pc.get() == trap_pc()));
            assert_eq!(trap.wasm_fault.unwrap().wasm_address, 5);
        }
        Exit::HostError => {
            let trap = (way_in.run)(store, &start.host(&error)).unwrap_err();
            assert!(
                matches!(trap.reason, TrapReason::User(error) if error.to_string() == "an error")
            );
        }
        Exit::BuiltinTrap => {
            let trap = (way_in.run)(store, &start.host(&builtin)).unwrap_err();
            assert_eq!(trap.kind(), Some(TrapKind::CastFailure));
        }
        Exit::HostPanic => {
            assert_eq!(
                caught(|| (way_in.run)(store, &start.host(&panic))),
                "a host panic"
            );
        }
        Exit::OwnPanic => {
            let own = |_| -> Option<()> {
                inside();
                panic!("a panic of its own")
            };
            let message = caught(|| {
                if way_in.pad {
                    catch_traps_with_landing_pad(store, own).map(Some)
                } else {
                    catch_traps(store, own)
                }
            });
            assert_eq!(message, "a panic of its own");
        }
    }
}

/// Does something on each way out, on each way in.
fn every_way(mut f: impl FnMut(WayIn, Exit)) {
    register_guest();
    for way_in in WAYS {
        for exit in EXITS {
            f(way_in, exit);
        }
    }
}

#[test]
fn chain_and_words_are_restored_on_each_of_the_exits() {
    every_way(|way_in, exit| {
        let store = FakeStore::new();
        unchanged(&[&store], || leave(&store, way_in, exit, &|| ()));
        assert_eq!(store.words(), INITIAL);
        assert!(head().is_null());
        assert!(!std::thread::panicking());
    });
}

#[test]
fn chain_and_words_are_restored_on_each_exit_inside_of_each_exit_in_the_same_store() {
    every_way(|way_in, exit| {
        every_way(|inner_way_in, inner_exit| {
            let store = FakeStore::new();
            let inner = || {
                unchanged(&[&store], || {
                    leave(&store, inner_way_in, inner_exit, &|| ());
                });
            };
            unchanged(&[&store], || leave(&store, way_in, exit, &inner));
        });
    });
}

#[test]
fn chain_and_words_are_restored_on_each_exit_inside_of_each_exit_in_another_store() {
    every_way(|way_in, exit| {
        every_way(|inner_way_in, inner_exit| {
            let (a, b) = (FakeStore::new(), FakeStore::new());
            let innermost = || {
                unchanged(&[&a, &b], || leave(&a, inner_way_in, inner_exit, &|| ()));
            };
            let inner = || {
                unchanged(&[&a, &b], || {
                    leave(&b, inner_way_in, inner_exit, &innermost)
                });
            };
            unchanged(&[&a, &b], || leave(&a, way_in, exit, &inner));
        });
    });
}

/// Enters guests, and leaves them in every way, when it is dropped.
struct EntersGuestsWhenDropped<'a> {
    store: &'a FakeStore,
    dropped: &'a Cell<u32>,
}

impl Drop for EntersGuestsWhenDropped<'_> {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
        every_way(|way_in, exit| {
            unchanged(&[self.store], || leave(self.store, way_in, exit, &|| ()));
        });
        self.dropped.set(self.dropped.get() + 1);
    }
}

#[test]
fn chain_and_words_are_restored_inside_of_a_panics_way_out() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let dropped = Cell::new(0);
        // In the host function that panics, its guest being entered still …
        let host = || {
            let _guard = EntersGuestsWhenDropped {
                store: &store,
                dropped: &dropped,
            };
            panic!("the first panic")
        };
        let program = Program::new().frames(2).host(&host);
        let message = caught(|| {
            // … and outside of it, when it has been left.
            let _guard = EntersGuestsWhenDropped {
                store: &store,
                dropped: &dropped,
            };
            way_in(&store, &program)
        });
        assert_eq!(message, "the first panic");
        assert_eq!(dropped.get(), 2);
        assert_eq!(store.words(), INITIAL);
        assert!(head().is_null());
        assert!(!std::thread::panicking());
    }
}

#[test]
fn the_exit_pair_is_zero_when_a_guest_is_entered() {
    register_guest();
    let store = FakeStore::new();
    let look = || {
        let words = store.words();
        assert_eq!((words.exit_fp, words.exit_pc), (0, 0));
        // Nor is there an entry frame or a landing pad of anybody else.
        assert_eq!((words.entry_fp, words.entry_trap_handler), (0, 0));
        assert_eq!(words.unrelated, INITIAL.unrelated);
    };
    catch_traps(&store, |_| look()).unwrap();
    catch_traps_with_landing_pad(&store, |_| {
        look();
        Some(())
    })
    .unwrap();
    // Also when it is another guest that left its words there.
    let nested = || {
        let words = store.words();
        assert!(words.exit_fp != 0 && words.exit_pc != 0);
        unchanged(&[&store], || catch_traps(&store, |_| look()).unwrap());
        Ok(())
    };
    run(&store, &Program::new().frames(1).host(&nested)).unwrap();
}

#[test]
fn a_store_without_landing_pad_words_has_no_others_written() {
    register_guest();
    let store = OldStyleStore(FakeStore::new());
    let error = || Err(TrapReason::Wasm(TrapKind::Interrupt));
    let program = Program::old_style().frames(3).host(&error);
    catch_traps(&store, |_| {
        let words = store.0.words();
        assert_eq!((words.exit_fp, words.exit_pc), (0, 0));
        assert_eq!(words.entry_sp, INITIAL.entry_sp);
        assert_eq!(words.entry_trap_handler, INITIAL.entry_trap_handler);
    })
    .unwrap();
    let trap = run(&store, &program).unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::Interrupt));
    let words = store.0.words();
    let restored = Words {
        // Written by the trampoline, and none of this store's business.
        entry_sp: INITIAL.entry_sp,
        entry_trap_handler: INITIAL.entry_trap_handler,
        ..words
    };
    assert_eq!(restored, INITIAL);
}

#[test]
fn a_value_comes_back_whole_and_is_dropped_once() {
    struct Counted<'a>(&'a Cell<u32>, [u64; 64]);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = &Cell::new(0);
    let store = FakeStore::new();
    let value = catch_traps(&store, |_| Counted(drops, [7; 64])).unwrap();
    assert!(value.1.iter().all(|word| *word == 7));
    drop(value);
    let value = catch_traps_with_landing_pad(&store, |_| Some(Counted(drops, [8; 64]))).unwrap();
    assert!(value.1.iter().all(|word| *word == 8));
    drop(value);
    assert_eq!(drops.get(), 2);
}

#[test]
fn a_panic_keeps_its_payload_through_guest_frames_typed_or_not() {
    #[derive(PartialEq, Debug)]
    struct Typed(Vec<u8>);
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let typed = || std::panic::panic_any(Typed(vec![1, 2, 3]));
        let with_format = || panic!("number {}", 6 * 7);
        let with_text = || panic!("text");

        // Through two guests.
        let inner = Program::new().frames(4).host(&typed);
        let nested = || {
            way_in(&store, &inner).map_err(|trap| TrapReason::User(trap.into()))?;
            Ok(())
        };
        let outer = Program::new().frames(2).host(&nested);
        let payload = catch_unwind(AssertUnwindSafe(|| way_in(&store, &outer))).unwrap_err();
        assert_eq!(*payload.downcast::<Typed>().unwrap(), Typed(vec![1, 2, 3]));

        let program = Program::new().host(&with_format);
        let payload = catch_unwind(AssertUnwindSafe(|| way_in(&store, &program))).unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().unwrap(), "number 42");

        let program = Program::new().host(&with_text);
        assert_eq!(caught(|| way_in(&store, &program)), "text");
    }
}

#[test]
fn the_panic_count_is_right_after_a_panic_went_through_a_guest() {
    register_guest();
    let store = FakeStore::new();
    let panic = || panic!("on purpose");
    let program = Program::new().frames(1).host(&panic);
    for _ in 0..100 {
        caught(|| run(&store, &program));
        assert!(!std::thread::panicking());
    }
    // A lock taken now is not poisoned.
    let lock = std::sync::Mutex::new(());
    drop(lock.lock().unwrap());
    assert!(!lock.is_poisoned());
}

#[test]
fn a_host_that_catches_the_panic_of_a_nested_guest_may_trap_afterwards() {
    register_guest();
    for way_in in WAYS_IN {
        let (a, b) = (FakeStore::new(), FakeStore::new());
        let panic = || panic!("on purpose");
        let inner = Program::new().frames(1).host(&panic);
        let catches = || {
            assert_eq!(caught(|| way_in(&b, &inner)), "on purpose");
            assert_eq!(caught(|| way_in(&a, &inner)), "on purpose");
            Ok(())
        };
        let fault = Fault::without_address();
        let program = Program::new().frames(2).host_then(&catches).trap(&fault);
        let trap = unchanged(&[&a, &b], || way_in(&a, &program)).unwrap_err();
        assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
    }
}

#[test]
fn the_first_second_and_ten_thousandth_trap_are_alike() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let program = Program::new().frames(3).trap(&fault);
        let mut sp = None;
        for _ in 0..10_000 {
            let trap = way_in(&store, &program).unwrap_err();
            assert_eq!(trap.backtrace.as_ref().unwrap().len(), 4);
            let fp = trap.backtrace.unwrap().as_slice()[0].fp;
            assert_eq!(*sp.get_or_insert(fp), fp, "no stack is left behind");
        }
    }
}

#[test]
fn what_the_host_computed_before_survives_a_trap() {
    // The guests of these tests ruin all registers that a callee keeps; with
    // more values than registers, some of these were in them.
    register_guest();
    let store = FakeStore::new();
    let fault = Fault::without_address();
    let program = Program::new().frames(3).trap(&fault);
    for way_in in WAYS_IN {
        let values: [u64; 24] = core::array::from_fn(|i| std::hint::black_box(i as u64 + 1));
        let floats: [f64; 8] = core::array::from_fn(|i| std::hint::black_box(i as f64));
        way_in(&store, &program).unwrap_err();
        assert_eq!(values.iter().sum::<u64>(), 300);
        assert_eq!(floats.iter().sum::<f64>(), 28.0);
    }
}
