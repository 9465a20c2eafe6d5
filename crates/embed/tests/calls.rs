//! Calls in both directions: values of every type, typed and untyped, and the
//! mistakes that a host can make.

mod common;

use common::MODES;
use trapline_code_registry::TrapKind;
use trapline_embed::{
    Caller, Engine, ExternRef, ExternType, Func, FuncType, HeapType, Linker, RefType, Store,
    TrapReasonRef, UsageError, Val, ValType,
};

#[test]
fn numbers_go_through_typed_and_untyped_calls() {
    let wat = r#"(module
        (func (export "i") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
        (func (export "f") (param f32 f64) (result f64 f32) (local.get 1) (local.get 0))
        (func (export "nothing")))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let i = instance.get_func(&mut store, "i").unwrap();
        let typed = i.typed::<_, (i32, i64), (i64, i32)>(&store).unwrap();
        assert_eq!(
            typed.call(&mut store, (-7, i64::MIN)).unwrap(),
            (i64::MIN, -7)
        );
        let unsigned = i.typed::<_, (u32, u64), (u64, u32)>(&store).unwrap();
        assert_eq!(
            unsigned.call(&mut store, (7, u64::MAX)).unwrap(),
            (u64::MAX, 7)
        );
        let results = i.call(&mut store, &[Val::I32(-1), Val::I64(2)]).unwrap();
        assert_eq!(results, [Val::I64(2), Val::I32(-1)]);

        let f = instance.get_func(&mut store, "f").unwrap();
        let typed = f.typed::<_, (f32, f64), (f64, f32)>(&store).unwrap();
        assert_eq!(typed.call(&mut store, (0.5, -0.25)).unwrap(), (-0.25, 0.5));
        // A signalling NaN keeps its bits.
        let nans = [Val::F32(0x7fa0_0001), Val::F64(0xfff4_0000_0000_0003)];
        let results = f.call(&mut store, &nans).unwrap();
        assert_eq!(results, [nans[1], nans[0]]);

        let nothing = instance
            .get_typed_func::<(), (), _>(&mut store, "nothing")
            .unwrap();
        nothing.call(&mut store, ()).unwrap();
    }
}

#[test]
fn vectors_keep_their_lanes_in_both_directions() {
    let wat = r#"(module
        (import "host" "swap" (func $swap (param v128 v128) (result v128 v128)))
        (func (export "run") (param v128) (result v128 v128)
            (call $swap (local.get 0) (v128.const i32x4 1 2 3 4))))"#;
    const PARAM: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    const LANES: u128 = 0x0000_0004_0000_0003_0000_0002_0000_0001;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, (), |linker| {
            linker.func_wrap("host", "swap", |a: u128, b: u128| (b, a));
        });
        let run = instance
            .get_typed_func::<u128, (u128, u128), _>(&mut store, "run")
            .unwrap();
        assert_eq!(run.call(&mut store, PARAM).unwrap(), (LANES, PARAM));
        let results = run.func().call(&mut store, &[Val::V128(PARAM)]).unwrap();
        assert_eq!(results, [Val::V128(LANES), Val::V128(PARAM)]);
    }
}

#[test]
fn references_to_things_of_the_host_come_back_as_they_were() {
    let wat = r#"(module
        (import "host" "next" (func $next (param externref) (result externref)))
        (table $t 4 externref)
        (global $g (mut externref) (ref.null extern))
        (func (export "is_null") (param externref) (result i32) (ref.is_null (local.get 0)))
        (func (export "run") (param externref) (result externref externref externref)
            (table.set $t (i32.const 2) (local.get 0))
            (global.set $g (call $next (table.get $t (i32.const 2))))
            (global.get $g) (table.get $t (i32.const 2)) (table.get $t (i32.const 0))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, (), |linker| {
            linker.func_wrap("host", "next", |x: Option<ExternRef>| {
                x.and_then(|x| ExternRef::new(x.get() + 1))
            });
        });
        for number in [0, 1, 77, ExternRef::MAX - 1] {
            let value = ExternRef::new(number);
            type Three = (Option<ExternRef>, Option<ExternRef>, Option<ExternRef>);
            let run = instance
                .get_typed_func::<Option<ExternRef>, Three, _>(&mut store, "run")
                .unwrap();
            let results = run.call(&mut store, value).unwrap();
            assert_eq!(results, (ExternRef::new(number + 1), value, None));
            let is_null = instance.get_func(&mut store, "is_null").unwrap();
            assert_eq!(
                is_null.call(&mut store, &[value.into()]).unwrap(),
                [Val::I32(0)]
            );
            let null = Val::ExternRef(None);
            assert_eq!(is_null.call(&mut store, &[null]).unwrap(), [Val::I32(1)]);
        }
    }
}

