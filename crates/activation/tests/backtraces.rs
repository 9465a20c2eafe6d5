//! Which frames a backtrace has: those of its store, each once, innermost
//! first, and none of frames that are gone.
#![cfg(feature = "std")]

mod support;

use core::ops::ControlFlow;
use std::cell::{Cell, RefCell};

use support::{
    FakeStore, Fault, OldStyleStore, Program, WAYS_IN, Words, calls, host_then_pcs, pcs,
    register_guest, run, trap_in, trap_pcs, unchanged,
};
use trapline_activation::{
    TrapReason, UnwindReason, capture_backtrace, capture_backtrace_limited, catch_traps,
    record_unwind, visit_frames, visit_frames_from,
};
use trapline_arch::{FP_ALIGN, VirtualAddress, stack_pointer};
use trapline_backtrace::{BrokenFrame, RawBacktrace, WalkEnd};
use trapline_code_registry::TrapKind;

fn join(parts: &[Vec<usize>]) -> Vec<usize> {
    parts.concat()
}

#[test]
fn a_hardware_trap_lists_the_trapping_frame_once_and_its_callers() {
    register_guest();
    for way_in in WAYS_IN {
        for depth in [0, 1, 2, 50] {
            let store = FakeStore::new();
            let fault = Fault::without_address();
            let program = Program::new().frames(depth).trap(&fault);
            let trap = way_in(&store, &program).unwrap_err();
            assert_eq!(trap_pcs(&trap), trap_in(depth));
            // The innermost frame is where the fault was.
            let (pc, fp) = fault.at.get().unwrap();
            let innermost = trap.backtrace.as_ref().unwrap().frames().next().unwrap();
            assert_eq!((innermost.pc, innermost.fp), (pc, fp));
        }
    }
}

#[test]
fn a_host_error_lists_the_frames_from_the_one_that_called_the_host() {
    register_guest();
    let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
    for way_in in WAYS_IN {
        for depth in [1, 2, 50] {
            let trap = way_in(
                &FakeStore::new(),
                &Program::new().frames(depth).host(&error),
            );
            assert_eq!(trap_pcs(&trap.unwrap_err()), calls(depth));
        }
    }
}

#[test]
fn exit_trampolines_that_write_the_guests_frame_pointer_are_walked_as_well() {
    register_guest();
    let store = OldStyleStore(FakeStore::new());
    let seen = RefCell::new(Vec::new());
    let look = || {
        seen.borrow_mut().push(pcs(&capture_backtrace(&store)));
        Ok(())
    };
    let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
    let program = Program::old_style().frames(3).host(&look);
    run(&store, &program).unwrap();
    assert_eq!(*seen.borrow(), [calls(3)]);
    let trap = run(&store, &Program::old_style().frames(4).host(&error)).unwrap_err();
    assert_eq!(trap_pcs(&trap), calls(4));
    let fault = Fault::without_address();
    let trap = run(&store, &Program::old_style().frames(4).trap(&fault)).unwrap_err();
    assert_eq!(trap_pcs(&trap), trap_in(4));
}

#[test]
fn a_capture_inside_of_a_host_call_needs_no_trap() {
    register_guest();
    let store = FakeStore::new();
    let other = FakeStore::new();
    let look = || {
        assert_eq!(pcs(&capture_backtrace(&store)), calls(5));
        assert_eq!(pcs(&capture_backtrace(&other)), []);
        Ok(())
    };
    for way_in in WAYS_IN {
        way_in(&store, &Program::new().frames(5).host(&look)).unwrap();
    }
    // Nobody asked for what a trap's backtrace is limited to.
    assert_eq!(store.captures.get(), 0);
}

