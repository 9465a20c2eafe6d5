//! Hosts and guests that call each other, in one store and in several.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use trapline_code_registry::TrapKind;
use trapline_embed::{
    Caller, Engine, Error, Func, FuncType, Instance, InstantiateError, Linker, Module, Store,
    StoreContext, TypedFunc, UsageError, Val, ValType,
};

use crate::support::{Setup, call_to_fail, fail, in_every_setup, names};

#[test]
fn guests_that_call_each_other_through_the_host_are_listed_once_innermost_first() {
    in_every_setup(|setup| {
        // a → host → b → host → c, which traps.
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "call" (func $call (param i32)))
                (func $a1 (export "a") (call $a2))
                (func $a2 (call $call (i32.const 1)))
                (func $b1 (export "b") (call $b2))
                (func $b2 (call $call (i32.const 2)))
                (func $c1 (export "c") (call $c2))
                (func $c2 (unreachable)))"#,
            (),
            |linker| {
                linker.func_wrap("host", "call", |mut caller: Caller<'_, ()>, which: i32| {
                    let name = if which == 1 { "b" } else { "c" };
                    let next = caller.get_export(name).unwrap().into_func().unwrap();
                    next.call(&mut caller, &[])?;
                    anyhow::Ok(())
                });
            },
        );
        for _ in 0..3 {
            let error = call_to_fail(&mut store, instance, "a");
            assert_eq!(
                names(error.wasm_backtrace()),
                ["c2", "c1", "b2", "b1", "a2", "a1"]
            );
        }
    });
}

/// The state of a level in a tower of stores of one module.
struct Level {
    depth: u32,
    module: Module,
    linker: Linker<Level>,
    setup: Setup,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

const TOWER: &str = r#"(module
    (import "host" "next" (func $next))
    (func $first (export "run") (call $second))
    (func $second (call $next)))"#;

#[test]
fn in_three_nested_stores_of_one_module_each_backtrace_has_only_its_own_frames() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(&engine, TOWER);
        let mut linker = Linker::<Level>::new(&engine);
        linker.func_wrap(
            "host",
            "next",
            |caller: Caller<'_, Level>| -> anyhow::Result<()> {
                let Level {
                    depth,
                    ref module,
                    ref linker,
                    setup,
                    ref seen,
                } = *caller.data();
                let here = caller.resolve(&caller.capture_backtrace());
                seen.lock().unwrap().push(names(&here));
                if depth == 3 {
                    anyhow::bail!("at the top of the tower");
                }
                let mut store = setup.store(
                    caller.engine(),
                    Level {
                        depth: depth + 1,
                        module: module.clone(),
                        linker: linker.clone(),
                        setup,
                        seen: Arc::clone(seen),
                    },
                );
                let instance = linker.clone().instantiate(&mut store, &module.clone())?;
                let error = call_to_fail(&mut store, instance, "run");
                seen.lock().unwrap().push(names(error.wasm_backtrace()));
                // An error of this level's own, so that it is captured anew.
                anyhow::bail!("the level above failed")
            },
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut store = setup.store(
            &engine,
            Level {
                depth: 1,
                module: module.clone(),
                linker: linker.clone(),
                setup,
                seen: Arc::clone(&seen),
            },
        );
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let error = call_to_fail(&mut store, instance, "run");
        assert_eq!(names(error.wasm_backtrace()), ["second", "first"]);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3 + 2);
        for backtrace in &*seen {
            assert_eq!(backtrace, &["second", "first"]);
        }
    });
}

/// The data of the stores below: how the one in the middle gets back to the
/// outer one, whose context waits further out on the stack.
struct Outer(*mut StoreContext<()>);

// SAFETY: used on the thread that it was made on only.
unsafe impl Send for Outer {}

