//! Deep stacks.

use std::thread;

use trapline::{TrapKind, WalkEnd, stack_pointer};

use crate::support::store::JitContext;
use crate::support::{Entry, Guest, JitStore, frames};

const DEPTH: u64 = 100_000;

/// Stack for that many frames, and room to spare.
const STACK_BYTES: usize = 64 << 20;

fn guest() -> Guest {
    Guest::new(
        "function %dive(i64, i64) -> i64 tail {
             fn0 = colocated %dive(i64, i64) -> i64 tail
             fn1 = colocated %bottom(i64) -> i64 tail
         block0(v0: i64, v1: i64):
             brif v1, block1, block2
         block1:
             v2 = iconst.i64 -1
             v3 = iadd v1, v2
         @10 v4 = call fn0(v0, v3)
         @14 return v4
         block2:
         @18 v5 = call fn1(v0)
         @1c return v5
         }
         function %bottom(i64) -> i64 tail {
         block0(v0: i64):
         @20 trap user1
         }",
    )
}

/// Runs `f` on a thread with a stack that is large enough.
fn with_large_stack(f: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(f)
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[test]
fn a_backtrace_of_a_hundred_thousand_frames_is_complete() {
    with_large_stack(|| {
        let guest = guest();
        let store = JitStore::new();
        for entry in Entry::BOTH {
            // The outermost frame is dive(DEPTH - 2), so that with `%bottom`
            // there are DEPTH frames.
            let trap = store
                .call(entry, &guest, "dive", &[DEPTH - 2])
                .expect_err("hits the bottom");
            assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
            let backtrace = trap.backtrace.as_ref().expect("a backtrace");
            assert_eq!(backtrace.end(), WalkEnd::Complete);
            assert_eq!(backtrace.len() as u64, DEPTH);

            let frames = frames(&trap);
            assert_eq!(frames[..2], ["bottom@20", "dive@18"]);
            assert!(frames[2..].iter().all(|frame| frame == "dive@10"));

            let rising = backtrace.as_slice().is_sorted_by(|a, b| a.fp < b.fp);
            assert!(rising, "no frame twice");
        }
    });
}

#[test]
fn a_limited_backtrace_has_the_innermost_frames() {
    with_large_stack(|| {
        let guest = guest();
        for (limit, trace) in [
            (1, &["bottom@20"] as &[_]),
            (3, &["bottom@20", "dive@18", "dive@10"]),
        ] {
            let store = JitStore::new().with_backtrace_limit(limit);
            for entry in Entry::BOTH {
                let trap = store
                    .call(entry, &guest, "dive", &[DEPTH - 2])
                    .expect_err("hits the bottom");
                assert_eq!(frames(&trap), trace);
                let backtrace = trap.backtrace.expect("a backtrace");
                assert_eq!(backtrace.end(), WalkEnd::LimitReached);
            }
        }
        let store = JitStore::new().with_backtrace_limit(0);
        for entry in Entry::BOTH {
            let trap = store
                .call(entry, &guest, "dive", &[DEPTH - 2])
                .expect_err("hits the bottom");
            assert_eq!(trap.backtrace, None);
        }
    });
}

/// A guest that checks its stack: each function compares the stack pointer with
/// the limit in the store's context, once it has its frame.
#[test]
fn a_guest_out_of_stack_traps_and_its_frames_can_be_listed() {
    let stack_limit = std::mem::offset_of!(JitContext, stack_limit);
    let guest = Guest::new(&format!(
        "function %for_ever(i64 vmctx, i64) -> i64 tail {{
             gv0 = vmctx
             gv1 = load.i64 notrap aligned gv0+{stack_limit}
             stack_limit = gv1
             fn0 = colocated %for_ever(i64 vmctx, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @10 v2 = call fn0(v0, v1)
         @14 v3 = iadd v2, v1
         @18 return v3
         }}"
    ));
    let store = JitStore::new();
    for entry in Entry::BOTH {
        store
            .context()
            .stack_limit
            .set(stack_pointer().get() - (512 << 10));
        let trap = store
            .call(entry, &guest, "for_ever", &[1])
            .expect_err("no end");
        assert_eq!(trap.kind(), Some(TrapKind::StackOverflow));
        let frames = frames(&trap);
        assert!(frames.len() > 1000, "{}", frames.len());
        // The check has no place in the guest's text.
        assert_eq!(frames[0], "for_ever@?");
        assert!(frames[1..].iter().all(|frame| frame == "for_ever@10"));
    }
}

/// Also where the check comes before the frame is made, as on s390x: neither is the
/// function's caller missing, nor is the entry trampoline taken for it.
#[test]
fn the_first_functions_of_a_guest_may_be_out_of_stack() {
    let stack_limit = std::mem::offset_of!(JitContext, stack_limit);
    let guest = Guest::new(&format!(
        "function %unchecked(i64 vmctx, i64) -> i64 tail {{
             fn0 = colocated %checked(i64 vmctx, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @10 v2 = call fn0(v0, v1)
         @14 return v2
         }}
         function %checked(i64 vmctx, i64) -> i64 tail {{
             gv0 = vmctx
             gv1 = load.i64 notrap aligned gv0+{stack_limit}
             stack_limit = gv1
             fn0 = colocated %unchecked(i64 vmctx, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @20 v2 = call fn0(v0, v1)
         @24 return v2
         }}"
    ));
    let store = JitStore::new();
    for entry in Entry::BOTH {
        // All of the guest's stack is beyond the limit.
        store.context().stack_limit.set(stack_pointer().get());
        for (function, trace) in [
            ("checked", &["checked@?"] as &[_]),
            ("unchecked", &["checked@?", "unchecked@10"]),
        ] {
            let trap = store
                .call(entry, &guest, function, &[1])
                .expect_err("no stack");
            assert_eq!(trap.kind(), Some(TrapKind::StackOverflow));
            assert_eq!(frames(&trap), trace);
        }
    }
}
