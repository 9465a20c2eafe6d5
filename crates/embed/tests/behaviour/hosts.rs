//! Errors and panics of host functions.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trapline_activation::for_each_activation;
use trapline_code_registry::TrapKind;
use trapline_embed::{Caller, Engine, InstantiateError, Linker, Store, TrapReasonRef, Val};

use crate::support::{HostError, call_to_fail, in_every_setup, names};

const THROUGH_FRAMES: &str = r#"(module $m
    (import "host" "fail" (func $fail (param i32) (result i32)))
    (func $inner (param i32) (result i32) (i32.add (call $fail (local.get 0)) (i32.const 1)))
    (func $outer (export "outer") (param i32) (result i32)
        (i32.mul (call $inner (local.get 0)) (i32.const 2))))"#;

/// How many activations this thread is in.
fn activations() -> usize {
    let mut count = 0;
    let _ = for_each_activation(|_| {
        count += 1;
        core::ops::ControlFlow::<()>::Continue(())
    });
    count
}

#[test]
fn a_host_error_keeps_its_type_and_payload_through_guest_frames() {
    in_every_setup(|setup| {
        let alive = Arc::new(());
        let owner = Arc::clone(&alive);
        let (mut store, instance) = setup.instance(THROUGH_FRAMES, (), |linker| {
            linker.func_wrap("host", "fail", move |_: Caller<'_, ()>, code: i32| {
                let alive = Arc::clone(&owner);
                Err::<i32, _>(anyhow::Error::new(HostError {
                    code: code as u32,
                    alive,
                }))
            });
        });
        let untyped = instance.get_func(&mut store, "outer").unwrap();
        let typed = untyped.typed::<_, i32, i32>(&store).unwrap();
        for way in ["untyped", "typed"] {
            let error = match way {
                "untyped" => untyped.call(&mut store, &[Val::I32(17)]).unwrap_err(),
                _ => typed.call(&mut store, 17).unwrap_err(),
            };
            let host = error.host_error::<HostError>().expect("the type is kept");
            assert_eq!(host.code, 17);
            assert!(Arc::ptr_eq(&host.alive, &alive));
            assert_eq!(names(error.wasm_backtrace()), ["inner", "outer"]);
            assert!(matches!(error.reason().unwrap(), TrapReasonRef::User(_)));
            assert_eq!(
                Arc::strong_count(&alive),
                3,
                "the test's, the closure's and the error's"
            );
        }
        assert_eq!(Arc::strong_count(&alive), 2, "errors are dropped once");
        drop(store);
        // The linker is gone, too: nothing holds the closure any longer.
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "the closure is dropped with its store"
        );
    });
}

#[test]
fn a_host_panic_keeps_its_payload_typed_and_untyped() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(THROUGH_FRAMES, (), |linker| {
            linker.func_wrap("host", "fail", |code: i32| -> i32 { panic_any(code * 3) });
        });
        let untyped = instance.get_func(&mut store, "outer").unwrap();
        let typed = untyped.typed::<_, i32, i32>(&store).unwrap();
        let payload = catch_unwind(AssertUnwindSafe(|| {
            untyped.call(&mut store, &[Val::I32(5)])
        }))
        .expect_err("the panic goes on");
        assert_eq!(payload.downcast_ref::<i32>(), Some(&15));
        let payload = catch_unwind(AssertUnwindSafe(|| typed.call(&mut store, 6)))
            .expect_err("the panic goes on");
        assert_eq!(payload.downcast_ref::<i32>(), Some(&18));
        assert!(!std::thread::panicking());
        assert_eq!(activations(), 0);
    });
}

#[test]
fn a_host_panic_in_a_start_function_keeps_its_payload() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(
            &engine,
            r#"(module (import "host" "panic" (func $panic)) (func $start (call $panic)) (start $start))"#,
        );
        let mut store = setup.store(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "panic", || -> () {
            panic_any(String::from("payload"))
        });
        let payload = catch_unwind(AssertUnwindSafe(|| linker.instantiate(&mut store, &module)))
            .expect_err("the panic goes on");
        assert_eq!(
            payload.downcast_ref::<String>().map(String::as_str),
            Some("payload")
        );
        assert_eq!(activations(), 0);
    });
}