#[test]
fn a_store_entered_again_behind_another_has_both_its_runs_and_nothing_of_the_other() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module_a = setup.module(
            &engine,
            r#"(module
                (import "host" "to_b" (func $to_b))
                (func $a_out (export "out") (call $to_b))
                (func $a_in (export "in") (call $a_deep))
                (func $a_deep (unreachable)))"#,
        );
        let module_b = setup.module(
            &engine,
            r#"(module
                (import "host" "to_a" (func $to_a))
                (func $b (export "b") (call $to_a)))"#,
        );
        let mut linker_b = Linker::<Outer>::new(&engine);
        linker_b.func_wrap(
            "host",
            "to_a",
            |caller: Caller<'_, Outer>| -> anyhow::Result<()> {
                // SAFETY: the context of a host function of A that waits for this
                // call to return and uses it no more until then.
                let a = unsafe { &mut *caller.data().0 };
                let inside = a.data_in();
                let error = fail(a, inside);
                assert_eq!(error.kind(), Some(TrapKind::UnreachableCodeReached));
                assert_eq!(names(error.wasm_backtrace()), ["a_deep", "a_in", "a_out"]);
                anyhow::bail!("b has seen it")
            },
        );
        let mut linker_a = Linker::<()>::new(&engine);
        let b = module_b.clone();
        linker_a.func_wrap(
            "host",
            "to_b",
            move |mut caller: Caller<'_, ()>| -> anyhow::Result<()> {
                let inside = caller.get_export("in").unwrap().into_func().unwrap();
                INSIDE.set(Some(inside));
                let engine = caller.engine().clone();
                let context: *mut StoreContext<()> = &mut *caller;
                let mut store = setup.store(&engine, Outer(context));
                let instance = linker_b.instantiate(&mut store, &b)?;
                let error = call_to_fail(&mut store, instance, "b");
                assert_eq!(names(error.wasm_backtrace()), ["b"]);
                drop(store);
                assert_eq!(
                    names(&caller.resolve(&caller.capture_backtrace())),
                    ["a_out"]
                );
                anyhow::bail!("a has seen it")
            },
        );
        let mut store = setup.store(&engine, ());
        let instance = linker_a.instantiate(&mut store, &module_a).unwrap();
        for _ in 0..2 {
            let error = call_to_fail(&mut store, instance, "out");
            assert_eq!(names(error.wasm_backtrace()), ["a_out"]);
        }
    });
}

thread_local! {
    static INSIDE: std::cell::Cell<Option<Func>> = const { std::cell::Cell::new(None) };
}

trait DataIn {
    fn data_in(&self) -> Func;
}

impl DataIn for StoreContext<()> {
    fn data_in(&self) -> Func {
        INSIDE.get().expect("set by the host function of A")
    }
}

#[test]
fn a_trap_in_a_store_nested_in_anothers_host_call_leaves_the_outer_one_working() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let trapping = setup.module(
            &engine,
            r#"(module (memory 1) (func $t (export "t") (drop (i32.load (i32.const 65536)))))"#,
        );
        let linker = Linker::<()>::new(&engine);
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "nested" (func $nested (result i32)))
                (memory 1)
                (func (export "run") (result i32)
                    (local $sum i32) (local $i i32)
                    (loop $again
                        (local.set $sum (i32.add (local.get $sum) (call $nested)))
                        (i32.store (i32.const 0) (local.get $sum))
                        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))
                    (i32.load (i32.const 0)))
                (func $trap (export "trap") (drop (call $nested)) (unreachable)))"#,
            (),
            |outer| {
                outer.func_wrap("host", "nested", move || {
                    let mut store = setup.store(&engine, ());
                    let instance = linker.instantiate(&mut store, &trapping)?;
                    let error = call_to_fail(&mut store, instance, "t");
                    assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
                    assert_eq!(names(error.wasm_backtrace()), ["t"]);
                    anyhow::Ok(3)
                });
            },
        );
        let run = instance.get_func(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, &[]).unwrap(), [Val::I32(30)]);
        let error = call_to_fail(&mut store, instance, "trap");
        assert_eq!(names(error.wasm_backtrace()), ["trap"]);
        assert_eq!(run.call(&mut store, &[]).unwrap(), [Val::I32(30)]);
    });
}

#[test]
fn an_error_passed_through_many_layers_keeps_the_first_backtrace() {
    in_every_setup(|setup| {
        const DEPTH: i32 = 30;
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "down" (func $down (param i32)))
                (func $level (export "level") (param i32)
                    (if (i32.eqz (local.get 0)) (then (unreachable)))
                    (call $down (i32.sub (local.get 0) (i32.const 1)))))"#,
            (),
            |linker| {
                linker.func_wrap("host", "down", |mut caller: Caller<'_, ()>, depth: i32| {
                    let level = caller.get_export("level").unwrap().into_func().unwrap();
                    level.call(&mut caller, &[Val::I32(depth)])?;
                    anyhow::Ok(())
                });
            },
        );
        let level = instance.get_func(&mut store, "level").unwrap();
        let error = level.call(&mut store, &[Val::I32(DEPTH)]).unwrap_err();
        let frames = error.wasm_backtrace().frames();
        assert_eq!(frames.len(), DEPTH as usize + 1, "each level once");
        assert!(
            frames
                .iter()
                .all(|frame| frame.function_name() == Some("level"))
        );
        assert!(format!("{error:?}").contains("unreachable"));
    });
}