#[test]
fn a_host_function_can_be_called_through_any_reference_to_it() {
    let wat = r#"(module
        (type $unary (func (param i32) (result i32)))
        (import "host" "double" (func $double (type $unary)))
        (table $t (export "table") 4 funcref)
        (elem (i32.const 0) func $double)
        (func (export "indirect") (param i32 i32) (result i32)
            (call_indirect $t (type $unary) (local.get 1) (local.get 0)))
        (func (export "by_ref") (param (ref null $unary) i32) (result i32)
            (call_ref $unary (local.get 1) (local.get 0)))
        (func (export "tail") (param (ref $unary) i32) (result i32)
            (return_call_ref $unary (local.get 1) (local.get 0)))
        (func $square (export "square") (type $unary) (i32.mul (local.get 0) (local.get 0)))
        (func (export "get") (result (ref $unary)) (ref.func $square)))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, (), |linker| {
            linker.func_wrap("host", "double", |x: i32| 2 * x);
        });
        let triple = Func::wrap(&mut store, |x: i32| 3 * x);
        let table = instance.get_table(&mut store, "table").unwrap();
        table.set(&mut store, 1, triple.into()).unwrap();
        let square = instance.get_func(&mut store, "square").unwrap();
        table.set(&mut store, 2, square.into()).unwrap();

        let indirect = instance
            .get_typed_func::<(i32, i32), i32, _>(&mut store, "indirect")
            .unwrap();
        for (index, expected) in [(0, 10), (1, 15), (2, 25)] {
            assert_eq!(indirect.call(&mut store, (index, 5)).unwrap(), expected);
        }
        let null = indirect.call(&mut store, (3, 5)).unwrap_err();
        assert_eq!(null.kind(), Some(TrapKind::IndirectCallToNull));

        for name in ["by_ref", "tail"] {
            let by_ref = instance.get_func(&mut store, name).unwrap();
            for (func, expected) in [(triple, 15), (square, 25)] {
                let results = by_ref
                    .call(&mut store, &[func.into(), Val::I32(5)])
                    .unwrap();
                assert_eq!(results, [Val::I32(expected)]);
            }
        }
        let get = instance.get_func(&mut store, "get").unwrap();
        let Val::FuncRef(Some(func)) = get.call(&mut store, &[]).unwrap()[0] else {
            panic!("it returns a function")
        };
        assert_eq!(func, square);
        assert_eq!(
            func.call(&mut store, &[Val::I32(-4)]).unwrap(),
            [Val::I32(16)]
        );
    }
}

#[test]
fn a_reference_of_the_wrong_type_is_refused_before_the_call() {
    let wat = r#"(module
        (type $unary (func (param i32) (result i32)))
        (func (export "typed") (param (ref null $unary)))
        (func (export "non_null") (param (ref func))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let right = Func::wrap(&mut store, |x: i32| x);
        let wrong = Func::wrap(&mut store, |x: i64| x);
        let typed = instance.get_func(&mut store, "typed").unwrap();
        typed.call(&mut store, &[right.into()]).unwrap();
        typed.call(&mut store, &[Val::FuncRef(None)]).unwrap();
        let non_null = instance.get_func(&mut store, "non_null").unwrap();
        non_null.call(&mut store, &[wrong.into()]).unwrap();
        for (func, arg) in [
            (typed, Val::from(wrong)),
            (typed, Val::ExternRef(None)),
            (typed, Val::I32(0)),
            (non_null, Val::FuncRef(None)),
        ] {
            let error = func.call(&mut store, &[arg]).unwrap_err();
            assert!(
                matches!(error.usage(), Some(UsageError::ValueType { .. })),
                "{error}"
            );
        }
        // A list of Rust types has no concrete function type to name.
        assert!(typed.typed::<_, Option<Func>, ()>(&store).is_err());
        assert!(non_null.typed::<_, Func, ()>(&store).is_ok());
    }
}

