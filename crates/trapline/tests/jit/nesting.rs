//! Guests that call hosts that call guests.

use std::cell::RefCell;
use std::error::Error;
use std::rc::{Rc, Weak};

use trapline::{
    Trap, TrapKind, TrapReason, capture_backtrace, catch_traps, catch_traps_with_landing_pad,
    for_each_activation,
};

use crate::support::{Entry, Guest, HostReturn, JitStore, frames, resolve};

/// Three functions that call the host through another one, and one that traps.
fn guest() -> Guest {
    Guest::new(
        "function %a(i64, i64) -> i64 tail {
             fn0 = colocated %a2(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @10 v2 = call fn0(v0, v1)
         @14 return v2
         }
         function %a2(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @20 v2 = call fn0(v0, v1)
         @24 return v2
         }
         function %b(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @30 v2 = call fn0(v0, v1)
         @34 return v2
         }
         function %c(i64, i64) -> i64 tail {
             fn0 = colocated %c2(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @40 v2 = call fn0(v0, v1)
         @44 return v2
         }
         function %c2(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @50 v2 = iconst.i64 100
         @54 v3 = udiv v2, v1
         @58 return v3
         }",
    )
}

/// The error of a host function whose nested guest trapped.
fn pass_on(trap: Trap) -> TrapReason {
    anyhow::Error::from(trap).into()
}

fn activations() -> usize {
    let mut count = 0;
    let _ = for_each_activation(|_| {
        count += 1;
        std::ops::ControlFlow::<()>::Continue(())
    });
    count
}

/// All ways to choose the kind of entry for `levels` levels.
fn entries(levels: u32) -> impl Iterator<Item = Vec<Entry>> {
    (0..1_usize << levels).map(move |choice| {
        (0..levels)
            .map(|level| Entry::BOTH[choice >> level & 1])
            .collect()
    })
}

/// A store whose host function calls `%b`, and from there `%c` with `divisor`;
/// with the kind of entry for each level.
fn a_b_c(guest: &Rc<Guest>, entries: &[Entry]) -> JitStore {
    let (guest, entries) = (Rc::clone(guest), entries.to_vec());
    JitStore::new().with_host(move |store, divisor| {
        let level = activations();
        let name = ["a", "b", "c"][level];
        store
            .call(entries[level], &guest, name, &[divisor])
            .map(|value| value as u32)
            .map_err(pass_on)
    })
}

#[test]
fn frames_of_all_levels_are_listed_once_innermost_first() {
    let guest = Rc::new(guest());
    // Saved contexts and landing pads, in every mixture.
    for entries in entries(3) {
        let store = a_b_c(&guest, &entries);
        let value = store.call(entries[0], &guest, "a", &[4]);
        assert_eq!(value.expect("a value"), 25);

        let trap = store
            .call(entries[0], &guest, "a", &[0])
            .expect_err("no quotient");
        // The trap comes all the way as it is: same kind, first backtrace.
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
        assert_eq!(frames(&trap), ["c2@54", "c@40", "b@30", "a2@20", "a@10"]);
        assert_eq!(activations(), 0);

        let value = store.call(entries[0], &guest, "a", &[5]);
        assert_eq!(value.expect("a value"), 20);
    }
}

/// Passing an error on with something added keeps the backtrace of where it
/// started: it is captured once, however many levels it goes through.
#[test]
fn a_trap_with_context_added_shares_the_first_backtrace() {
    let guest = Rc::new(guest());
    for entries in entries(2) {
        let store = JitStore::new().with_host({
            let (guest, entry) = (Rc::clone(&guest), entries[1]);
            move |store, divisor| {
                let trap = store
                    .call(entry, &guest, "c", &[divisor])
                    .expect_err("no quotient");
                Err(anyhow::Error::from(trap).context("while dividing").into())
            }
        });
        let trap = store
            .call(entries[0], &guest, "b", &[0])
            .expect_err("no quotient");
        assert_eq!(trap.kind(), None);
        assert_eq!(
            trap.source().expect("the host's error").to_string(),
            "while dividing"
        );
        let backtrace = trap.backtrace.as_ref().expect("a backtrace");
        let TrapReason::User(error) = &trap.reason else {
            panic!("{:?}", trap.reason);
        };
        let inner = error.downcast_ref::<Trap>().expect("the trap is in there");
        assert_eq!(inner.kind(), Some(TrapKind::IntegerDivisionByZero));
        assert_eq!(frames(inner), ["c2@54", "c@40", "b@30"]);
        assert_eq!(
            backtrace.as_slice().as_ptr(),
            inner
                .backtrace
                .as_ref()
                .expect("a backtrace")
                .as_slice()
                .as_ptr(),
            "shared, not captured again"
        );
    }
}

#[test]
fn a_trap_that_the_host_swallows_leaves_the_outer_guest_working() {
    let guest = Rc::new(guest());
    for entries in entries(2) {
        let store = JitStore::new().with_host({
            let (guest, entry) = (Rc::clone(&guest), entries[1]);
            move |store, divisor| {
                let here = resolve(&capture_backtrace(store), None);
                let inner = store.call(entry, &guest, "c", &[divisor]);
                // The words of the outer guest are back.
                assert_eq!(resolve(&capture_backtrace(store), None), here);
                Ok(inner.map_or(77, |value| value as u32))
            }
        });
        for (divisor, value) in [(2, 50), (0, 77), (0, 77), (10, 10)] {
            let result = store.call(entries[0], &guest, "a", &[divisor]);
            assert_eq!(result.expect("a value"), value);
        }
    }
}

#[test]
fn an_entry_that_has_not_reached_its_guest_yet_adds_no_frames() {
    let guest = guest();
    let store = JitStore::new().with_host(|store, _| {
        let here = || resolve(&capture_backtrace(store), None);
        assert_eq!(here(), ["a2@20", "a@10"]);
        let inside = catch_traps(store, |_| here()).expect("a value");
        assert_eq!(inside, here());
        let inside = catch_traps_with_landing_pad(store, |_| Some(here())).expect("a value");
        assert_eq!(inside, here());
        Ok(3)
    });
    for entry in Entry::BOTH {
        let result = store.call(entry, &guest, "a", &[0]);
        assert_eq!(result.expect("a value"), 3);
    }
}

/// Stores of the same code, nested: each sees its own frames only.
#[test]
fn three_nested_stores_each_list_their_own_frames() {
    let guest = Rc::new(guest());
    for entries in entries(3) {
        let innermost = Rc::new(JitStore::new());
        let middle = Rc::new(JitStore::new());
        let outermost = Rc::new(JitStore::new());
        let seen: Rc<RefCell<Vec<Vec<String>>>> = Rc::default();

        let call = |inner: &Rc<JitStore>, entry, name: &'static str| {
            let (inner, guest) = (Rc::clone(inner), Rc::clone(&guest));
            let seen = Rc::clone(&seen);
            move |store: &JitStore, divisor: u64| -> HostReturn {
                seen.borrow_mut()
                    .push(resolve(&capture_backtrace(store), None));
                let value = inner.call(entry, &guest, name, &[divisor]);
                value.map(|value| value as u32).map_err(pass_on)
            }
        };
        middle.set_host(call(&innermost, entries[2], "c"));
        outermost.set_host(call(&middle, entries[1], "b"));

        let value = outermost.call(entries[0], &guest, "a", &[20]);
        assert_eq!(value.expect("a value"), 5);
        assert_eq!(seen.take(), [&["a2@20", "a@10"] as &[_], &["b@30"]]);

        let trap = outermost
            .call(entries[0], &guest, "a", &[0])
            .expect_err("no quotient");
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
        assert_eq!(frames(&trap), ["c2@54", "c@40"]);
        assert_eq!(seen.take(), [&["a2@20", "a@10"] as &[_], &["b@30"]]);
    }
}