#[test]
fn frames_can_be_visited_without_a_capture_and_from_any_of_them_on() {
    register_guest();
    let store = FakeStore::new();
    let look = || {
        let all = capture_backtrace(&store);
        let mut visited = Vec::new();
        let end = visit_frames(&store, |frame| {
            visited.push(frame);
            ControlFlow::Continue(())
        });
        assert_eq!(
            (visited.as_slice(), end),
            (all.as_slice(), WalkEnd::Complete)
        );

        let mut visited = 0;
        let end = visit_frames(&store, |_| {
            visited += 1;
            if visited == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!((visited, end), (2, WalkEnd::Stopped));

        // As a handler would that interrupted the guest in its second frame.
        let mut visited = Vec::new();
        // SAFETY: the frame is alive, and the store's guest the innermost.
        let end = unsafe {
            visit_frames_from(&store, all.as_slice()[1], |frame| {
                visited.push(frame);
                ControlFlow::Continue(())
            })
        };
        assert_eq!(
            (visited.as_slice(), end),
            (&all.as_slice()[1..], WalkEnd::Complete)
        );
        Ok(())
    };
    for way_in in WAYS_IN {
        way_in(&store, &Program::new().frames(5).host(&look)).unwrap();
    }
}

#[test]
fn a_capture_outside_of_a_guest_is_empty() {
    register_guest();
    let store = FakeStore::new();
    assert_eq!(pcs(&capture_backtrace(&store)), []);
    // Entered, but no guest called yet.
    catch_traps(&store, |_| assert_eq!(pcs(&capture_backtrace(&store)), [])).unwrap();
    run(&store, &Program::new().frames(2).nothing()).unwrap();
    let fault = Fault::without_address();
    run(&store, &Program::new().frames(2).trap(&fault)).unwrap_err();
    assert_eq!(pcs(&capture_backtrace(&store)), []);
}

#[test]
fn a_capture_on_another_thread_is_empty() {
    struct Shared(FakeStore);
    // SAFETY: the other thread does not enter a guest, and this one waits.
    unsafe impl Sync for Shared {}
    register_guest();
    let shared = &Shared(FakeStore::new());
    let look = || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let shared: &Shared = shared;
                assert_eq!(pcs(&capture_backtrace(&shared.0)), []);
            });
        });
        Ok(())
    };
    run(&shared.0, &Program::new().frames(2).host(&look)).unwrap();
}

#[test]
fn nested_guests_of_one_store_are_listed_together_without_gaps() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let innermost = Program::new().frames(1).trap(&fault);
        let call_innermost = || {
            let trap = unchanged(&[&store], || way_in(&store, &innermost)).unwrap_err();
            assert_eq!(trap_pcs(&trap), join(&[trap_in(1), calls(2), calls(3)]));
            assert_eq!(pcs(&capture_backtrace(&store)), join(&[calls(2), calls(3)]));
            Ok(())
        };
        let middle = Program::new().frames(2).host(&call_innermost);
        let call_middle = || {
            unchanged(&[&store], || way_in(&store, &middle)).unwrap();
            assert_eq!(pcs(&capture_backtrace(&store)), calls(3));
            Ok(())
        };
        way_in(&store, &Program::new().frames(3).host(&call_middle)).unwrap();
    }
}

#[test]
fn a_backtrace_is_of_its_own_store_only() {
    register_guest();
    for way_in in WAYS_IN {
        let (a, b, c) = (FakeStore::new(), FakeStore::new(), FakeStore::new());
        let fault = Fault::without_address();
        let in_c = Program::new().frames(1).trap(&fault);
        let call_c = || {
            let trap = way_in(&c, &in_c).unwrap_err();
            assert_eq!(trap_pcs(&trap), trap_in(1));
            let caller = vec![host_then_pcs()[0]];
            assert_eq!(pcs(&capture_backtrace(&a)), join(&[caller, calls(3)]));
            assert_eq!(pcs(&capture_backtrace(&b)), calls(2));
            assert_eq!(pcs(&capture_backtrace(&c)), []);
            Ok(())
        };
        let in_b = Program::new().frames(2).host(&call_c);
        let call_b = || {
            way_in(&b, &in_b).unwrap();
            Ok(())
        };
        let in_a = Program::new()
            .frames(3)
            .host_then(&call_b)
            .frames(1)
            .trap(&fault);
        let trap = unchanged(&[&a, &b, &c], || way_in(&a, &in_a)).unwrap_err();
        let callers = vec![host_then_pcs()[1]];
        assert_eq!(trap_pcs(&trap), join(&[trap_in(1), callers, calls(3)]));
    }
}