#[test]
fn a_call_with_other_types_than_the_functions_is_an_error_that_names_both() {
    let wat = r#"(module (func (export "f") (param i32) (result i64) (i64.const 0)))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let f = instance.get_func(&mut store, "f").unwrap();
        let error = f.call(&mut store, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "number of arguments: expected 1, found 0"
        );
        let error = f.call(&mut store, &[Val::F32(0)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a value of type i32, found one of type f32"
        );
        assert!(!error.is_trap() && error.wasm_backtrace().frames().is_empty());
        for error in [
            f.typed::<_, i64, i64>(&store).unwrap_err(),
            f.typed::<_, (), i64>(&store).unwrap_err(),
            f.typed::<_, i32, i32>(&store).unwrap_err(),
            f.typed::<_, i32, ()>(&store).unwrap_err(),
            f.typed::<_, i32, (i64, i64)>(&store).unwrap_err(),
        ] {
            assert!(
                matches!(error.usage(), Some(UsageError::Signature { .. })),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .ends_with("found one of type (func (param i32) (result i64))")
            );
        }
        let error = instance
            .get_typed_func::<(), (), _>(&mut store, "g")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the instance exports no function named \"g\""
        );
    }
}

#[test]
fn what_belongs_to_one_store_is_refused_by_another() {
    let wat = r#"(module
        (table (export "t") 1 funcref)
        (memory (export "m") 1)
        (global (export "g") (mut funcref) (ref.null func))
        (func (export "f") (param funcref)))"#;
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, wat);
        let linker = Linker::new(&engine);
        let mut other = mode.store(&engine, ());
        let foreign = linker.instantiate(&mut other, &module).unwrap();
        let foreign_func = foreign.get_func(&mut other, "f").unwrap();
        let foreign_memory = foreign.get_memory(&mut other, "m").unwrap();
        let foreign_table = foreign.get_table(&mut other, "t").unwrap();
        let foreign_global = foreign.get_global(&mut other, "g").unwrap();

        let mut store = mode.store(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        assert_eq!(foreign.get_func(&mut store, "f"), None);
        assert!(foreign.exports(&mut store).is_empty());
        let func = instance.get_func(&mut store, "f").unwrap();
        let typed = func.typed::<_, Option<Func>, ()>(&store).unwrap();
        let foreign_typed = foreign_func.typed::<_, Option<Func>, ()>(&other).unwrap();
        let table = instance.get_table(&mut store, "t").unwrap();
        let global = instance.get_global(&mut store, "g").unwrap();
        for (error, what) in [
            (
                func.call(&mut store, &[foreign_func.into()]).unwrap_err(),
                "function",
            ),
            (
                foreign_func
                    .call(&mut store, &[Val::FuncRef(None)])
                    .unwrap_err(),
                "function",
            ),
            (
                typed.call(&mut store, Some(foreign_func)).unwrap_err(),
                "function",
            ),
            (
                foreign_typed.call(&mut store, None).unwrap_err(),
                "function",
            ),
            (
                table.set(&mut store, 0, foreign_func.into()).unwrap_err(),
                "function",
            ),
            (
                global.set(&mut store, foreign_func.into()).unwrap_err(),
                "function",
            ),
            (
                foreign_memory.write(&mut store, 0, &[1]).unwrap_err(),
                "memory",
            ),
            (foreign_memory.grow(&mut store, 1).unwrap_err(), "memory"),
            (
                foreign_table
                    .grow(&mut store, 1, Val::FuncRef(None))
                    .unwrap_err(),
                "table",
            ),
            (
                foreign_global
                    .set(&mut store, Val::FuncRef(None))
                    .unwrap_err(),
                "global",
            ),
        ] {
            assert_eq!(
                error.to_string(),
                format!("the {what} belongs to another store")
            );
        }
    }
}

