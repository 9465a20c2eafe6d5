//! What a trap allocates: nothing, for a few frames; once, for more.
#![cfg(feature = "std")]

mod support;

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

use support::{FakeStore, Fault, Program, WAYS_IN, register_guest};
use trapline_activation::{TrapReason, capture_backtrace_inline};
use trapline_backtrace::INLINE_FRAMES;
use trapline_code_registry::TrapKind;

/// Counts what this thread allocates.
struct Counting;

std::thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator, with a look at who asks.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `f` gives, and how often it allocated.
fn counted<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.get();
    let value = f();
    (value, ALLOCATIONS.get() - before)
}

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
                let (trap, allocations) = counted(|| way_in(&store, &program).unwrap_err());
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
        let (backtrace, allocations) =
            counted(|| capture_backtrace_inline::<32>(&store, usize::MAX));
        assert_eq!((backtrace.len(), allocations), (20, 0));
        Ok(())
    };
    for way_in in WAYS_IN {
        way_in(&store, &Program::new().frames(20).host(&look)).unwrap();
    }
}