/// A store is entered, another one from its host function, and from there the
/// first one again.
#[test]
fn stores_a_b_a_list_all_frames_of_a_and_none_of_b() {
    let guest = Rc::new(guest());
    for entries in entries(3) {
        let b = Rc::new(JitStore::new());
        let a = Rc::new(JitStore::new());
        a.set_host({
            let (b, guest, entry) = (Rc::clone(&b), Rc::clone(&guest), entries[1]);
            move |_, divisor| {
                let value = b.call(entry, &guest, "b", &[divisor]);
                value.map(|value| value as u32).map_err(pass_on)
            }
        });
        b.set_host({
            let (a, guest, entry) = (Rc::downgrade(&a), Rc::clone(&guest), entries[2]);
            move |b, divisor| {
                let a = Weak::upgrade(&a).expect("the caller's caller");
                assert_eq!(resolve(&capture_backtrace(b), None), ["b@30"]);
                assert_eq!(resolve(&capture_backtrace(&*a), None), ["a2@20", "a@10"]);
                let value = a.call(entry, &guest, "c", &[divisor]);
                value.map(|value| value as u32).map_err(pass_on)
            }
        });
        let value = a.call(entries[0], &guest, "a", &[50]);
        assert_eq!(value.expect("a value"), 2);
        let trap = a
            .call(entries[0], &guest, "a", &[0])
            .expect_err("no quotient");
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
        assert_eq!(frames(&trap), ["c2@54", "c@40", "a2@20", "a@10"]);
    }
}

#[test]
fn a_hundred_levels_have_the_frames_of_a_hundred_levels() {
    const LEVELS: u64 = 100;
    let guest = Rc::new(guest());
    let store = JitStore::new().with_host({
        let guest = Rc::clone(&guest);
        move |store, level| {
            let entry = Entry::BOTH[level as usize % 2];
            let value = match level {
                0 => store.call(entry, &guest, "c", &[0]),
                _ => store.call(entry, &guest, "a", &[level - 1]),
            };
            value.map(|value| value as u32).map_err(pass_on)
        }
    });
    let trap = store
        .call(Entry::LandingPad, &guest, "a", &[LEVELS - 1])
        .expect_err("no quotient");
    let mut expected = vec!["c2@54", "c@40"];
    for _ in 0..LEVELS {
        expected.extend(["a2@20", "a@10"]);
    }
    assert_eq!(frames(&trap), expected);
}
