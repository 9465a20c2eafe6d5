//! What goes when: closures, data, instances, code; and how deep a guest gets.

mod common;

use common::MODES;
use std::sync::Arc;
use trapline_code_registry::{TrapKind, lookup_code};
use trapline_embed::{Caller, Func, Linker, Store, TypedFunc, Val};

const WAT: &str = r#"(module
    (import "h" "f" (func $f (param i32)))
    (memory 2)
    (table 100 funcref)
    (elem $e func $f)
    (func (export "run") (param i32) (call $f (local.get 0))))"#;

#[test]
fn closures_and_data_are_dropped_once_on_every_path() {
    for mode in MODES {
        let count = Arc::new(());
        let owners = || Arc::strong_count(&count);
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let mut linker = Linker::new(&engine);
        let captured = Arc::clone(&count);
        linker.func_wrap("h", "f", move |_: Caller<'_, Arc<()>>, way: i32| {
            let held = Arc::clone(&captured);
            match way {
                0 => Ok(()),
                1 => Err(anyhow::Error::msg("failed").context(Owner(held))),
                _ => std::panic::resume_unwind(Box::new(held)),
            }
        });
        assert_eq!(owners(), 2);
        let mut store = mode.store(&engine, Arc::clone(&count));
        let captured = Arc::clone(&count);
        let _own = Func::wrap(&mut store, move || drop(Arc::clone(&captured)));
        let instance = linker.instantiate(&mut store, &module).unwrap();
        assert_eq!(owners(), 4);
        let run = instance
            .get_typed_func::<i32, (), _>(&mut store, "run")
            .unwrap();
        for _ in 0..3 {
            run.call(&mut store, 0).unwrap();
            let error = run.call(&mut store, 1).unwrap_err();
            assert_eq!(owners(), 5);
            drop(error);
            let panic = std::panic::AssertUnwindSafe(|| run.call(&mut store, 2));
            let payload = std::panic::catch_unwind(panic).unwrap_err();
            assert_eq!(owners(), 5);
            assert!(payload.is::<Arc<()>>());
            drop(payload);
            assert_eq!(owners(), 4);
        }
        drop(store);
        assert_eq!(owners(), 2);
        drop(linker);
        assert_eq!(owners(), 1);
    }
}

#[derive(Debug)]
struct Owner(#[expect(dead_code, reason = "held, not read")] Arc<()>);

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an error that owns something")
    }
}

#[test]
fn code_stays_as_long_as_somebody_may_run_or_print_it() {
    let wat = r#"(module $named (func $f (export "run") unreachable))"#;
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, wat);
        let address = module.text().unwrap().start;
        let known = || lookup_code(address).is_some();
        let mut store = mode.store(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        drop(module);
        assert!(known(), "the store runs it");
        let run = instance.get_func(&mut store, "run").unwrap();
        let error = run.call(&mut store, &[]).unwrap_err();
        drop(store);
        assert!(known(), "the error's backtrace is not resolved yet");
        let backtrace = error.wasm_backtrace();
        assert_eq!(backtrace.frames()[0].module_name(), Some("named"));
        assert_eq!(backtrace.frames()[0].function_name(), Some("f"));
        drop(error);
        assert!(!known(), "{mode:?}: nobody can run it any more");
    }
}

#[test]
fn a_thousand_instances_in_a_store_and_a_thousand_stores_after_each_other() {
    let mode = MODES[0];
    let engine = mode.engine();
    let module = mode.module(&engine, WAT);
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("h", "f", |_: i32| {});
    let mut store = mode.store(&engine, ());
    for _ in 0..1000 {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        run.call(&mut store, &[Val::I32(0)]).unwrap();
    }
    drop(store);
    // Address space for 4 GiB memories would run out if it were not given back.
    for _ in 0..100 {
        let mut stores: Vec<Store<()>> = (0..10).map(|_| mode.store(&engine, ())).collect();
        for store in &mut stores {
            linker.instantiate(store, &module).unwrap();
        }
    }
}

const RECURSION: &str = r#"(module
    (import "h" "again" (func $again (param i32) (result i32)))
    (func $down (export "down") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))))
    (func (export "through_host") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $again (i32.sub (local.get 0) (i32.const 1))))))))"#;

#[test]
fn the_limit_of_the_stack_is_the_stores() {
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(RECURSION, (), |linker| {
            linker.func_wrap("h", "again", |x: i32| x);
        });
        let down: TypedFunc<i32, i32> = instance.get_typed_func(&mut store, "down").unwrap();
        let mut deepest = |bytes| {
            store.set_max_wasm_stack(bytes);
            let reaches = |depth| match down.call(&mut store, depth) {
                Ok(result) => {
                    assert_eq!(result, depth);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), Some(TrapKind::StackOverflow));
                    false
                }
            };
            let depths: Vec<i32> = (0..20).map(|log2| 1 << log2).collect();
            depths
                .into_iter()
                .map(reaches)
                .collect::<Vec<_>>()
                .iter()
                .filter(|ok| **ok)
                .count()
        };
        let small = deepest(64 << 10);
        let large = deepest(1 << 20);
        assert!((8..14).contains(&small), "{mode:?}: 2^{small}");
        assert_eq!(
            large,
            small + 4,
            "sixteen times the stack, sixteen times the depth"
        );
    }
}

#[test]
fn a_recursion_of_guest_and_host_ends_at_the_first_limit() {
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(RECURSION, None, |linker| {
            linker.func_wrap(
                "h",
                "again",
                |mut caller: Caller<'_, Option<TypedFunc<i32, i32>>>, depth: i32| {
                    let func = caller.data().expect("set before the first call");
                    Ok::<_, anyhow::Error>(func.call(&mut caller, depth)?)
                },
            );
        });
        let func = instance
            .get_typed_func::<i32, i32, _>(&mut store, "through_host")
            .unwrap();
        *store.data_mut() = Some(func);
        assert_eq!(func.call(&mut store, 20).unwrap(), 20);
        store.set_max_wasm_stack(256 << 10);
        for _ in 0..3 {
            let error = func.call(&mut store, i32::MAX).unwrap_err();
            assert_eq!(
                error.kind(),
                Some(TrapKind::StackOverflow),
                "{mode:?}: {error:?}"
            );
            let frames = error.wasm_backtrace().frames().len();
            assert!(frames > 20 && frames < 10_000, "{frames}");
        }
        assert_eq!(func.call(&mut store, 20).unwrap(), 20);
    }
}

#[test]
fn a_thread_with_a_large_stack_can_have_a_large_limit() {
    const STACK: usize = 64 << 20;
    for mode in MODES {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                let (mut store, instance) = mode.instance_with(RECURSION, (), |linker| {
                    linker.func_wrap("h", "again", |x: i32| x);
                });
                store.set_max_wasm_stack(STACK - (1 << 20));
                let down = instance
                    .get_typed_func::<i32, i32, _>(&mut store, "down")
                    .unwrap();
                assert_eq!(down.call(&mut store, 500_000).unwrap(), 500_000);
                let error = down.call(&mut store, i32::MAX).unwrap_err();
                assert_eq!(error.kind(), Some(TrapKind::StackOverflow));
            });
        thread.unwrap().join().unwrap();
    }
}
