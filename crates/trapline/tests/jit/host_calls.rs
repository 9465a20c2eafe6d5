//! Leaving a guest through a host function that failed or panicked.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;

use trapline::{RawBacktrace, TrapKind, TrapReason, capture_backtrace};

use crate::support::{Entry, Guest, JitStore, frames, resolve};

/// `%outer` calls `%inner` calls the host, and adds 1 to what it gets. `%last`
/// and what it calls hand over to the host with tail calls.
fn guest() -> Guest {
    Guest::new(
        "function %outer(i64, i64) -> i64 tail {
             fn0 = colocated %inner(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @10 v2 = call fn0(v0, v1)
         @14 v3 = iconst.i64 1
         @18 v4 = iadd v2, v3
         @1c return v4
         }
         function %inner(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @20 v2 = call fn0(v0, v1)
         @24 return v2
         }
         function %last(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @30 return_call fn0(v0, v1)
         }
         function %last_but_one(i64, i64) -> i64 tail {
             fn0 = colocated %last(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @40 return_call fn0(v0, v1)
         }
         function %calls_last(i64, i64) -> i64 tail {
             fn0 = colocated %last(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @50 v2 = call fn0(v0, v1)
         @54 return v2
         }
         function %gives_up(i64, i32) -> i64 tail {
             fn0 = %trap(i64, i32) tail
         block0(v0: i64, v1: i32):
         @60 call fn0(v0, v1)
         @64 trap user9
         }",
    )
}

/// An error of the host, with something to carry and somebody to tell when it
/// is dropped.
struct Refusal {
    code: u64,
    dropped: Rc<Cell<u32>>,
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusal({})", self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with code {}", self.code)
    }
}

impl Error for Refusal {}

// SAFETY: for `anyhow` only; these tests keep their errors on one thread.
unsafe impl Send for Refusal {}
// SAFETY: as above.
unsafe impl Sync for Refusal {}

#[test]
fn an_error_of_the_host_keeps_its_type_through_guest_frames_and_is_dropped_once() {
    let guest = guest();
    let dropped = Rc::new(Cell::new(0));
    let store = JitStore::new().with_host({
        let dropped = Rc::clone(&dropped);
        move |_, code| match u32::try_from(code) {
            Ok(code) => Ok(code),
            Err(_) => {
                let dropped = Rc::clone(&dropped);
                Err(anyhow::Error::from(Refusal { code, dropped }).into())
            }
        }
    });
    for (count, entry) in (1..).zip(Entry::BOTH) {
        let value = store.call(entry, &guest, "outer", &[41]);
        assert_eq!(value.expect("a value"), 42);

        let code = 1 << 32 | 7;
        let trap = store
            .call(entry, &guest, "outer", &[code])
            .expect_err("refused");
        assert_eq!(trap.kind(), None);
        assert_eq!(trap.to_string(), "error raised by a host function");
        let source = trap.source().expect("the host's error");
        assert_eq!(source.to_string(), "refused with code 4294967303");
        assert_eq!(frames(&trap), ["inner@20", "outer@10"]);

        let TrapReason::User(error) = trap.reason else {
            panic!("{:?}", trap.reason);
        };
        assert_eq!(
            error.downcast_ref::<Refusal>().expect("its type").code,
            code
        );
        assert_eq!(dropped.get(), count - 1);
        drop(error);
        assert_eq!(dropped.get(), count);
    }
    drop(store);
    assert_eq!(Rc::strong_count(&dropped), 1, "nobody leaked a closure");
}

#[test]
fn a_trap_that_the_guest_finds_by_itself_needs_no_hardware() {
    let guest = guest();
    let store = JitStore::new();
    for entry in Entry::BOTH {
        for &kind in TrapKind::ALL {
            let trap = store
                .call(entry, &guest, "gives_up", &[u64::from(u8::from(kind))])
                .expect_err("found a trap");
            assert!(matches!(trap.reason, TrapReason::Wasm(found) if found == kind));
            assert_eq!(trap.to_string(), format!("wasm trap: {kind}"));
            assert_eq!(frames(&trap), ["gives_up@60"]);
        }
    }
}

/// A tail call to an exit stub leaves no frame of the function that did it, and
/// must not show one. Without any other function the run of frames is empty.
#[test]
fn a_tail_call_out_of_the_guest_leaves_no_frame() {
    let guest = guest();
    let store = JitStore::new().with_host(|store, argument| {
        let here = resolve(&capture_backtrace(store), None);
        match argument {
            0 => Err(anyhow::anyhow!("frames: {here:?}").into()),
            _ => Ok(here.len() as u32),
        }
    });
    for entry in Entry::BOTH {
        for (name, trace) in [
            ("last", &[] as &[&str]),
            ("last_but_one", &[]),
            ("calls_last", &["calls_last@50"]),
        ] {
            let trap = store.call(entry, &guest, name, &[0]).expect_err("failed");
            assert_eq!(frames(&trap), trace, "{name}");
            let told = trap.source().expect("the host's error").to_string();
            assert_eq!(told, format!("frames: {trace:?}"));
            let count = store.call(entry, &guest, name, &[1]);
            assert_eq!(count.expect("a value"), trace.len() as u64);
        }
    }
}

