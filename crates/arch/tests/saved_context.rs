//! What `call_with_setjmp` and `longjmp` promise.

use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use trapline_arch::{JmpBuf, JmpBufStruct, call_with_setjmp, longjmp, stack_pointer};

/// Jumps from `depth` frames further down.
#[inline(never)]
fn jump_from(depth: usize, buf: JmpBuf, val: i32) -> i32 {
    let pad = black_box([depth; 8]);
    if depth == 0 {
        // SAFETY: the tests call this inside of the matching call_with_setjmp,
        // on its stack; no frame here has a destructor.
        unsafe { longjmp(buf, val) }
    }
    // Not a tail call.
    jump_from(depth - 1, buf, val).wrapping_add(pad[0] as i32)
}

/// Counts how often it is dropped.
struct CountsDrops<'a>(&'a Cell<u32>);

impl Drop for CountsDrops<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Somewhere near the stack pointer of the caller.
#[inline(never)]
fn stack_position() -> usize {
    stack_pointer().get()
}

#[test]
fn call_with_setjmp_returns_once() {
    let returns = Cell::new(0);
    let entries = Cell::new(0);
    for round in 1..=1000 {
        let value = call_with_setjmp(|buf| {
            entries.set(entries.get() + 1);
            jump_from(5, buf, round)
        });
        returns.set(returns.get() + 1);
        assert_eq!(value, round);
        assert_eq!((entries.get(), returns.get()), (round, round));
    }
}

#[test]
fn the_value_of_the_closure_is_returned() {
    for value in [0, 1, -1, i32::MIN, i32::MAX] {
        assert_eq!(call_with_setjmp(|_| value), value);
    }
}

#[test]
fn a_jump_with_zero_arrives_as_one() {
    assert_eq!(call_with_setjmp(|buf| jump_from(3, buf, 0)), 1);
}

proptest! {
    #[test]
    fn a_jump_brings_its_value_from_any_depth(value: i32, depth in 0..200_usize) {
        let arrives = if value == 0 { 1 } else { value };
        prop_assert_eq!(call_with_setjmp(|buf| jump_from(depth, buf, value)), arrives);
    }
}

#[test]
fn what_was_written_before_a_jump_is_there_after_it() {
    // The compiler must not keep any of these in a register across the call.
    let mut number = black_box(1);
    let mut list = [0_u64; 32];
    let mut text = String::from("before");
    let value = call_with_setjmp(|buf| {
        number += 41;
        for (i, slot) in list.iter_mut().enumerate() {
            *slot = i as u64 * 3;
        }
        text.push_str(" and after");
        jump_from(2, buf, 5)
    });
    assert_eq!(value, 5);
    assert_eq!(number, 42);
    assert!(list.iter().enumerate().all(|(i, n)| *n == i as u64 * 3));
    assert_eq!(text, "before and after");
}

#[test]
fn what_was_computed_before_the_call_survives_a_jump() {
    // More values than there are registers, all live across the call.
    let a: [u64; 24] = core::array::from_fn(|i| black_box(i as u64 + 1));
    let f: [f64; 8] = core::array::from_fn(|i| black_box(i as f64 + 0.5));
    let value = call_with_setjmp(|buf| jump_from(7, buf, 3));
    assert_eq!(value, 3);
    assert_eq!(a.iter().sum::<u64>(), 300);
    assert_eq!(f.iter().sum::<f64>(), 32.0);
}

#[test]
fn an_inner_context_is_jumped_to_without_the_outer_one_noticing() {
    let outer = call_with_setjmp(|_outer| {
        let inner = call_with_setjmp(|inner| jump_from(3, inner, 10));
        inner + 1
    });
    assert_eq!(outer, 11);
}

#[test]
fn an_outer_context_is_jumped_to_over_inner_ones() {
    let value = call_with_setjmp(|outer| {
        call_with_setjmp(|_| {
            call_with_setjmp(|_| jump_from(3, outer, 20));
            unreachable!("the jump goes further out")
        });
        unreachable!("the jump goes further out")
    });
    assert_eq!(value, 20);
}