/// A guest that calls itself by way of the host, whose function is `down`, and fails at the
/// bottom: by a trap of its own, or by a host function.
const LADDER: &str = r#"(module
    (import "host" "down" (func $down (param i32 i32)))
    (import "host" "fail" (func $fail))
    (memory 1)
    (func $level (export "level") (param $levels i32) (param $how i32)
        (if (i32.eqz (local.get $levels)) (then
            (if (i32.eqz (local.get $how)) (then (drop (i32.load (i32.const 65536)))))
            (call $fail)))
        (call $down (i32.sub (local.get $levels) (i32.const 1)) (local.get $how))))"#;

#[derive(Debug)]
struct Bottom;

impl std::fmt::Display for Bottom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bottom")
    }
}

impl std::error::Error for Bottom {}

/// The guest of [`LADDER`], and its function. What `hold` makes for a level lives in the host
/// function for as long as the guest within.
fn ladder<H>(
    setup: Setup,
    hold: impl Fn(i32) -> H + Send + Sync + 'static,
) -> (Store<()>, TypedFunc<(i32, i32), ()>) {
    let (mut store, instance) = setup.instance(LADDER, (), |linker| {
        linker.func_wrap(
            "host",
            "down",
            move |mut caller: Caller<'_, ()>, levels: i32, how: i32| -> Result<(), Error> {
                let _held = hold(levels);
                let level = caller.get_export("level").unwrap().into_func().unwrap();
                let level = level.typed::<_, (i32, i32), ()>(&caller)?;
                level.call(&mut caller, (levels, how))
            },
        );
        linker.func_wrap("host", "fail", || -> anyhow::Result<()> {
            Err(Bottom.into())
        });
    });
    let level = instance.get_typed_func(&mut store, "level").unwrap();
    (store, level)
}

#[test]
fn an_error_of_a_nested_guest_returned_as_it_is_comes_out_as_it_was() {
    in_every_setup(|setup| {
        let (mut store, level) = ladder(setup, |_| ());
        for limit in [0, 3, usize::MAX] {
            store.set_backtrace_limit(limit);
            for levels in [0, 1, 7] {
                let frames = limit.min(levels as usize + 1);
                let error = level.call(&mut store, (levels, 0)).unwrap_err();
                assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
                let fault = error.wasm_fault().map(|fault| fault.wasm_address);
                assert_eq!(fault, setup.hardware_traps.then_some(65536));
                assert_eq!(names(error.wasm_backtrace()), vec!["level"; frames]);
                let error = level.call(&mut store, (levels, 1)).unwrap_err();
                assert!(error.host_error::<Bottom>().is_some());
                assert_eq!(names(error.wasm_backtrace()), vec!["level"; frames]);
                let host_error = error.into_host_error().unwrap();
                assert!(host_error.is::<Bottom>(), "not wrapped: {host_error:?}");
            }
        }
    });
}

