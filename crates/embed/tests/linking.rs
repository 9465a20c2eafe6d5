//! Imports of every kind: what fits, what does not and how that is said.

mod common;

use common::{MODES, Mode};
use trapline_embed::{
    Engine, Extern, Func, Global, GlobalType, Instance, InstantiateError, LinkErrorKind, Linker,
    Memory, MemoryType, Module, RefType, SharedMemory, Store, Table, TableType, Val, ValType,
};

/// What a module that imports `import` as `m` `x` says, with `item` defined there.
fn link(mode: Mode, import: &str, define: impl FnOnce(&mut Store<()>) -> Extern) -> String {
    let engine = mode.engine();
    let module = mode.module(&engine, &format!(r#"(module (import "m" "x" {import}))"#));
    let mut store = mode.store(&engine, ());
    let item = define(&mut store);
    let mut linker = Linker::new(&engine);
    linker.define("m", "x", item);
    match linker.instantiate(&mut store, &module) {
        Ok(_) => String::from("fits"),
        Err(error) => error.to_string(),
    }
}

fn memory(ty: MemoryType) -> impl Fn(&mut Store<()>) -> Extern {
    move |store| Memory::new(store, ty).unwrap().into()
}

fn table(ty: TableType) -> impl Fn(&mut Store<()>) -> Extern {
    move |store| {
        let null = Val::zero(ValType::Ref(ty.element));
        Table::new(store, ty, null).unwrap().into()
    }
}

fn global(ty: GlobalType) -> impl Fn(&mut Store<()>) -> Extern {
    move |store| Global::new(store, ty, Val::zero(ty.value)).unwrap().into()
}

#[test]
fn a_missing_import_is_unknown_and_said_so() {
    for mode in MODES {
        let wat = r#"(module (import "env" "f" (func (param i32))))"#;
        let (_, outcome) = mode.try_instance_with(wat, (), |_| {});
        let Err(InstantiateError::Link(error)) = outcome else {
            panic!("it can't be linked")
        };
        assert!(matches!(error.kind, LinkErrorKind::Unknown { .. }));
        let expected = r#"unknown import: "env" "f" is not defined, expected (func (param i32))"#;
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn an_import_of_another_type_is_incompatible() {
    let i32_func = |store: &mut Store<()>| Func::wrap(store, |_: i32| {}).into();
    type Define = Box<dyn Fn(&mut Store<()>) -> Extern>;
    let cases: [(&str, Define, bool); 24] = [
        ("(func (param i32))", Box::new(i32_func), true),
        ("(func (param i64))", Box::new(i32_func), false),
        ("(func (param i32) (result i32))", Box::new(i32_func), false),
        ("(memory 1)", Box::new(i32_func), false),
        (
            "(memory 1 2)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            true,
        ),
        (
            "(memory 1)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            true,
        ),
        (
            "(memory 0 3)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            true,
        ),
        (
            "(memory 2)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            false,
        ),
        (
            "(memory 1 1)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            false,
        ),
        (
            "(memory 1 2)",
            Box::new(memory(MemoryType::new(1, None))),
            false,
        ),
        (
            "(memory 1 2 shared)",
            Box::new(memory(MemoryType::new(1, Some(2)))),
            false,
        ),
        (
            "(memory i64 1)",
            Box::new(memory(MemoryType::new(1, None))),
            false,
        ),
        (
            "(memory i64 1)",
            Box::new(memory(MemoryType::new(1, None).memory64())),
            true,
        ),
        (
            "(table 2 funcref)",
            Box::new(table(TableType::new(RefType::FUNCREF, 2, None))),
            true,
        ),
        (
            "(table 3 funcref)",
            Box::new(table(TableType::new(RefType::FUNCREF, 2, None))),
            false,
        ),
        (
            "(table 2 externref)",
            Box::new(table(TableType::new(RefType::FUNCREF, 2, None))),
            false,
        ),
        (
            "(table 2 2 funcref)",
            Box::new(table(TableType::new(RefType::FUNCREF, 2, None))),
            false,
        ),
        (
            "(table i64 2 funcref)",
            Box::new(table(TableType::new(RefType::FUNCREF, 2, None))),
            false,
        ),
        (
            "(global i32)",
            Box::new(global(GlobalType::constant(ValType::I32))),
            true,
        ),
        (
            "(global i64)",
            Box::new(global(GlobalType::constant(ValType::I32))),
            false,
        ),
        (
            "(global (mut i32))",
            Box::new(global(GlobalType::constant(ValType::I32))),
            false,
        ),
        (
            "(global i32)",
            Box::new(global(GlobalType::mutable(ValType::I32))),
            false,
        ),
        (
            "(global (mut i32))",
            Box::new(global(GlobalType::mutable(ValType::I32))),
            true,
        ),
        (
            "(func)",
            Box::new(global(GlobalType::constant(ValType::I32))),
            false,
        ),
    ];
    for mode in MODES {
        for (import, define, fits) in &cases {
            let outcome = link(mode, import, define);
            if *fits {
                assert_eq!(outcome, "fits", "{mode:?} {import}");
            } else {
                assert!(
                    outcome.starts_with(r#"incompatible import type: "m" "x" is ("#),
                    "{mode:?} {import}: {outcome}"
                );
            }
        }
    }
    let outcome = link(MODES[0], "(memory 2)", memory(MemoryType::new(1, None)));
    let expected = r#"incompatible import type: "m" "x" is (memory 1), expected (memory 2)"#;
    assert_eq!(outcome, expected);
}

#[test]
fn sizes_are_those_of_now_not_of_the_beginning() {
    for mode in MODES {
        let grown = |store: &mut Store<()>| {
            let memory = Memory::new(store, MemoryType::new(1, None)).unwrap();
            memory.grow(store, 2).unwrap();
            memory.into()
        };
        assert_eq!(link(mode, "(memory 3)", grown), "fits");
        let grown = |store: &mut Store<()>| {
            let ty = TableType::new(RefType::FUNCREF, 1, None);
            let table = Table::new(store, ty, Val::FuncRef(None)).unwrap();
            table.grow(store, 4, Val::FuncRef(None)).unwrap();
            table.into()
        };
        assert_eq!(link(mode, "(table 5 funcref)", grown), "fits");
        let outcome = link(mode, "(table 6 funcref)", grown);
        assert!(outcome.contains("is (table 5 funcref)"), "{outcome}");
    }
}

#[test]
fn immutable_references_may_be_more_precise_than_asked_for() {
    for mode in MODES {
        let func = |store: &mut Store<()>| {
            let func = Func::wrap(store, || {});
            let ty = ValType::Ref(RefType {
                nullable: false,
                ..RefType::FUNCREF
            });
            Global::new(store, GlobalType::constant(ty), func.into())
                .unwrap()
                .into()
        };
        assert_eq!(link(mode, "(global funcref)", func), "fits");
        assert!(link(mode, "(global externref)", func).starts_with("incompatible"));
    }
}

#[test]
fn shared_memories_link_with_shared_imports_only() {
    for mode in MODES {
        let shared = |store: &mut Store<()>| {
            let ty = MemoryType::new(1, Some(2)).shared();
            SharedMemory::new(store.engine(), ty).unwrap().into()
        };
        assert_eq!(link(mode, "(memory 1 2 shared)", shared), "fits");
        let outcome = link(mode, "(memory 1 2)", shared);
        assert!(
            outcome.contains("is (memory 1 2 shared), expected (memory 1 2)"),
            "{outcome}"
        );
    }
}

#[test]
fn a_memory_with_less_room_than_the_code_assumes_is_refused() {
    let engine = Mode::ExplicitMoving.engine();
    let small = Mode::ExplicitMoving.module(&engine, r#"(module (memory (export "x") 1))"#);
    let large = Mode::Hardware.module(&engine, r#"(module (import "m" "x" (memory 1)))"#);
    let mut store = Mode::Hardware.store(&engine, ());
    let mut linker = Linker::new(&engine);
    let instance = linker.instantiate(&mut store, &small).unwrap();
    linker.instance(&mut store, "m", instance).unwrap();
    let Err(InstantiateError::Link(error)) = linker.instantiate(&mut store, &large) else {
        panic!("code without bounds checks must not get a memory without a guard region")
    };
    assert_eq!(error.kind, LinkErrorKind::MemorySettings);
    // The other way round there is more room than needed.
    let small = r#"(module (import "m" "y" (memory 1)))"#;
    let small = Mode::ExplicitMoving.module(&engine, small);
    let large = Mode::Hardware.module(&engine, r#"(module (memory (export "y") 1))"#);
    let instance = linker.instantiate(&mut store, &large).unwrap();
    linker.instance(&mut store, "m", instance).unwrap();
    linker.instantiate(&mut store, &small).unwrap();
}

#[test]
fn what_belongs_to_another_store_or_engine_cannot_be_linked() {
    for mode in MODES {
        let engine = mode.engine();
        let mut other = mode.store(&engine, ());
        let items: [Extern; 4] = [
            Func::wrap(&mut other, || {}).into(),
            Memory::new(&mut other, MemoryType::new(1, None))
                .unwrap()
                .into(),
            Table::new(
                &mut other,
                TableType::new(RefType::FUNCREF, 1, None),
                Val::FuncRef(None),
            )
            .unwrap()
            .into(),
            Global::new(&mut other, GlobalType::constant(ValType::I32), Val::I32(0))
                .unwrap()
                .into(),
        ];
        let imports = ["(func)", "(memory 1)", "(table 1 funcref)", "(global i32)"];
        for (item, import) in items.into_iter().zip(imports) {
            let wat = format!(r#"(module (import "m" "x" {import}))"#);
            let module = mode.module(&engine, &wat);
            let mut store = mode.store(&engine, ());
            let outcome = Instance::new(&mut store, &module, &[item]);
            let Err(InstantiateError::Link(error)) = outcome else {
                panic!("it is foreign")
            };
            assert_eq!(error.kind, LinkErrorKind::ForeignStore, "{import}");
        }
        let foreign = mode.module(&Engine::new(), "(module)");
        let mut store = mode.store(&engine, ());
        let outcome = Linker::new(&engine).instantiate(&mut store, &foreign);
        assert!(matches!(outcome, Err(InstantiateError::ForeignEngine)));
        let outcome = Linker::new(&Engine::new()).instantiate(&mut store, &foreign);
        assert!(matches!(outcome, Err(InstantiateError::ForeignEngine)));
    }
}

#[test]
fn items_of_every_kind_are_shared_by_those_who_import_them() {
    let exporter = r#"(module
        (memory (export "memory") 1)
        (table (export "table") 2 funcref)
        (global (export "global") (mut i64) (i64.const 1))
        (global (export "vector") v128 (v128.const i64x2 3 4))
        (global (export "sum") i32 (i32.add (i32.const 40) (i32.const 2)))
        (func $seven (export "seven") (result i32) (i32.const 7))
        (elem (i32.const 1) func $seven))"#;
    let importer = r#"(module
        (import "e" "memory" (memory 1))
        (import "e" "table" (table 1 funcref))
        (import "e" "global" (global $g (mut i64)))
        (import "e" "sum" (global $sum i32))
        (import "e" "seven" (func $seven (result i32)))
        (export "again" (func $seven))
        (func (export "run") (result i32)
            (i32.store (i32.const 16) (i32.const 99))
            (global.set $g (i64.add (global.get $g) (i64.const 1)))
            (drop (memory.grow (i32.const 1)))
            (drop (table.grow (ref.func $seven) (i32.const 1)))
            (i32.add (call_indirect (result i32) (i32.const 1)) (global.get $sum))))"#;
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let mut linker = Linker::new(&engine);
        let exporter = mode.module(&engine, exporter);
        let exporter = linker.instantiate(&mut store, &exporter).unwrap();
        linker.instance(&mut store, "e", exporter).unwrap();
        let importer = mode.module(&engine, importer);
        let importer = linker.instantiate(&mut store, &importer).unwrap();

        let run = importer
            .get_typed_func::<(), i32, _>(&mut store, "run")
            .unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 49);
        let memory = exporter.get_memory(&mut store, "memory").unwrap();
        assert_eq!((memory.size(&store), memory.data(&store)[16]), (2, 99));
        let global = exporter.get_global(&mut store, "global").unwrap();
        assert_eq!(global.get(&store), Val::I64(2));
        global.set(&mut store, Val::I64(10)).unwrap();
        run.call(&mut store, ()).unwrap();
        assert_eq!(global.get(&store), Val::I64(11));
        let vector = exporter.get_global(&mut store, "vector").unwrap();
        assert_eq!(vector.get(&store), Val::V128(4 << 64 | 3));
        assert!(vector.set(&mut store, Val::V128(0)).is_err());
        let table = exporter.get_table(&mut store, "table").unwrap();
        assert_eq!(table.size(&store), 4);
        let Some(Val::FuncRef(Some(seven))) = table.get(&store, 3) else {
            panic!("a function")
        };
        assert_eq!(seven.call(&mut store, &[]).unwrap(), [Val::I32(7)]);
        let again = importer.get_func(&mut store, "again").unwrap();
        assert_eq!(again.call(&mut store, &[]).unwrap(), [Val::I32(7)]);
    }
}

#[test]
fn items_of_the_host_are_used_by_the_guest() {
    let wat = r#"(module
        (import "h" "memory" (memory 1 8))
        (import "h" "table" (table 1 8 externref))
        (import "h" "global" (global $g (mut f64)))
        (func (export "run") (param externref) (result i32)
            (i32.store8 (i32.const 65537) (i32.load8_u (i32.const 1)))
            (table.set (table.grow (local.get 0) (i32.const 2)) (local.get 0))
            (global.set $g (f64.neg (global.get $g)))
            (memory.grow (i32.const 3))))"#;
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(2, Some(8))).unwrap();
        let ty = TableType::new(RefType::EXTERNREF, 1, Some(8));
        let table = Table::new(&mut store, ty, Val::ExternRef(None)).unwrap();
        let ty = GlobalType::mutable(ValType::F64);
        let global = Global::new(&mut store, ty, Val::from(1.5)).unwrap();
        memory.write(&mut store, 1, &[42]).unwrap();
        let mut linker = Linker::new(&engine);
        linker
            .define("h", "memory", memory)
            .define("h", "table", table)
            .define("h", "global", global);
        let module = mode.module(&engine, wat);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        let arg = Val::ExternRef(trapline_embed::ExternRef::new(5));
        assert_eq!(run.call(&mut store, &[arg]).unwrap(), [Val::I32(2)]);
        assert_eq!((memory.size(&store), memory.data(&store)[65537]), (5, 42));
        assert_eq!(table.size(&store), 3);
        assert_eq!(table.get(&store, 1), Some(arg));
        assert_eq!(table.get(&store, 3), None);
        assert_eq!(global.get(&store).f64(), Some(-1.5));
    }
}

#[test]
fn one_linker_serves_many_stores_and_later_definitions_take_the_place_of_earlier_ones() {
    let wat = r#"(module (import "h" "f" (func $f (result i32))) (func (export "run") (result i32) (call $f)))"#;
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, wat);
        let mut linker = Linker::<i32>::new(&engine);
        linker.func_wrap("h", "f", || 1);
        linker.func_wrap("h", "f", |caller: trapline_embed::Caller<'_, i32>| {
            *caller.data()
        });
        let mut stores = [mode.store(&engine, 10), mode.store(&engine, 20)];
        for store in &mut stores {
            let expected = *store.data();
            for _ in 0..3 {
                let instance = linker.instantiate(store, &module).unwrap();
                let run = instance.get_typed_func::<(), i32, _>(store, "run").unwrap();
                assert_eq!(run.call(store, ()).unwrap(), expected);
            }
        }
        linker.alias("other", "h");
        assert!(linker.get(&mut stores[0], "other", "f").is_some());
        assert!(linker.get(&mut stores[0], "other", "g").is_none());
    }
}