#[test]
fn an_error_in_a_start_function_is_the_error_of_the_instantiation() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(
            &engine,
            "(module (func $start (unreachable)) (start $start))",
        );
        let mut store = setup.store(&engine, ());
        match Linker::new(&engine).instantiate(&mut store, &module) {
            Err(InstantiateError::Trap(error)) => {
                assert_eq!(error.kind(), Some(TrapKind::UnreachableCodeReached));
                assert_eq!(names(error.wasm_backtrace())[0], "start");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_host_that_catches_a_panic_of_a_nested_guest_can_trap_afterwards() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (import "host" "panic" (func $panic))
                (import "host" "nest" (func $nest))
                (func $inner (export "inner") (call $panic))
                (func $outer (export "outer") (call $nest)))"#,
            (),
            |linker| {
                linker.func_wrap("host", "panic", || -> () { panic_any(7_u8) });
                linker.func_wrap("host", "nest", |mut caller: Caller<'_, ()>| {
                    let inner = caller.get_export("inner").unwrap().into_func().unwrap();
                    let payload = catch_unwind(AssertUnwindSafe(|| inner.call(&mut caller, &[])))
                        .expect_err("the nested guest panics");
                    assert_eq!(payload.downcast_ref::<u8>(), Some(&7));
                    Err::<(), _>(anyhow::anyhow!("after the panic"))
                });
            },
        );
        for _ in 0..3 {
            let error = call_to_fail(&mut store, instance, "outer");
            let TrapReasonRef::User(user) = error.reason().unwrap() else {
                panic!("{error:?}")
            };
            assert_eq!(user.to_string(), "after the panic");
            assert_eq!(names(error.wasm_backtrace()), ["outer"]);
            assert!(!std::thread::panicking());
            assert_eq!(activations(), 0);
        }
    });
}

#[test]
fn what_a_closure_has_captured_is_dropped_once_on_every_path() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    in_every_setup(|setup| {
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(Arc::clone(&drops));
        let locals = Arc::new(AtomicUsize::new(0));
        let local_drops = Arc::clone(&locals);
        let (mut store, instance) = setup.instance(THROUGH_FRAMES, (), |linker| {
            linker.func_wrap("host", "fail", move |_: Caller<'_, ()>, code: i32| {
                // A local of the host function, alive when it fails.
                let _local = Counted(Arc::clone(&local_drops));
                assert_eq!(counted.0.load(Ordering::Relaxed), 0);
                match code {
                    0 => Ok(1),
                    1 => Err(anyhow::anyhow!("an error")),
                    _ => panic_any(0_u8),
                }
            });
        });
        let outer = instance.get_func(&mut store, "outer").unwrap();
        assert!(outer.call(&mut store, &[Val::I32(0)]).is_ok());
        assert_eq!(locals.load(Ordering::Relaxed), 1);
        assert!(outer.call(&mut store, &[Val::I32(1)]).is_err());
        assert_eq!(locals.load(Ordering::Relaxed), 2);
        assert!(catch_unwind(AssertUnwindSafe(|| outer.call(&mut store, &[Val::I32(2)]))).is_err());
        assert_eq!(locals.load(Ordering::Relaxed), 3);
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(store);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn tail_calls_to_a_failing_import_leave_no_bogus_frame() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(
            r#"(module
                (type $t (func))
                (import "host" "fail" (func $fail (type $t)))
                (table funcref (elem $fail))
                (elem declare func $fail)
                (func $direct (export "direct") (return_call $fail))
                (func $indirect (export "indirect") (return_call_indirect (type $t) (i32.const 0)))
                (func $by_ref (export "by_ref") (return_call_ref $t (ref.func $fail)))
                (func $around (export "around") (call $direct)))"#,
            (),
            |linker| {
                linker.func_wrap("host", "fail", || Err::<(), _>(anyhow::anyhow!("refused")));
            },
        );
        for export in ["direct", "indirect", "by_ref"] {
            let error = call_to_fail(&mut store, instance, export);
            assert!(
                names(error.wasm_backtrace()).is_empty(),
                "{export}: {error:?}"
            );
        }
        // The tail caller's frame is gone; its caller's is not.
        let error = call_to_fail(&mut store, instance, "around");
        assert_eq!(names(error.wasm_backtrace()), ["around"]);
    });
}