#[test]
fn stores_a_b_a_list_both_parts_of_a_and_nothing_of_b() {
    register_guest();
    for way_in in WAYS_IN {
        let (a, b) = (FakeStore::new(), FakeStore::new());
        let fault = Fault::without_address();
        let inner_a = Program::new().frames(1).trap(&fault);
        let call_inner_a = || {
            let trap = way_in(&a, &inner_a).unwrap_err();
            assert_eq!(trap_pcs(&trap), join(&[trap_in(1), calls(3)]));
            assert_eq!(pcs(&capture_backtrace(&b)), calls(2));
            // The trap goes on through b, and has a's frames still.
            Err(TrapReason::User(trap.into()))
        };
        let in_b = Program::new().frames(2).host(&call_inner_a);
        let call_b = || way_in(&b, &in_b).map_err(|trap| TrapReason::User(trap.into()));
        let in_a = Program::new().frames(3).host(&call_b);
        let trap = unchanged(&[&a, &b], || way_in(&a, &in_a)).unwrap_err();
        assert_eq!(trap_pcs(&trap), join(&[trap_in(1), calls(3)]));
    }
}

#[test]
fn runs_of_no_frames_are_passed_over() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let seen = RefCell::new(Vec::new());
        let look = || {
            seen.borrow_mut().push(pcs(&capture_backtrace(&store)));
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        };
        // The entry trampoline's callee is the exit trampoline, or tail-called
        // it: there is no guest frame.
        for empty in [
            Program::new().host(&look),
            Program::new().tail().tail().host(&look),
        ] {
            let trap = way_in(&store, &empty).unwrap_err();
            assert_eq!(trap_pcs(&trap), []);
            // Between two runs that have frames.
            let fault = Fault::without_address();
            let inner = Program::new().frames(1).trap(&fault);
            let call_inner = || {
                let trap = way_in(&store, &inner).unwrap_err();
                assert_eq!(trap_pcs(&trap), join(&[trap_in(1), calls(2)]));
                Ok(())
            };
            let nothing_in_between = Program::new().tail().host(&call_inner);
            let call_nothing = || {
                way_in(&store, &nothing_in_between).unwrap();
                // And as the innermost.
                let trap = way_in(&store, &empty).unwrap_err();
                assert_eq!(trap_pcs(&trap), calls(2));
                Ok(())
            };
            way_in(&store, &Program::new().frames(2).host(&call_nothing)).unwrap();
        }
        let seen = seen.into_inner();
        assert_eq!(seen, [vec![], calls(2), vec![], calls(2)]);
    }
}

#[test]
fn a_function_that_tail_called_on_has_no_frame() {
    register_guest();
    let store = FakeStore::new();
    let fault = Fault::without_address();
    let program = Program::new()
        .frames(2)
        .tail()
        .frames(1)
        .tail()
        .tail()
        .trap(&fault);
    let trap = run(&store, &program).unwrap_err();
    assert_eq!(trap_pcs(&trap), trap_in(3));
}

#[test]
fn words_of_frames_that_are_gone_are_not_walked() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let ok = || Ok(());
        let calls_host = Program::new().frames(7).host(&ok);
        // A host function that is called by the host fails: no guest stands
        // between, whatever the last one has left in the store's words.
        let host_called_by_host = || {
            way_in(&store, &calls_host).unwrap();
            let trap = catch_traps(&store, |_| {
                record_unwind(UnwindReason::Trap(TrapReason::Wasm(TrapKind::Interrupt)));
            })
            .unwrap_err();
            trap_pcs(&trap)
        };
        assert_eq!(host_called_by_host(), []);
        // Called by a guest, there are just that guest's frames.
        let nested = || {
            assert_eq!(host_called_by_host(), calls(2));
            Ok(())
        };
        way_in(&store, &Program::new().frames(2).host(&nested)).unwrap();
    }
}

#[test]
fn a_trap_after_a_host_call_is_walked_from_the_trap() {
    // The exit words still are those of the host call, which has returned.
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let ok = || Ok(());
        let fault = Fault::without_address();
        let program = Program::new()
            .frames(1)
            .host_then(&ok)
            .frames(2)
            .trap(&fault);
        let trap = way_in(&store, &program).unwrap_err();
        let caller = vec![host_then_pcs()[1]];
        assert_eq!(trap_pcs(&trap), join(&[trap_in(2), caller, calls(1)]));
        // Who captures meanwhile, as the author of a core dump may, sees the
        // same, and not the frames of the host call.
        assert_eq!(store.seen_by_coredump.take(), trap.backtrace);
    }
}

