//! Defects that earlier systems of this kind had, and this one must not have:
//! one test for each that would be in this crate, named after it. (The walk's
//! own are in trapline-backtrace, the registry's in trapline-code-registry.)
#![cfg(feature = "std")]

mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::ops::ControlFlow;

use support::{
    FakeStore, Fault, INITIAL, Program, WAYS_IN, calls, decide, head, register_guest, trap_in,
    trap_pc, trap_pcs,
};
use trapline_activation::{
    ACTIVATION, ActivationHead, TrapReason, catch_traps, for_each_activation, record_trap,
};
use trapline_arch::{VirtualAddress, stack_pointer};
use trapline_code_registry::TrapKind;

/// Somewhere near the stack pointer of the caller.
#[inline(never)]
fn stack_position() -> usize {
    stack_pointer().get()
}

/// Overwrites the stack below the caller.
#[inline(never)]
fn overwrite_dead_frames() {
    black_box([0xa5_u8; 16 * 1024]);
}

#[test]
fn the_activation_is_not_in_a_frame_that_is_dead_after_the_jump() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let activation = Cell::new(0);
        let discarded = Cell::new(0..0);
        let host = || {
            activation.set(head().addr());
            // Every frame that the jump discards is below the entry trampoline's. (The activation
            // needs not be above: with address sanitizer, locals are not on the stack.)
            discarded.set(stack_pointer().get()..store.words().entry_fp);
            overwrite_dead_frames();
            Err(TrapReason::Wasm(TrapKind::CastFailure))
        };
        let program = Program::new().frames(3).host(&host);
        let trap = way_in(&store, &program).unwrap_err();
        overwrite_dead_frames();
        let discarded = discarded.take();
        assert!(!discarded.is_empty() && !discarded.contains(&activation.get()));
        // What the slot held came out whole.
        assert_eq!(trap.kind(), Some(TrapKind::CastFailure));
        assert_eq!(trap_pcs(&trap), calls(3));
    }
}

#[test]
fn saved_words_are_not_restored_by_a_drop_that_the_jump_skips() {
    register_guest();
    let store = FakeStore::new();
    // Three levels, so that each one's words differ from the next one's.
    let fault = Fault::without_address();
    for way_in in WAYS_IN {
        let innermost = Program::new().frames(1).trap(&fault);
        let call_innermost = || {
            let before = (store.words(), head());
            way_in(&store, &innermost).unwrap_err();
            assert_eq!((store.words(), head()), before);
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        };
        let middle = Program::new().frames(1).host(&call_innermost);
        let call_middle = || {
            let before = (store.words(), head());
            way_in(&store, &middle).unwrap_err();
            assert_eq!((store.words(), head()), before);
            Err(TrapReason::Wasm(TrapKind::OutOfFuel))
        };
        way_in(&store, &Program::new().host(&call_middle)).unwrap_err();
        assert_eq!(store.words(), INITIAL);
        assert!(head().is_null());
    }
}

#[test]
fn the_innermost_frame_of_a_trap_is_not_reported_twice() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let program = Program::new().frames(1).trap(&fault);
        let trap = way_in(&store, &program).unwrap_err();
        assert_eq!(trap_pcs(&trap), trap_in(1));
        let error = || Err(TrapReason::Wasm(TrapKind::OutOfFuel));
        let trap = way_in(&store, &Program::new().frames(1).host(&error)).unwrap_err();
        assert_eq!(trap_pcs(&trap), calls(1));
    }
}

#[test]
fn pushing_does_not_assert_that_the_link_is_null_after_the_constructor_set_it() {
    // The link is not null from the second level on, and right on each.
    fn nest(store: &FakeStore, levels: usize) {
        let outer = head();
        catch_traps(store, |_| {
            let innermost = head();
            assert!(!innermost.is_null() && innermost != outer);
            // SAFETY: the innermost activation, in which we are.
            let previous = unsafe { &*innermost }.previous();
            assert_eq!(previous.map_or(std::ptr::null(), std::ptr::from_ref), outer);
            if levels > 1 {
                nest(store, levels - 1);
            }
            assert_eq!(head(), innermost);
        })
        .unwrap();
        assert_eq!(head(), outer);
    }
    nest(&FakeStore::new(), 100);
}

#[test]
fn no_assertion_fails_inside_of_the_handler() {
    // Whatever the state of the activation and the registers: see also
    // `no_registers_make_the_handler_panic`.
    register_guest();
    let store = FakeStore::new();
    let not_ours = ControlFlow::Continue(());
    let pc = VirtualAddress::new(trap_pc());
    let stack = VirtualAddress::new(stack_position() & !15);
    assert_eq!(decide(pc, stack, None), not_ours);
    catch_traps(&store, |_| {
        for fp in [0, 1, 8, stack.get(), stack.get() + 1, usize::MAX] {
            assert_eq!(decide(pc, VirtualAddress::new(fp), None), not_ours);
        }
        record_trap(TrapKind::OutOfFuel);
        assert_eq!(decide(pc, stack, None), not_ours);
    })
    .unwrap_err();
}

#[test]
fn a_wasm_fault_is_not_only_defined_but_filled_in() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::at_address(store.memory.start + 0x123);
        let trap = way_in(&store, &Program::new().trap(&fault)).unwrap_err();
        let wasm_fault = trap.wasm_fault.expect("filled in");
        assert_eq!(wasm_fault.wasm_address, 0x123);
        assert_ne!(wasm_fault.memory_size, 0);
    }
}

#[test]
fn a_trap_takes_no_lock() {
    // A thread that traps while another is stuck in the middle of a change of
    // the registry: with a lock in the trap path, this would not end. (Code
    // objects are told of nothing under the registry's lock, so the change is a
    // stream of them.)
    use std::sync::atomic::{AtomicBool, Ordering};
    let stop = AtomicBool::new(false);
    register_guest();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                support::register_another();
            }
        });
        let store = FakeStore::new();
        for _ in 0..5_000 {
            let fault = Fault::without_address();
            let program = Program::new().frames(1).trap(&fault);
            let trap = support::run(&store, &program).unwrap_err();
            assert_eq!(trap_pcs(&trap), trap_in(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn no_safety_comment_is_a_note_to_self() {
    // Clippy sees to it that there is a comment; this, that it is one.
    let unfinished = ["TODO", "XXX", concat!("FIX", "ME")];
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = std::fs::read_dir(sources)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("src"))
        .filter(|path| path.is_dir())
        .collect();
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                for line in text.lines().filter(|line| line.contains("SAFETY:")) {
                    let found = unfinished.iter().any(|word| line.contains(word));
                    assert!(!found, "{}: {line}", path.display());
                }
            }
        }
    }
    assert!(files > 10, "the sources were found");
}

#[test]
fn the_chain_is_seen_whole_from_every_side() {
    // What `ACTIVATION` gives is what the chain starts with.
    let store = FakeStore::new();
    catch_traps(&store, |_| {
        let first =
            for_each_activation(|activation| ControlFlow::Break(std::ptr::from_ref(activation)));
        assert_eq!(
            first,
            ControlFlow::Break(ACTIVATION.with(ActivationHead::innermost))
        );
        let text = format!("{:?}", ACTIVATION.with(|head| format!("{head:?}")));
        assert!(text.contains("ActivationHead"), "{text}");
    })
    .unwrap();
}
