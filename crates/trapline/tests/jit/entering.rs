//! Entering a guest, and coming back with a value.

use std::panic::{AssertUnwindSafe, catch_unwind};

use trapline::{
    TrapKind, capture_backtrace, catch_traps, catch_traps_with_landing_pad, raise_trap,
};

use crate::support::store::innermost;
use crate::support::{Entry, Guest, JitStore, frames};

#[test]
fn a_value_comes_back() {
    let guest = Guest::new(
        "function %add(i64, i32, i64) -> i64 tail {
         block0(v0: i64, v1: i32, v2: i64):
             v3 = sextend.i64 v1
             v4 = iadd v2, v3
             return v4
         }
         function %half(i64, f64) -> f64 tail {
         block0(v0: i64, v1: f64):
             v2 = f64const 0x1.0p-1
             v3 = fmul v1, v2
             return v3
         }
         function %nothing(i64) tail {
         block0(v0: i64):
             return
         }",
    );
    let store = JitStore::new();
    for entry in Entry::BOTH {
        let call = |name, arguments: &[u64]| {
            store
                .call(entry, &guest, name, arguments)
                .expect("no reason to trap")
        };
        assert_eq!(call("add", &[u64::from(-2_i32 as u32), 44]), 42);
        assert_eq!(f64::from_bits(call("half", &[5_f64.to_bits()])), 2.5);
        call("nothing", &[]);
    }
}

/// Sixteen arguments with the context: most of them on the stack, which in the
/// tail calling convention the callee takes away. A trap must come back to an
/// entry trampoline that has its own stack pointer again, as if the callee had.
#[test]
fn fifteen_arguments_arrive_and_their_stack_is_taken_away_on_every_way_out() {
    let guest = Guest::new(
        "function %weigh(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i64, v7: i64, v8: i64,
                v9: i64, v10: i64, v11: i64, v12: i64, v13: i64, v14: i64, v15: i64):
             v20 = iadd v1, v2
             v21 = iadd v20, v3
             v22 = iadd v21, v4
             v23 = iadd v22, v5
             v24 = iadd v23, v6
             v25 = iadd v24, v7
             v26 = iadd v25, v8
             v27 = iadd v26, v9
             v28 = iadd v27, v10
             v29 = iadd v28, v11
             v30 = iadd v29, v12
             v31 = iadd v30, v13
             v32 = iadd v31, v14
         @10 brif v15, block1, block2
         block1:
             return v32
         block2:
         @10 trap user1
         }
         function %forward(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64) -> i64 tail {
             sig0 = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64) -> i64 tail
             fn0 = colocated %weigh sig0
         block0(v0: i64, v1: i64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i64, v7: i64, v8: i64,
                v9: i64, v10: i64, v11: i64, v12: i64, v13: i64, v14: i64, v15: i64):
         @20 v16 = call fn0(v0, v14, v13, v12, v11, v10, v9, v8, v7, v6, v5, v4, v3, v2, v1, v15)
             return v16
         }",
    );
    let store = JitStore::new();
    let mut arguments: Vec<u64> = (0..14).map(|power| 10_u64.pow(power)).collect();
    arguments.push(1);
    let mut trapping = arguments.clone();
    trapping[14] = 0;
    for entry in Entry::BOTH {
        for (name, trace) in [
            ("weigh", &["weigh@10"] as &[_]),
            ("forward", &["weigh@10", "forward@20"]),
        ] {
            let sum = store.call(entry, &guest, name, &arguments);
            assert_eq!(sum.expect("a value"), 11_111_111_111_111);
            let trap = store
                .call(entry, &guest, name, &trapping)
                .expect_err("told to trap");
            assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
            assert_eq!(frames(&trap), trace);
        }
    }
}

#[test]
fn outside_of_a_guest_there_are_no_frames() {
    let store = JitStore::new();
    assert!(capture_backtrace(&store).is_empty());
    // Words that an earlier guest left behind are not taken for frames.
    let guest = Guest::new(
        "function %ask(i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64):
             v1 = iconst.i64 7
             v2 = call fn0(v0, v1)
             return v2
         }",
    );
    store.set_host(|_, argument| Ok(argument as u32));
    for entry in Entry::BOTH {
        assert_eq!(store.call(entry, &guest, "ask", &[]).expect("a value"), 7);
        assert!(capture_backtrace(&store).is_empty());
    }
}

/// What is run may do without a guest.
#[test]
fn an_entry_that_enters_no_guest_comes_back_too() {
    let store = JitStore::new();
    assert_eq!(catch_traps(&store, |_| 5).expect("a value"), 5);
    let six = catch_traps_with_landing_pad(&store, |_| Some(6));
    assert_eq!(six.expect("a value"), 6);

    let outcomes = [
        catch_unwind(AssertUnwindSafe(|| {
            catch_traps(&store, |_| -> u32 { panic!("on the way in") })
        })),
        catch_unwind(AssertUnwindSafe(|| {
            catch_traps_with_landing_pad(&store, |_| -> Option<u32> { panic!("on the way in") })
        })),
    ];
    for outcome in outcomes {
        let payload = outcome.expect_err("panicked");
        assert_eq!(payload.downcast_ref(), Some(&"on the way in"));
        assert!(innermost().is_null());
    }

    let trap = catch_traps(&store, |_| -> u32 {
        // SAFETY: nothing lies between here and the entry.
        unsafe { raise_trap(TrapKind::Interrupt.into()) }
    })
    .expect_err("raised");
    assert_eq!(trap.kind(), Some(TrapKind::Interrupt));
    assert_eq!(frames(&trap), [""; 0]);
}

/// Compiled code never clears the landing pad that it has recorded. One that an
/// earlier guest left behind is not to be landed on.
#[test]
fn the_landing_pad_of_an_earlier_guest_is_not_used() {
    let guest = Guest::new(
        "function %stop(i64) tail {
         block0(v0: i64):
         @10 trap user1
         }",
    );
    let store = JitStore::new();
    let trap = store.call(Entry::LandingPad, &guest, "stop", &[]);
    trap.expect_err("told to trap");
    // A store whose words are as a guest leaves them.
    store.context().landing_pc.set(0xdead_beef);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        catch_traps_with_landing_pad(&store, |_| -> Option<u32> {
            // SAFETY: nothing lies between here and the entry.
            unsafe { raise_trap(TrapKind::Interrupt.into()) }
        })
    }));
    let payload = outcome.expect_err("there is nowhere to land");
    let message = payload.downcast_ref::<&str>().expect("a message");
    assert!(message.contains("no entry trampoline"), "{message}");
    assert!(innermost().is_null());
}