#[test]
fn a_mistake_of_a_host_function_is_the_trap_of_the_guest_that_called_it() {
    type Callback = fn(&mut Caller<'_, ()>, Option<Func>) -> Result<(), Error>;
    // As they are, and by way of `anyhow`.
    let untyped: Callback = |caller, callee| callee.unwrap().call(caller, &[]).map(drop);
    let typed: Callback = |caller, callee| {
        let callee = callee.unwrap().typed::<_, (), ()>(caller)?;
        callee.call(caller, ())
    };
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "untyped" (func $untyped (param funcref)))
                (import "host" "typed" (func $typed (param funcref)))
                (import "host" "anyhow" (func $anyhow (param funcref)))
                (import "host" "foreign" (func $foreign (result funcref)))
                (import "host" "short" (func $short (result i32)))
                (elem declare func $res $par)
                (func $res (result i32) (i32.const 5))
                (func $par (param i32))
                (func (export "untyped-par") (call $untyped (ref.func $par)))
                (func (export "typed-par") (call $typed (ref.func $par)))
                (func (export "typed-res") (call $typed (ref.func $res)))
                (func (export "anyhow-par") (call $anyhow (ref.func $par)))
                (func (export "foreign") (drop (call $foreign)))
                (func (export "wrong-result") (drop (call $short))))"#,
            (),
            |linker| {
                let wrap = |callback: Callback| {
                    move |mut caller: Caller<'_, ()>, callee: Option<Func>| {
                        callback(&mut caller, callee)
                    }
                };
                linker.func_wrap("host", "untyped", wrap(untyped));
                linker.func_wrap("host", "typed", wrap(typed));
                linker.func_wrap(
                    "host",
                    "anyhow",
                    move |mut caller: Caller<'_, ()>, callee: Option<Func>| {
                        untyped(&mut caller, callee)?;
                        anyhow::Ok(())
                    },
                );
                linker.func_wrap("host", "foreign", || {
                    let mut elsewhere = Store::new(&Engine::new(), ());
                    Some(Func::wrap(&mut elsewhere, || {}))
                });
                linker
                    .func_new(
                        "host",
                        "short",
                        FuncType::new([], [ValType::I32]),
                        |_, _, results| {
                            results[0] = Val::I64(0);
                            Ok(())
                        },
                    )
                    .unwrap();
            },
        );
        for (name, expected) in [
            ("untyped-par", "number of arguments: expected 1, found 0"),
            ("typed-par", "expected a function of type (func)"),
            ("typed-res", "expected a function of type (func)"),
            ("anyhow-par", "number of arguments: expected 1, found 0"),
            ("foreign", "the function belongs to another store"),
            ("wrong-result", "expected a value of type i32"),
        ] {
            let error = call_to_fail(&mut store, instance, name);
            assert!(error.is_trap() && error.usage().is_none(), "{name}");
            assert_eq!(error.to_string(), "error raised by a host function");
            let mistake = error.host_error::<UsageError>().expect(name).to_string();
            assert!(mistake.starts_with(expected), "{name}: {mistake}");
            assert_eq!(error.wasm_backtrace().frames().len(), 1, "{name}");
            assert!(format!("{error:?}").contains(expected), "{error:?}");
        }
    });
}

#[test]
fn a_mistake_deep_down_has_the_backtrace_of_where_it_was_made() {
    in_every_setup(|setup| {
        // The host calls a guest that calls the host, which makes a mistake; both pass it on.
        let (mut store, level) = ladder(setup, |_| ());
        let wrong = Func::wrap(&mut store, |mut caller: Caller<'_, ()>, func: Func| {
            func.call(&mut caller, &[]).map(drop)
        });
        let error = wrong.call(&mut store, &[wrong.into()]).unwrap_err();
        // The host called its own function as if it was a guest: there are no frames.
        assert!(error.is_trap() && error.host_error::<UsageError>().is_some());
        assert!(error.wasm_backtrace().frames().is_empty());
        level.call(&mut store, (3, 1)).unwrap_err();
    });
}

#[test]
fn a_nested_instantiation_that_traps_keeps_the_first_backtrace() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(
            &engine,
            "(module (func $start (unreachable)) (start $start))",
        );
        let outer = setup.module(
            &engine,
            r#"(module (import "host" "f" (func $f)) (func $outer (export "run") (call $f)))"#,
        );
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "f", move |mut caller: Caller<'_, ()>| {
            Instance::new(&mut caller, &module, &[])?;
            anyhow::Ok(())
        });
        let mut store = setup.store(&engine, ());
        let instance = linker.instantiate(&mut store, &outer).unwrap();
        let error = call_to_fail(&mut store, instance, "run");
        assert!(error.host_error::<InstantiateError>().is_some());
        assert_eq!(names(error.wasm_backtrace()), ["start", "outer"]);
    });
}