#[test]
fn fifteen_arguments_arrive_also_where_they_lie_on_the_stack() {
    in_every_setup(|setup| {
        let params = "i64 ".repeat(15);
        let gets: String = (0..15).map(|i| format!("(local.get {i})")).collect();
        let wat = format!(
            r#"(module
                (import "host" "sum" (func $sum (param {params}) (result i64)))
                (import "host" "fail" (func $fail (param {params})))
                (func $pass (export "pass") (param {params}) (result i64) (call $sum {gets}))
                (func $fail15 (export "fail") (param {params}) (call $fail {gets}))
                (func $tail (export "tail") (param {params}) (return_call $fail {gets})))"#
        );
        let (mut store, instance) = setup.instance(&wat, (), |linker| {
            let ty = |results: &[trapline_embed::ValType]| {
                trapline_embed::FuncType::new(
                    [trapline_embed::ValType::I64; 15],
                    results.iter().copied(),
                )
            };
            linker
                .func_new(
                    "host",
                    "sum",
                    ty(&[trapline_embed::ValType::I64]),
                    |_, args, results| {
                        let weighted = args.iter().enumerate().map(|(i, arg)| match arg {
                            Val::I64(arg) => *arg * (i as i64 + 1),
                            other => panic!("{other:?}"),
                        });
                        results[0] = Val::I64(weighted.sum());
                        Ok(())
                    },
                )
                .unwrap();
            linker
                .func_new("host", "fail", ty(&[]), |_, args, _| {
                    assert_eq!(args[14], Val::I64(14));
                    anyhow::bail!("with fifteen arguments")
                })
                .unwrap();
        });
        let args: Vec<Val> = (0..15).map(Val::I64).collect();
        let expected = (0..15).map(|i| i * (i + 1)).sum();
        let pass = instance.get_func(&mut store, "pass").unwrap();
        let fail = instance.get_func(&mut store, "fail").unwrap();
        let tail = instance.get_func(&mut store, "tail").unwrap();
        for _ in 0..2 {
            assert_eq!(pass.call(&mut store, &args).unwrap(), [Val::I64(expected)]);
            let error = fail.call(&mut store, &args).unwrap_err();
            assert_eq!(names(error.wasm_backtrace()), ["fail15"]);
            let error = tail.call(&mut store, &args).unwrap_err();
            assert!(names(error.wasm_backtrace()).is_empty());
        }
    });
}

#[test]
fn a_re_exported_host_function_called_directly_after_a_start_function_walks_no_old_frames() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(
            &engine,
            r#"(module
                (import "host" "maybe" (func $maybe (param i32)))
                (export "maybe" (func $maybe))
                (func $start (call $maybe (i32.const 0)))
                (start $start))"#,
        );
        let mut store: Store<()> = setup.store(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "maybe", |fail: i32| {
            if fail == 0 {
                Ok(())
            } else {
                Err(anyhow::anyhow!("asked to"))
            }
        });
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let maybe = instance.get_func(&mut store, "maybe").unwrap();
        assert!(maybe.call(&mut store, &[Val::I32(0)]).is_ok());
        let error = maybe.call(&mut store, &[Val::I32(1)]).unwrap_err();
        assert!(names(error.wasm_backtrace()).is_empty(), "{error:?}");
    });
}
