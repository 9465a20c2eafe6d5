//! What a trap allocates: nothing, for a few frames; once, for more.
#![cfg(feature = "std")]

mod support;

use support::{FakeStore, Fault, Program, WAYS_IN, register_guest};
use trapline_activation::{TrapReason, capture_backtrace_inline};
use trapline_backtrace::INLINE_FRAMES;
use trapline_code_registry::TrapKind;
use trapline_test_support::allocator::{Counting, Uses, counted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_trap_allocates_for_its_backtrace_alone_once_and_only_beyond_the_inline_depth() {
    register_guest();
    let store = FakeStore::new();
    let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
    let fault = Fault::without_address();
    for way_in in WAYS_IN {
        for frames in [1, INLINE_FRAMES.max(1), INLINE_FRAMES + 1, 60] {
            let programs = [
                // The frame that traps is one more.
                Program::new().frames(frames - 1).trap(&fault),
                Program::new().frames(frames).host(&error),
            ];
            for program in programs {
                let (trap, Uses { allocations, .. }) =
                    counted(|| way_in(&store, &program).unwrap_err());
                assert_eq!(trap.backtrace.as_ref().unwrap().len(), frames);
                // The store of these tests captures another one when it is asked for a core
                // dump.
                assert_eq!(store.seen_by_coredump.take(), trap.backtrace);
                assert_eq!(allocations, 2 * usize::from(frames > INLINE_FRAMES));
            }
        }
    }
}

#[test]
fn a_capture_with_room_for_its_frames_allocates_nothing() {
    register_guest();
    let store = FakeStore::new();
    let look = || {
        let (backtrace, Uses { allocations, .. }) =
            counted(|| capture_backtrace_inline::<32>(&store, usize::MAX));
        assert_eq!((backtrace.len(), allocations), (20, 0));
        Ok(())
    };
    for way_in in WAYS_IN {
        way_in(&store, &Program::new().frames(20).host(&look)).unwrap();
    }
}