#[test]
fn an_error_that_a_panic_goes_past_leaves_nothing_for_the_next_one() {
    /// Panics when it is dropped, once: the host function has made its error then.
    struct Bomb<'a>(&'a AtomicBool);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            if self.0.swap(false, Ordering::Relaxed) {
                panic!("on the way out");
            }
        }
    }
    in_every_setup(|setup| {
        let armed: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let (mut store, level) = ladder(setup, move |levels| (levels == 2).then_some(Bomb(armed)));
        for _ in 0..3 {
            armed.store(true, Ordering::Relaxed);
            let payload = catch_unwind(AssertUnwindSafe(|| level.call(&mut store, (5, 0))))
                .expect_err("the panic goes on");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"on the way out"));
            let error = level.call(&mut store, (5, 1)).unwrap_err();
            assert!(error.host_error::<Bottom>().is_some(), "{error:?}");
            assert_eq!(names(error.wasm_backtrace()), ["level"; 6]);
        }
    });
}

#[test]
fn recursion_of_host_and_guest_is_bounded_by_the_first_limit() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "again" (func $again))
                (func $recurse (export "recurse") (call $again)))"#,
            0_u32,
            |linker| {
                linker.func_wrap("host", "again", |mut caller: Caller<'_, u32>| {
                    *caller.data_mut() += 1;
                    let recurse = caller.get_export("recurse").unwrap().into_func().unwrap();
                    recurse.call(&mut caller, &[])?;
                    anyhow::Ok(())
                });
            },
        );
        let store: &mut Store<u32> = &mut store;
        store.set_max_wasm_stack(256 * 1024);
        let error = call_to_fail(store, instance, "recurse");
        let depth = *store.data();
        assert!(depth > 10 && depth < 100_000, "{depth}");
        assert!(
            format!("{error:?}").contains("call stack exhausted"),
            "{error:?}"
        );
        // As deep again, not deeper: the limit starts anew with the next first
        // entry.
        *store.data_mut() = 0;
        call_to_fail(store, instance, "recurse");
        assert!(
            store.data().abs_diff(depth) <= 2,
            "{depth}, then {}",
            store.data()
        );
    });
}

#[test]
fn host_functions_that_the_host_calls_itself_do_not_start_the_limit_anew() {
    #[derive(Default)]
    struct Recursion {
        recurse: Option<Func>,
        depth: u32,
    }

    in_every_setup(|setup| {
        // A guest calls the host, which calls another of its functions as if it were a
        // guest, which calls the guest.
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "apply" (func $apply))
                (import "host" "callback" (func $callback))
                (export "callback" (func $callback))
                (func (export "recurse") (call $apply)))"#,
            Recursion::default(),
            |linker| {
                linker.func_wrap("host", "apply", |mut caller: Caller<'_, Recursion>| {
                    let callback = caller.get_export("callback").unwrap();
                    callback.into_func().unwrap().call(&mut caller, &[])?;
                    anyhow::Ok(())
                });
                linker.func_wrap("host", "callback", |mut caller: Caller<'_, Recursion>| {
                    let recurse = caller.data().recurse.unwrap();
                    caller.data_mut().depth += 1;
                    // Far more than the limit allows: the test ends instead of the thread.
                    anyhow::ensure!(caller.data().depth < 100_000, "no end");
                    recurse.call(&mut caller, &[])?;
                    anyhow::Ok(())
                });
            },
        );
        store.data_mut().recurse = instance.get_func(&mut store, "recurse");
        store.set_max_wasm_stack(256 * 1024);
        let error = call_to_fail(&mut store, instance, "recurse");
        assert!(
            format!("{error:?}").contains("call stack exhausted"),
            "{error:?}"
        );
    });
}

#[test]
fn a_context_that_the_host_adds_to_a_guests_error_is_kept() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "call" (func $call))
                (func $outer (export "a") (call $call))
                (func $inner (export "b") (unreachable)))"#,
            (),
            |linker| {
                linker.func_wrap("host", "call", |mut caller: Caller<'_, ()>| {
                    let next = caller.get_export("b").unwrap().into_func().unwrap();
                    next.call(&mut caller, &[])
                        .map_err(|error| anyhow::Error::new(error).context("loading a plugin"))?;
                    anyhow::Ok(())
                });
            },
        );
        let error = call_to_fail(&mut store, instance, "a");
        assert!(
            format!("{error:?}").contains("loading a plugin"),
            "{error:?}"
        );
        // Caused by the trap, whose frames it has.
        assert_eq!(names(error.wasm_backtrace()), ["inner", "outer"]);
        assert_eq!(error.kind(), None);
    });
}