#[test]
fn a_panic_of_the_host_keeps_its_payload_typed_and_untyped() {
    #[derive(PartialEq, Debug)]
    struct Payload(u64);

    let guest = guest();
    let store = JitStore::new().with_host(|_, argument| match argument {
        0 => panic!("a message"),
        1 => panic!("a message with the number {argument}"),
        2 => panic_any(Payload(argument)),
        _ => Ok(7),
    });
    for entry in Entry::BOTH {
        let panic_of = |argument| {
            catch_unwind(AssertUnwindSafe(|| {
                store.call(entry, &guest, "outer", &[argument])
            }))
            .expect_err("panicked")
        };
        assert_eq!(
            *panic_of(0).downcast::<&str>().expect("a message"),
            "a message"
        );
        assert_eq!(
            *panic_of(1).downcast::<String>().expect("a message"),
            "a message with the number 1"
        );
        assert_eq!(
            *panic_of(2).downcast::<Payload>().expect("its type"),
            Payload(2)
        );
        // The count of panics is right again, or this would abort.
        assert!(!std::thread::panicking());
        let value = store.call(entry, &guest, "outer", &[3]);
        assert_eq!(value.expect("a value"), 8);
    }
}

#[test]
fn a_host_may_catch_a_panic_of_a_nested_guest_and_trap_afterwards() {
    let guest = Rc::new(guest());
    for entry in Entry::BOTH {
        let store = JitStore::new().with_host({
            let guest = Rc::clone(&guest);
            move |store, argument| {
                if argument == 0 {
                    panic!("from the inner guest's host");
                }
                let nested = catch_unwind(AssertUnwindSafe(|| {
                    store.call(entry, &guest, "outer", &[argument - 1])
                }));
                let payload = nested.expect_err("panicked");
                let message = payload.downcast_ref::<&str>().expect("a message");
                Err(anyhow::anyhow!("caught: {message}").into())
            }
        });
        let trap = store
            .call(entry, &guest, "outer", &[1])
            .expect_err("trapped after the panic");
        assert_eq!(
            trap.source().expect("the host's error").to_string(),
            "caught: from the inner guest's host"
        );
        // Of the outer guest only: the inner one is gone.
        assert_eq!(frames(&trap), ["inner@20", "outer@10"]);
    }
}

/// While a panic unwinds the host function's frames, a destructor there enters a
/// guest, which traps. Neither disturbs the other.
#[test]
fn a_destructor_may_enter_a_guest_while_a_panic_unwinds() {
    struct EntersGuest<'a> {
        store: &'a JitStore,
        guest: &'a Guest,
        entry: Entry,
        found: &'a RefCell<Vec<Vec<String>>>,
    }

    impl Drop for EntersGuest<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let trap = self
                .store
                .call(self.entry, self.guest, "outer", &[1])
                .expect_err("the host fails");
            self.found.borrow_mut().push(frames(&trap));
        }
    }

    let guest = Rc::new(guest());
    let found = Rc::new(RefCell::new(Vec::new()));
    for entry in Entry::BOTH {
        let store = JitStore::new().with_host({
            let (guest, found) = (Rc::clone(&guest), Rc::clone(&found));
            move |store, argument| {
                if argument == 1 {
                    return Err(anyhow::anyhow!("no").into());
                }
                let _on_the_way_out = EntersGuest {
                    store,
                    guest: &guest,
                    entry,
                    found: &found,
                };
                panic_any(argument);
            }
        });
        let payload = catch_unwind(AssertUnwindSafe(|| {
            store.call(entry, &guest, "outer", &[5])
        }))
        .expect_err("panicked");
        assert_eq!(*payload.downcast::<u64>().expect("its type"), 5);
        // The inner guest's frames, and the outer's, which are still there.
        assert_eq!(
            found.take(),
            [["inner@20", "outer@10", "inner@20", "outer@10"]]
        );
    }
}

#[test]
fn a_backtrace_can_be_had_without_a_trap() {
    let guest = guest();
    let seen: Rc<RefCell<Vec<RawBacktrace>>> = Rc::default();
    let store = JitStore::new().with_host({
        let seen = Rc::clone(&seen);
        move |store, _| {
            seen.borrow_mut().push(capture_backtrace(store));
            Ok(0)
        }
    });
    for entry in Entry::BOTH {
        store.call(entry, &guest, "outer", &[0]).expect("a value");
        let seen = seen.take();
        assert_eq!(seen.len(), 1);
        assert_eq!(resolve(&seen[0], None), ["inner@20", "outer@10"]);
    }
}

#[test]
fn an_error_can_be_shown_after_store_and_code_are_gone() {
    for entry in Entry::BOTH {
        let guest = guest();
        let store = JitStore::new().with_host(|_, _| Err(anyhow::anyhow!("no").into()));
        let of_host = store
            .call(entry, &guest, "outer", &[0])
            .expect_err("failed");
        let of_guest = store
            .call(entry, &guest, "gives_up", &[9])
            .expect_err("found a trap");
        drop(store);
        drop(guest);

        assert_eq!(of_host.to_string(), "error raised by a host function");
        assert_eq!(
            of_host.source().expect("the host's error").to_string(),
            "no"
        );
        assert_eq!(
            of_guest.to_string(),
            "wasm trap: wasm `unreachable` instruction executed"
        );
        for trap in [of_host, of_guest] {
            assert!(format!("{trap:?}").contains("RawBacktrace"));
            for frame in frames(&trap) {
                assert!(frame.starts_with("no code at 0x"), "{frame}");
            }
        }
    }
}