#[test]
fn a_trap_in_the_startup_is_an_error_and_leaves_what_was_done() {
    let wat = r#"(module
        (import "h" "memory" (memory 1))
        (import "h" "table" (table 1 funcref))
        (func $f (result i32) (i32.const 5))
        (elem (i32.const 0) func $f)
        (data (i32.const 0) "ab")
        (data (i32.const 65535) "cd"))"#;
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        let ty = TableType::new(RefType::FUNCREF, 1, None);
        let table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
        let module = mode.module(&engine, wat);
        let outcome = Instance::new(&mut store, &module, &[memory.into(), table.into()]);
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), "wasm trap: out of bounds memory access");
        assert!(error.as_trap().is_some());
        // The segments before it are there, and the function, whose instance
        // nobody has, can be called.
        drop(module);
        assert_eq!(&memory.data(&store)[..3], b"ab\0");
        let Some(Val::FuncRef(Some(f))) = table.get(&store, 0) else {
            panic!("a function")
        };
        assert_eq!(f.call(&mut store, &[]).unwrap(), [Val::I32(5)]);
    }
}

#[test]
fn bytes_that_are_no_artifact_are_refused() {
    let engine = Engine::new();
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", &[0x7f; 4096]] {
        // SAFETY: refused before any code of it could run.
        let error = unsafe { Module::load(&engine, bytes) }.unwrap_err();
        assert_eq!(error.to_string(), "the artifact cannot be used");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn an_artifact_that_was_read_for_any_target_is_not_loaded() {
    let artifact = trapline_wasmtime::compile::compile(
        b"(module (func))",
        &trapline_wasmtime::compile::CompileOptions::for_target("aarch64-unknown-linux-gnu"),
    )
    .unwrap();
    let artifact = trapline_wasmtime::Artifact::parse_any_target(artifact).unwrap();
    // SAFETY: refused before any code of it could run.
    let error = unsafe { Module::from_artifact(&Engine::new(), artifact) }.unwrap_err();
    assert!(
        matches!(error, trapline_embed::LoadError::NotChecked),
        "{error:?}"
    );
}

#[test]
fn a_table_whose_smallest_size_is_above_its_largest_is_refused() {
    let mut store = Store::new(&Engine::new(), ());
    let ty = TableType::new(RefType::FUNCREF, 10, Some(5));
    Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
}