#[test]
fn a_context_that_was_jumped_over_leaves_later_ones_alone() {
    let value = call_with_setjmp(|outer| {
        let first = call_with_setjmp(|inner| jump_from(1, inner, 2));
        let second = call_with_setjmp(|inner| jump_from(9, inner, 3));
        jump_from(0, outer, first * 10 + second)
    });
    assert_eq!(value, 23);
}

#[test]
fn a_panic_unwinds_out_and_runs_destructors_inside_and_outside() {
    let drops = &Cell::new(0);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let _outside = CountsDrops(drops);
        let owned = CountsDrops(drops);
        call_with_setjmp(move |_| {
            let _inside = CountsDrops(drops);
            let _owned = &owned;
            panic!("on purpose");
        });
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(drops.get(), 3);
}

#[test]
fn what_the_closure_owns_is_dropped_once_when_it_returns() {
    let drops = Cell::new(0);
    let owned = CountsDrops(&drops);
    let value = call_with_setjmp(move |_| {
        let _owned = &owned;
        6
    });
    assert_eq!((value, drops.get()), (6, 1));
}

#[test]
fn a_panic_caught_inside_does_not_keep_a_jump_from_landing() {
    let value = call_with_setjmp(|buf| {
        catch_unwind(|| panic!("on purpose")).unwrap_err();
        jump_from(4, buf, 12)
    });
    assert_eq!(value, 12);
    assert!(!std::thread::panicking());
}

#[test]
fn a_jump_inside_of_a_destructor_that_runs_while_unwinding_lets_unwinding_go_on() {
    struct JumpsWhenDropped<'a>(&'a Cell<i32>);
    impl Drop for JumpsWhenDropped<'_> {
        fn drop(&mut self) {
            self.0.set(call_with_setjmp(|buf| jump_from(4, buf, 13)));
        }
    }
    let seen = Cell::new(0);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let _jumps = JumpsWhenDropped(&seen);
        panic!("on purpose");
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    assert_eq!(seen.get(), 13);
}

#[test]
fn a_million_jumps_leave_no_stack_behind() {
    let start = stack_position();
    let mut sum = 0_u64;
    for i in 0..1_000_000 {
        sum += call_with_setjmp(|buf| jump_from(i % 3, buf, 2)) as u64;
    }
    assert_eq!(sum, 2_000_000);
    assert_eq!(stack_position(), start);
}

#[test]
fn a_context_can_be_jumped_to_by_its_landing_point() {
    let value = call_with_setjmp(|buf: &JmpBufStruct| {
        let resume = buf.landing_point().with_payload(31, 0);
        // SAFETY: the context is alive, its landing point takes the value in
        // the first payload register, and nothing here has a destructor.
        unsafe { resume.jump() }
    });
    assert_eq!(value, 31);
}

#[test]
fn a_landing_point_lies_on_the_stack_above_the_closure() {
    call_with_setjmp(|buf| {
        let landing = buf.landing_point();
        let here = stack_position();
        assert!(here < landing.sp && landing.sp < landing.fp);
        assert!(landing.fp - here < 4096);
        0
    });
}

#[test]
fn the_stack_pointer_goes_down_with_each_call_and_comes_back() {
    #[inline(never)]
    fn down(depth: usize, above: usize) {
        let pad = black_box([depth; 8]);
        let here = stack_pointer().get();
        assert!(here < above && above - here < 4096, "{here:#x} {above:#x}");
        if depth > 0 {
            down(depth - 1, here);
        }
        assert_eq!(stack_pointer().get(), here);
        black_box(pad);
    }
    down(10, stack_pointer().get());
}

#[test]
fn contexts_of_threads_do_not_meet() {
    std::thread::scope(|scope| {
        for id in 1..=8 {
            scope.spawn(move || {
                for _ in 0..10_000 {
                    assert_eq!(call_with_setjmp(|buf| jump_from(6, buf, id)), id);
                }
            });
        }
    });
}