#[test]
fn a_host_function_of_any_type_checks_what_it_returns() {
    let wat = r#"(module
        (import "host" "f" (func $f (param i32) (result i64 funcref)))
        (func (export "run") (param i32) (result i64 funcref) (call $f (local.get 0))))"#;
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, wat);
        let mut store = mode.store(&engine, ());
        let mut other: Store<()> = Store::new(&engine, ());
        let foreign = Func::wrap(&mut other, || {});
        let mut linker = Linker::new(&engine);
        let ty = FuncType::new([ValType::I32], [ValType::I64, ValType::FUNCREF]);
        linker
            .func_new("host", "f", ty.clone(), move |_, params, results| {
                assert_eq!(results, [Val::I64(0), Val::FuncRef(None)]);
                match params {
                    [Val::I32(0)] => results[0] = Val::I32(1),
                    [Val::I32(1)] => results[1] = foreign.into(),
                    [Val::I32(2)] => anyhow::bail!("no result"),
                    _ => results[0] = Val::I64(7),
                }
                Ok(())
            })
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let results = run.call(&mut store, &[Val::I32(3)]).unwrap();
        assert_eq!(results, [Val::I64(7), Val::FuncRef(None)]);
        let mut fail = |arg| run.call(&mut store, &[Val::I32(arg)]).unwrap_err();
        let wrong_type = fail(0);
        let usage = wrong_type.host_error::<UsageError>();
        assert!(
            matches!(usage, Some(UsageError::ValueType { .. })),
            "{wrong_type:?}"
        );
        let foreign = fail(1);
        let usage = foreign.host_error::<UsageError>();
        assert!(
            matches!(usage, Some(UsageError::ForeignStore { .. })),
            "{foreign:?}"
        );
        let own = fail(2).into_host_error().unwrap();
        assert_eq!(own.to_string(), "no result");
        assert_eq!(run.ty(&store), ty);
        let import = module.imports().next().unwrap();
        assert_eq!((import.module, import.name), ("host", "f"));
        assert_eq!(import.ty, ExternType::Func(ty));
    }
}

#[test]
fn a_host_function_raises_traps_of_the_guests_kinds() {
    let wat = r#"(module
        (import "host" "f" (func $f))
        (func (export "run") (call $f)))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, (), |linker| {
            linker.func_wrap("host", "f", || -> Result<(), TrapKind> {
                Err(TrapKind::Interrupt)
            });
        });
        let run = instance.get_func(&mut store, "run").unwrap();
        let error = run.call(&mut store, &[]).unwrap_err();
        let reason = error.reason().unwrap();
        assert!(matches!(reason, TrapReasonRef::Wasm(TrapKind::Interrupt)));
        assert_eq!(error.to_string(), "wasm trap: interrupt");
        assert_eq!(error.wasm_backtrace().frames().len(), 1);
    }
}

#[test]
fn a_host_function_sees_its_callers_exports_and_the_data_of_the_store() {
    let wat = r#"(module
        (import "host" "count" (func $count (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "\05\06\07")
        (func (export "run") (call $count (i32.const 9))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, Vec::new(), |linker| {
            linker.func_wrap(
                "host",
                "count",
                |mut caller: Caller<'_, Vec<u8>>, at: i32| {
                    let memory = caller
                        .get_export("memory")
                        .and_then(|item| item.into_memory());
                    let memory = memory.ok_or_else(|| anyhow::anyhow!("no memory"))?;
                    let byte = memory.data(&caller)[at as usize];
                    caller.data_mut().push(byte);
                    memory.data_mut(&mut caller)[at as usize] += 1;
                    assert!(caller.get_export("nothing").is_none());
                    anyhow::Ok(())
                },
            );
        });
        let run = instance
            .get_typed_func::<(), (), _>(&mut store, "run")
            .unwrap();
        run.call(&mut store, ()).unwrap();
        run.call(&mut store, ()).unwrap();
        assert_eq!(store.data(), &[6, 7]);
        // Called by the host itself it has no instance to look into.
        let alone = Func::wrap(&mut store, |mut caller: Caller<'_, Vec<u8>>| {
            i32::from(caller.get_export("memory").is_some())
        });
        assert_eq!(alone.call(&mut store, &[]).unwrap(), [Val::I32(0)]);
        assert_eq!(store.into_data(), [6, 7]);
    }
}