#[test]
fn a_trap_has_the_innermost_frames_only_if_the_store_limits_them() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        store.limit.set(3);
        let fault = Fault::without_address();
        let program = Program::new().frames(9).trap(&fault);
        let trap = way_in(&store, &program).unwrap_err();
        let backtrace = trap.backtrace.unwrap();
        assert_eq!(backtrace.end(), WalkEnd::LimitReached);
        let found: Vec<usize> = backtrace.frames().map(|frame| frame.pc.get()).collect();
        assert_eq!(found, trap_in(2));
        // Exactly as many as there are.
        store.limit.set(10);
        let trap = way_in(&store, &program).unwrap_err();
        assert_eq!(trap_pcs(&trap), trap_in(9));
    }
}

#[test]
fn a_store_that_wants_no_backtrace_gets_none() {
    register_guest();
    let store = FakeStore::new();
    store.limit.set(0);
    let fault = Fault::without_address();
    let error = || Err(TrapReason::User(anyhow::anyhow!("error")));
    for program in [
        Program::new().frames(2).trap(&fault),
        Program::new().frames(2).host(&error),
    ] {
        let trap = run(&store, &program).unwrap_err();
        assert_eq!(trap.backtrace, None);
    }
}

#[test]
fn a_capture_may_be_limited_and_the_limit_spans_runs() {
    register_guest();
    let store = FakeStore::new();
    let look = || {
        for limit in 0..7 {
            let backtrace = capture_backtrace_limited(&store, limit);
            assert_eq!(backtrace.len(), limit.min(5));
            assert_eq!(backtrace.end() == WalkEnd::LimitReached, limit < 5);
        }
        Ok(())
    };
    let inner = Program::new().frames(2).host(&look);
    let call_inner = || {
        run(&store, &inner).unwrap();
        Ok(())
    };
    run(&store, &Program::new().frames(3).host(&call_inner)).unwrap();
}

#[test]
fn a_hundred_thousand_frames_are_listed_completely() {
    std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(|| {
            register_guest();
            let store = FakeStore::new();
            let fault = Fault::without_address();
            let program = Program::new().frames(100_000).trap(&fault);
            let trap = run(&store, &program).unwrap_err();
            assert_eq!(trap_pcs(&trap), trap_in(100_000));
        })
        .unwrap()
        .join()
        .unwrap();
}

/// What the walk makes of words that no trampoline has written.
#[inline(never)]
fn with_words(store: &FakeStore, spoil: impl Fn(&mut Words)) -> RawBacktrace {
    let found = RefCell::new(RawBacktrace::empty());
    let host = || {
        let mut words = store.words();
        spoil(&mut words);
        store.set_words(words);
        *found.borrow_mut() = capture_backtrace(store);
        Ok(())
    };
    run(store, &Program::new().frames(2).host(&host)).unwrap();
    found.into_inner()
}

#[test]
fn exit_words_that_cannot_be_right_are_not_followed() {
    register_guest();
    let store = FakeStore::new();
    // Above the `catch_traps` in a function that this one calls.
    let above = stack_pointer().get() & !15;
    for wrong in [
        0x10,
        0x1000,
        0x13,
        above + 1,
        above,
        usize::MAX - 15,
        1 << 62,
    ] {
        let found = with_words(&store, |words| words.exit_fp = wrong);
        assert!(found.is_empty());
        assert!(
            matches!(found.end(), WalkEnd::Broken { .. }),
            "{wrong:#x}: {found:?}"
        );
    }
    // Not even read, if it is in the right place but misaligned.
    for off in [1, FP_ALIGN / 2, FP_ALIGN - 1] {
        let wrong = Cell::new(0);
        let found = with_words(&store, |words| {
            words.exit_fp += off;
            wrong.set(words.exit_fp);
        });
        let fp = VirtualAddress::new(wrong.get());
        let why = BrokenFrame::Misaligned;
        assert_eq!(found.end(), WalkEnd::Broken { fp, why });
    }
}

#[test]
fn an_entry_frame_above_the_activation_is_of_another_entry_and_not_walked_to() {
    register_guest();
    let store = FakeStore::new();
    // Above the `catch_traps` in a function that this one calls.
    let above = stack_pointer().get() & !15;
    for wrong in [above, above + 4096, usize::MAX - 15] {
        let found = with_words(&store, |words| words.entry_fp = wrong);
        assert_eq!(pcs(&found), []);
    }
}
