//! Backtraces: deep, limited, without a trap, and after everything is gone.

use std::sync::{Arc, Mutex};

use trapline_backtrace::WalkEnd;
use trapline_code_registry::TrapKind;
use trapline_embed::{Caller, DEFAULT_BACKTRACE_LIMIT, Error, Val};

use crate::support::{Setup, call_to_fail, in_every_setup, names};

#[test]
fn the_second_the_tenth_and_the_ten_thousandth_trap_are_like_the_first() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "fail" (func $fail))
                (memory 1)
                (func $load (drop (i32.load offset=3 (i32.const 0xffff))))
                (func $outer (export "load") (call $load))
                (func $divide (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
                (func $host (export "host") (call $fail)))"#,
            (),
            |linker| {
                linker.func_wrap("host", "fail", || Err::<(), _>(anyhow::anyhow!("no")));
            },
        );
        let exports = ["load", "divide", "host"]
            .map(|name| (name, instance.get_func(&mut store, name).unwrap()));
        let mut first: Vec<Vec<(u32, Option<u32>)>> = Vec::new();
        for round in 0..3_500 {
            for (i, (name, func)) in exports.iter().enumerate() {
                let error = func.call(&mut store, &[]).unwrap_err();
                let frames: Vec<_> = error
                    .wasm_backtrace()
                    .frames()
                    .iter()
                    .map(|frame| (frame.function_index(), frame.bytecode_offset()))
                    .collect();
                if round == 0 {
                    first.push(frames);
                } else {
                    assert_eq!(frames, first[i], "{name} in round {round}");
                }
            }
        }
    });
}

/// Calls itself until its argument is 0, then fails.
const DEEP: &str = r#"(module
    (import "host" "bottom" (func $bottom))
    (func $down (export "down") (param i32)
        (if (i32.eqz (local.get 0))
            (then (call $bottom))
            (else (call $down (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// Runs `test` on a thread with a stack for 100,000 frames.
fn on_a_large_stack(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(256 << 20)
            .spawn_scoped(scope, test)
            .expect("a thread")
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn down(setup: Setup, frames: usize, limit: usize, trap: bool) -> Error {
    let bottom = if trap {
        "(unreachable)"
    } else {
        "(call $bottom)"
    };
    let wat = DEEP.replace("(call $bottom)", bottom);
    let (mut store, instance) = setup.instance(&wat, (), |linker| {
        linker.func_wrap("host", "bottom", || {
            Err::<(), _>(anyhow::anyhow!("the bottom"))
        });
    });
    store.set_max_wasm_stack(200 << 20);
    store.set_backtrace_limit(limit);
    let down = instance.get_func(&mut store, "down").unwrap();
    down.call(&mut store, &[Val::I32(frames as i32 - 1)])
        .unwrap_err()
}

#[test]
fn a_backtrace_of_a_hundred_thousand_frames_is_complete() {
    in_every_setup(|setup| {
        on_a_large_stack(move || {
            for trap in [false, true] {
                let error = down(setup, 100_000, usize::MAX, trap);
                let raw = error.raw_backtrace().unwrap().clone();
                assert_eq!((raw.len(), raw.end()), (100_000, WalkEnd::Complete));
                let rising = raw
                    .as_slice()
                    .windows(2)
                    .all(|pair| pair[0].fp < pair[1].fp);
                assert!(rising, "each frame once, innermost first");
                assert_eq!(error.wasm_backtrace().frames().len(), 100_000);
            }
        });
    });
}

#[test]
fn each_frame_of_a_recursion_has_its_own_place() {
    in_every_setup(|setup| {
        for trap in [false, true] {
            let error = down(setup, 5, usize::MAX, trap);
            let raw = error.raw_backtrace().unwrap().clone();
            let frames = error.wasm_backtrace().frames();
            assert!(
                raw.frames()
                    .map(|frame| frame.pc)
                    .eq(frames.iter().map(|f| f.pc()))
            );
            assert_eq!(names(error.wasm_backtrace()), ["down"; 5]);
            // All but the innermost one wait for the same call.
            let offsets: Vec<_> = frames
                .iter()
                .map(|f| f.bytecode_offset().unwrap())
                .collect();
            assert!(offsets[0] < offsets[1], "{offsets:x?}");
            assert_eq!(offsets[1..], [offsets[1]; 4]);
        }
    });
}

#[test]
fn a_frame_keeps_its_names_when_error_store_and_module_are_gone() {
    in_every_setup(|setup| {
        let frame = down(setup, 3, usize::MAX, true).wasm_backtrace().frames()[2].clone();
        assert_eq!(frame.function_name(), Some("down"));
        assert_eq!(frame.module_name(), None);
        assert_eq!(frame.module().name(), None);
        assert!(frame.module().text().unwrap().contains(&frame.pc()));
    });
}

#[test]
fn a_cloned_backtrace_is_like_the_errors_own_when_that_is_gone() {
    in_every_setup(|setup| {
        // Some in the value itself, some not.
        for depth in [1, 2, 3, 10] {
            let error = down(setup, depth, usize::MAX, true);
            let clone = error.wasm_backtrace().clone();
            assert_eq!(&clone, error.wasm_backtrace());
            let printed = error.wasm_backtrace().to_string();
            drop(error);
            assert_eq!(clone.clone().to_string(), printed);
            assert_eq!(names(&clone), vec!["down"; depth]);
            for frame in clone.frames() {
                assert!(frame.module().text().unwrap().contains(&frame.pc()));
            }
        }
    });
}

#[test]
fn what_a_store_resolved_keeps_its_modules_when_the_store_is_gone() {
    in_every_setup(|setup| {
        for depth in [1, 2, 3, 10] {
            let seen = Arc::new(Mutex::new(None));
            let keep = Arc::clone(&seen);
            let (mut store, instance) = setup.instance(DEEP, (), move |linker| {
                linker.func_wrap("host", "bottom", move |caller: Caller<'_, ()>| {
                    let backtrace = caller.resolve(&caller.capture_backtrace());
                    *keep.lock().unwrap() = Some(backtrace);
                });
            });
            let down = instance.get_func(&mut store, "down").unwrap();
            down.call(&mut store, &[Val::I32(depth - 1)]).unwrap();
            drop(store);
            let backtrace = seen.lock().unwrap().take().unwrap();
            assert_eq!(names(&backtrace), vec!["down"; depth as usize]);
            let frame = backtrace.frames().last().unwrap().clone();
            let offset = frame.bytecode_offset();
            assert!(offset.is_some());
            drop(backtrace);
            assert_eq!(frame.function_name(), Some("down"));
            assert_eq!(frame.bytecode_offset(), offset);
        }
    });
}

#[test]
fn a_limit_keeps_the_innermost_frames() {
    in_every_setup(|setup| {
        on_a_large_stack(move || {
            for trap in [false, true] {
                let error = down(setup, 100_000, 10, trap);
                let raw = error.raw_backtrace().unwrap().clone();
                assert_eq!((raw.len(), raw.end()), (10, WalkEnd::LimitReached));
                let all = down(setup, 100_000, usize::MAX, trap);
                let all = all.wasm_backtrace().frames()[..10].iter();
                let offsets: Vec<_> = all.map(|frame| frame.bytecode_offset()).collect();
                let limited = error.wasm_backtrace().frames().iter();
                assert_eq!(
                    limited
                        .map(|frame| frame.bytecode_offset())
                        .collect::<Vec<_>>(),
                    offsets
                );
                let error = down(setup, 100, 0, trap);
                assert!(error.raw_backtrace().is_none());
            }
        });
    });
}

#[test]
fn a_stack_overflow_is_a_trap_with_all_its_frames() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module (func $f (export "f") (call $f) (call $f)))"#,
            (),
            |_| {},
        );
        store.set_backtrace_limit(usize::MAX);
        for _ in 0..3 {
            let error = call_to_fail(&mut store, instance, "f");
            assert_eq!(error.kind(), Some(TrapKind::StackOverflow));
            let raw = error.raw_backtrace().unwrap().clone();
            assert_eq!(raw.end(), WalkEnd::Complete);
            assert!(raw.len() > 1_000, "{}", raw.len());
            assert_eq!(error.wasm_backtrace().frames().len(), raw.len());
        }
    });
}