#[test]
fn a_host_function_calls_back_and_calls_what_it_was_given() {
    let wat = r#"(module
        (import "host" "apply" (func $apply (param funcref i32) (result i32)))
        (func $inc (export "inc") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func (export "run") (param i32) (result i32) (call $apply (ref.func $inc) (local.get 0))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, 0, |linker| {
            linker.func_wrap(
                "host",
                "apply",
                |mut caller: Caller<'_, u32>, func: Option<Func>, x: i32| {
                    let func = func.ok_or_else(|| anyhow::anyhow!("null"))?;
                    let func = func.typed::<_, i32, i32>(&caller)?;
                    let result = func.call(&mut caller, x)? * 10;
                    *caller.data_mut() += 1;
                    anyhow::Ok(result)
                },
            );
        });
        let run = instance
            .get_typed_func::<i32, i32, _>(&mut store, "run")
            .unwrap();
        assert_eq!(run.call(&mut store, 4).unwrap(), 50);
        assert_eq!(*store.data(), 1);
    }
}

#[test]
fn a_type_of_another_engine_is_refused_where_it_means_nothing() {
    let wat = r#"(module (type $f (func)) (func (export "take") (param (ref null $f))))"#;
    let mode = MODES[0];
    let engine = mode.engine();
    let module = mode.module(&engine, wat);
    let ty = module.exports().next().map(|export| export.ty);
    let Some(ExternType::Func(ty)) = ty else {
        panic!("it exports a function")
    };
    let mut store = Store::new(&Engine::new(), ());
    let error = Func::new(&mut store, ty.clone(), |_, _, _| Ok(())).unwrap_err();
    assert!(
        matches!(error.usage(), Some(UsageError::UnknownType { .. })),
        "{error}"
    );
    let mut store = Store::new(&engine, ());
    assert!(Func::new(&mut store, ty, |_, _, _| Ok(())).is_ok());
}

#[test]
fn a_guest_calls_host_functions_of_types_that_it_never_imports() {
    let wat = r#"(module
        (type $odd (func (param i64 f32) (result f32)))
        (type $odder (func (param f64 externref (ref null $odd)) (result i32)))
        (table (export "table") 2 funcref)
        (func (export "indirect") (result f32)
            (call_indirect (type $odd) (i64.const 3) (f32.const 0.5) (i32.const 0)))
        (func (export "by_ref") (param (ref $odder)) (result i32)
            (call_ref $odder (f64.const 1) (ref.null extern) (ref.null $odd) (local.get 0))))"#;
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, wat);
        for module_first in [true, false] {
            let mut store = mode.store(&engine, ());
            let functions = |store: &mut Store<()>| {
                let odd = Func::wrap(store, |x: i64, y: f32| x as f32 + y);
                let by_ref = module
                    .exports()
                    .find(|export| export.name == "by_ref")
                    .unwrap();
                let ExternType::Func(by_ref) = by_ref.ty else {
                    panic!("a function")
                };
                let ValType::Ref(RefType {
                    heap: HeapType::Concrete(odder),
                    ..
                }) = by_ref.params()[0]
                else {
                    panic!("a defined type")
                };
                let odder = engine.func_type(odder).unwrap();
                let odder = Func::new(store, odder, |_, params, results| {
                    assert_eq!(params[0], Val::from(1.0));
                    results[0] = Val::I32(9);
                    Ok(())
                });
                (odd, odder.unwrap())
            };
            let early = functions(&mut store);
            let instance = Linker::new(&engine)
                .instantiate(&mut store, &module)
                .unwrap();
            let (odd, odder) = if module_first {
                functions(&mut store)
            } else {
                early
            };
            let table = instance.get_table(&mut store, "table").unwrap();
            table.set(&mut store, 0, odd.into()).unwrap();
            let indirect = instance
                .get_typed_func::<(), f32, _>(&mut store, "indirect")
                .unwrap();
            assert_eq!(indirect.call(&mut store, ()).unwrap(), 3.5);
            let by_ref = instance.get_func(&mut store, "by_ref").unwrap();
            assert_eq!(
                by_ref.call(&mut store, &[odder.into()]).unwrap(),
                [Val::I32(9)]
            );
        }
    }
}
