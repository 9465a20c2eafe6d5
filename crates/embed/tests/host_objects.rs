//! What the host may make in a store, and what it is told when it may not.

mod common;

use common::{MODES, Mode};
use trapline_activation::{CoreDump, Trap, TrapReason};
use trapline_code_registry::TrapKind;
use trapline_embed::{
    Engine, Global, GlobalType, HeapType, Instance, Memory, MemoryType, RefType, SharedMemory,
    Store, StoreLimits, Table, TableType, UsageError, Val, ValType,
};

/// A reference type that only the store's engine knows.
fn defined_type(mode: Mode, store: &mut Store<()>) -> RefType {
    let wat = "(module
        (type $a (func (param f64 f64 f64))) (type $b (func (result f32 f32 f32)))
        (global (export \"g\") (ref null $b) (ref.null $b)))";
    let module = mode.module(store.engine(), wat);
    let instance = Instance::new(store, &module, &[]).unwrap();
    match instance.get_global(store, "g").unwrap().ty(store).value {
        ValType::Ref(ty) => ty,
        other => panic!("{other}"),
    }
}

#[test]
fn a_null_reference_of_a_type_that_the_engine_does_not_know_is_refused() {
    for mode in MODES {
        let mut store = mode.store(&mode.engine(), ());
        let ty = defined_type(mode, &mut store);
        assert!(matches!(ty.heap, HeapType::Concrete(_)) && ty.nullable);
        let null = Val::FuncRef(None);
        let global_ty = GlobalType::mutable(ty.into());
        let table_ty = TableType::new(ty, 1, None);
        // At home it is a value like any other.
        Global::new(&mut store, global_ty, null).unwrap();
        Table::new(&mut store, table_ty, null).unwrap();
        let mut abroad = mode.store(&mode.engine(), ());
        let errors = [
            Global::new(&mut abroad, global_ty, null).unwrap_err(),
            Table::new(&mut abroad, table_ty, null).unwrap_err(),
        ];
        for error in errors {
            let unknown = matches!(error.usage(), Some(UsageError::UnknownType { .. }));
            assert!(unknown, "{error:?}");
        }
    }
}

#[test]
fn a_type_that_nothing_can_have_is_an_error_that_says_why() {
    let engine = Engine::new();
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimits::unlimited());
    let upside_down = MemoryType::new(2, Some(1));
    let mut table = |ty| Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
    assert_eq!(
        table(TableType::new(RefType::FUNCREF, 2, Some(1))).to_string(),
        "the minimum of (table 2 1 funcref) is above its maximum of 1 elements"
    );
    assert_eq!(
        table(TableType::new(RefType::FUNCREF, 1 << 32, None)).to_string(),
        "the minimum of (table 4294967296 funcref) is above its maximum of 4294967295 elements"
    );
    let mut memory = |ty| Memory::new(&mut store, ty).unwrap_err().to_string();
    assert_eq!(
        memory(upside_down),
        "the minimum of (memory 2 1) is above its maximum"
    );
    assert_eq!(
        memory(MemoryType::new(65537, None)),
        "(memory 65537) is larger than this machine can address"
    );
    assert_eq!(
        memory(MemoryType::new(1, Some(1)).shared()),
        "(memory 1 1 shared) is shared: `SharedMemory` is for it"
    );
    let shared = |ty| SharedMemory::new(&engine, ty).unwrap_err().to_string();
    assert_eq!(
        shared(MemoryType::new(1, Some(1))),
        "(memory 1 1) is not shared: `Memory` is for it"
    );
    assert_eq!(
        shared(MemoryType::new(1, None).shared()),
        "(memory 1 shared) has no maximum, which shared memories need"
    );
    assert_eq!(
        shared(upside_down.shared()),
        "the minimum of (memory 2 1 shared) is above its maximum"
    );
}

#[test]
fn a_core_dump_is_there_if_a_trap_that_was_passed_on_has_one() {
    let wat = r#"(module (import "host" "f" (func $f)) (func (export "run") (call $f)))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance_with(wat, (), |linker| {
            // What a host function gets of another embedder's guest.
            linker.func_wrap("host", "f", || -> anyhow::Result<()> {
                let mut trap = Trap::new(TrapReason::Wasm(TrapKind::OutOfFuel));
                trap.coredump = Some(CoreDump::new(b"dump".into()));
                Err(trap.into())
            });
        });
        let run = instance.get_func(&mut store, "run").unwrap();
        let error = run.call(&mut store, &[]).unwrap_err();
        assert_eq!(error.kind(), Some(TrapKind::OutOfFuel));
        assert_eq!(error.coredump().map(CoreDump::as_bytes), Some(&b"dump"[..]));
        let dump = error.into_trap().unwrap().coredump.unwrap();
        assert_eq!(dump.into_bytes(), b"dump");
    }
}