#[test]
fn capturing_without_a_trap_is_empty_outside_of_a_guest_and_true_in_a_host_call() {
    in_every_setup(|setup| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "look" (func $look))
                (func $inner (call $look))
                (func $outer (export "outer") (call $inner) (call $look)))"#,
            (),
            move |linker| {
                linker.func_wrap("host", "look", move |caller: Caller<'_, ()>| {
                    let backtrace = caller.resolve(&caller.capture_backtrace());
                    sink.lock().unwrap().push(names(&backtrace));
                });
            },
        );
        assert!(store.capture_backtrace().is_empty());
        let outer = instance.get_func(&mut store, "outer").unwrap();
        outer.call(&mut store, &[]).unwrap();
        assert!(
            store.capture_backtrace().is_empty(),
            "no frames of a guest that returned"
        );
        assert_eq!(
            *seen.lock().unwrap(),
            [vec!["inner", "outer"], vec!["outer"]]
        );
    });
}

#[test]
fn an_error_still_prints_when_store_and_module_are_gone() {
    in_every_setup(|setup| {
        let error = {
            let (mut store, instance) = setup.instance(
                r#"(module $gone (memory 1) (func $load (export "load") (drop (i32.load (i32.const 70000)))))"#,
                (),
                |_| {},
            );
            call_to_fail(&mut store, instance, "load")
        };
        let text = format!("{error:?}");
        assert!(text.contains("out of bounds memory access"), "{text}");
        assert!(text.contains("gone!load"), "{text}");
        let fault = error
            .wasm_fault()
            .map(|fault| (fault.wasm_address, fault.memory_size));
        let expected = setup.hardware_traps.then_some((70_000, 65_536));
        assert_eq!(
            fault, expected,
            "an explicit check does not tell the address"
        );
    });
}

#[test]
fn by_default_a_backtrace_has_what_a_reader_can_live_with() {
    in_every_setup(|setup| {
        for (depth, is_limited) in [
            (DEFAULT_BACKTRACE_LIMIT, false),
            (DEFAULT_BACKTRACE_LIMIT + 1, true),
        ] {
            let wat = DEEP.replace("(call $bottom)", "(unreachable)");
            let (mut store, instance) = setup.instance(&wat, (), |linker| {
                linker.func_wrap("host", "bottom", || {});
            });
            let down = instance.get_func(&mut store, "down").unwrap();
            let deep = [Val::I32(depth as i32 - 1)];
            let error = down.call(&mut store, &deep).unwrap_err();
            let backtrace = error.wasm_backtrace();
            assert_eq!(backtrace.frames().len(), DEFAULT_BACKTRACE_LIMIT);
            assert_eq!(backtrace.is_limited(), is_limited);
            assert_eq!(backtrace.clone().is_limited(), is_limited);
            let says = format!("(limited to the innermost {DEFAULT_BACKTRACE_LIMIT} frames)");
            assert_eq!(format!("{error:?}").ends_with(&says), is_limited);
        }
    });
}
