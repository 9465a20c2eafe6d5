//! Linear memories and tables: growth, moving, limits, faults.

mod common;

use common::{MODES, Mode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use trapline_activation::{FaultVerdict, GuestFault, WasmFault};
use trapline_code_registry::TrapKind;
use trapline_embed::{
    ExternRef, InstantiateError, Linker, Memory, MemoryType, RefType, Table, TableType, UsageError,
    Val, ValType,
};

#[test]
fn growth_by_guest_and_host_keeps_the_content() {
    let wat = r#"(module
        (memory (export "memory") 1 5)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
        (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
        (func (export "grow_and_load") (param i32) (result i32 i32)
            (memory.grow (i32.const 1)) (i32.load (local.get 0))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let grow = instance
            .get_typed_func::<i32, i32, _>(&mut store, "grow")
            .unwrap();
        let put = instance
            .get_typed_func::<(i32, i32), (), _>(&mut store, "store")
            .unwrap();
        let load = instance
            .get_typed_func::<i32, i32, _>(&mut store, "load")
            .unwrap();
        put.call(&mut store, (8, 11)).unwrap();
        let before = memory.data(&store).as_ptr();
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
        if mode.moves_memories() {
            assert_ne!(memory.data(&store).as_ptr(), before, "{mode:?}");
        }
        put.call(&mut store, (0x1_fffc, 12)).unwrap();
        assert_eq!(memory.grow(&mut store, 1).unwrap(), 2);
        assert_eq!(load.call(&mut store, 8).unwrap(), 11);
        assert_eq!(load.call(&mut store, 0x1_fffc).unwrap(), 12);
        assert_eq!(load.call(&mut store, 0x2_fffc).unwrap(), 0);
        // In one function, which has to look the base up again.
        let both = instance
            .get_typed_func::<i32, (i32, i32), _>(&mut store, "grow_and_load")
            .unwrap();
        assert_eq!(both.call(&mut store, 8).unwrap(), (3, 11));

        assert_eq!(grow.call(&mut store, 0).unwrap(), 4);
        assert_eq!(grow.call(&mut store, 2).unwrap(), -1);
        assert_eq!(grow.call(&mut store, -1).unwrap(), -1);
        let error = memory.grow(&mut store, 2).unwrap_err();
        assert_eq!(error.to_string(), "the memory of size 4 can't grow by 2");
        assert_eq!(
            (memory.size(&store), memory.data_size(&store)),
            (4, 4 << 16)
        );
        assert_eq!(memory.ty(&store), MemoryType::new(1, Some(5)));
    }
}

#[test]
fn the_host_reads_and_writes_within_bounds_only() {
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        memory.write(&mut store, 65533, b"end").unwrap();
        let mut buffer = [0; 4];
        memory.read(&store, 65532, &mut buffer).unwrap();
        assert_eq!(&buffer, b"\0end");
        for offset in [65533, 65536, u64::MAX, u64::MAX - 2] {
            for error in [
                memory.read(&store, offset, &mut buffer).unwrap_err(),
                memory.write(&mut store, offset, &buffer).unwrap_err(),
            ] {
                assert!(
                    matches!(error.usage(), Some(UsageError::OutOfBounds { .. })),
                    "{error}"
                );
            }
        }
        memory.read(&store, 65536, &mut []).unwrap();
    }
}

#[test]
fn a_fault_is_told_in_terms_of_the_memory_that_was_accessed() {
    let owner = r#"(module (memory (export "m") 2))"#;
    let wat = r#"(module
        (import "o" "m" (memory $far 1))
        (memory $near 1)
        (func (export "far") (param i32) (result i32) (i32.load $far (local.get 0)))
        (func (export "near") (param i32) (result i32) (i32.load8_u $near offset=100 (local.get 0)))
        (func (export "store") (param i32) (i64.store $near (local.get 0) (i64.const 1))))"#;
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let mut linker = Linker::new(&engine);
        let owner = mode.module(&engine, owner);
        let owner = linker.instantiate(&mut store, &owner).unwrap();
        linker.instance(&mut store, "o", owner).unwrap();
        let module = mode.module(&engine, wat);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let mut fault = |name: &str, address: i32| {
            let func = instance.get_func(&mut store, name).unwrap();
            let error = func.call(&mut store, &[Val::I32(address)]).unwrap_err();
            assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds), "{mode:?}");
            error.wasm_fault()
        };
        let faults = [
            (fault("far", 0x2_0000), 0x2_0000, 0x2_0000),
            (fault("far", -4), 0x2_0000, 0xffff_fffc),
            (fault("near", 0xffff), 0x1_0000, 0x1_0063),
            (fault("near", -1), 0x1_0000, 0x1_0000_0063),
            (fault("store", 0x1_0000), 0x1_0000, 0x1_0000),
        ];
        // Where code checks addresses itself, none is accessed.
        if matches!(mode, Mode::Hardware | Mode::HardwareSaved) {
            for (fault, memory_size, wasm_address) in faults {
                assert_eq!(
                    fault,
                    Some(WasmFault {
                        memory_size,
                        wasm_address
                    })
                );
            }
        } else {
            assert!(faults.iter().all(|(fault, ..)| fault.is_none()), "{mode:?}");
        }
        // An access across the end of a memory faults at its end.
        let func = instance.get_func(&mut store, "far").unwrap();
        let error = func.call(&mut store, &[Val::I32(0x1_fffe)]).unwrap_err();
        assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
        assert_eq!(error.to_string(), "wasm trap: out of bounds memory access");
        assert_eq!(
            func.call(&mut store, &[Val::I32(0x1_fffc)]).unwrap(),
            [Val::I32(0)]
        );
    }
}

#[test]
fn a_hook_sees_faults_before_they_are_traps_and_may_have_them_retried() {
    let wat = r#"(module (memory 1)
        (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#;
    let mode = Mode::Hardware;
    let (mut store, instance) = mode.instance(wat);
    let load = instance
        .get_typed_func::<i32, i32, _>(&mut store, "load")
        .unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let hook = move |fault: &GuestFault| {
        assert_eq!(fault.trap, TrapKind::MemoryOutOfBounds);
        // Says twice that the cause is gone, though it is not, and then gives up.
        if count.fetch_add(1, Ordering::Relaxed) < 2 {
            FaultVerdict::Handled
        } else {
            FaultVerdict::NotHandled
        }
    };
    // SAFETY: the hook counts, and running a load again is right.
    unsafe { store.set_fault_hook(Some(hook)) };
    assert_eq!(load.call(&mut store, 0).unwrap(), 0);
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    let error = load.call(&mut store, -1).unwrap_err();
    assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    drop(store);
    assert_eq!(Arc::strong_count(&seen), 1, "the hook goes with its store");
}

#[test]
fn several_memories_and_64_bit_ones_keep_to_themselves() {
    let wat = r#"(module
        (memory $a (export "a") i64 1)
        (memory $b (export "b") 1)
        (data (memory $a) (i64.const 3) "xyz")
        (func (export "copy") (memory.copy $b $a (i32.const 10) (i64.const 3) (i32.const 3)))
        (func (export "fill") (memory.fill $a (i64.const 0) (i32.const 0x141) (i64.const 5)))
        (func (export "grow") (param i64) (result i64) (memory.grow $a (local.get 0)))
        (func (export "load") (param i64) (result i32) (i32.load8_u $a (local.get 0))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let a = instance.get_memory(&mut store, "a").unwrap();
        let b = instance.get_memory(&mut store, "b").unwrap();
        for name in ["copy", "fill"] {
            instance
                .get_func(&mut store, name)
                .unwrap()
                .call(&mut store, &[])
                .unwrap();
        }
        assert_eq!(&a.data(&store)[..7], b"AAAAAz\0");
        assert_eq!(&b.data(&store)[10..14], b"xyz\0");
        let grow = instance
            .get_typed_func::<i64, i64, _>(&mut store, "grow")
            .unwrap();
        assert_eq!(grow.call(&mut store, 2).unwrap(), 1);
        for impossible in [1 << 48, (1 << 48) - 3, i64::MAX, -1] {
            assert_eq!(
                grow.call(&mut store, impossible).unwrap(),
                -1,
                "{impossible:#x}"
            );
        }
        assert_eq!((a.size(&store), b.size(&store)), (3, 1));
        let load = instance
            .get_typed_func::<i64, i32, _>(&mut store, "load")
            .unwrap();
        assert_eq!(load.call(&mut store, 4).unwrap(), 65);
        for address in [3 << 16, 1 << 32, i64::MIN, -1] {
            let error = load.call(&mut store, address).unwrap_err();
            assert_eq!(
                error.kind(),
                Some(TrapKind::MemoryOutOfBounds),
                "{mode:?} {address:#x}"
            );
        }
    }
}

#[test]
fn a_memory_or_table_without_room_is_an_error_not_an_abort() {
    for mode in MODES {
        for wat in [
            "(module (memory i64 0x8000_0000_0000))",
            "(module (memory i64 0x1_0000_0000_0000))",
            "(module (table i64 0xffff_ffff_ffff_ffff externref))",
        ] {
            let (_, outcome) = mode.try_instance_with(wat, (), |_| {});
            let Err(InstantiateError::Resources(error)) = outcome else {
                panic!("{mode:?}: {wat} can't be there")
            };
            assert!(!error.to_string().is_empty());
        }
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let ty = MemoryType::new(65537, None);
        let error = Memory::new(&mut store, ty).unwrap_err();
        let message = "(memory 65537) is larger than this machine can address";
        assert_eq!(error.to_string(), message);
        let shared = MemoryType::new(1, Some(2)).shared();
        assert!(Memory::new(&mut store, shared).is_err());
    }
}

#[test]
fn tables_grow_and_keep_their_elements() {
    let wat = r#"(module
        (table $t (export "t") 1 100 funcref)
        (table $x (export "x") 2 externref)
        (func $f (export "f"))
        (func (export "grow") (param i32) (result i32) (table.grow $t (ref.func $f) (local.get 0)))
        (func (export "grow_null") (param i32) (result i32) (table.grow $x (ref.null extern) (local.get 0)))
        (func (export "call") (param i32) (call_indirect $t (local.get 0)))
        (func (export "get") (param i32) (result externref) (table.get $x (local.get 0))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let t = instance.get_table(&mut store, "t").unwrap();
        let grow = instance
            .get_typed_func::<i32, i32, _>(&mut store, "grow")
            .unwrap();
        let call = instance
            .get_typed_func::<i32, (), _>(&mut store, "call")
            .unwrap();
        assert_eq!(grow.call(&mut store, 3).unwrap(), 1);
        assert_eq!(grow.call(&mut store, 97).unwrap(), -1);
        assert_eq!(grow.call(&mut store, -1).unwrap(), -1);
        assert_eq!(t.size(&store), 4);
        call.call(&mut store, 3).unwrap();
        let null = call.call(&mut store, 0).unwrap_err();
        assert_eq!(null.kind(), Some(TrapKind::IndirectCallToNull));
        for index in [4, -1] {
            let beyond = call.call(&mut store, index).unwrap_err();
            assert_eq!(beyond.kind(), Some(TrapKind::TableOutOfBounds), "{mode:?}");
        }
        let f = instance.get_func(&mut store, "f").unwrap();
        for _ in 0..96 {
            t.grow(&mut store, 1, f.into()).unwrap();
        }
        let error = t.grow(&mut store, 1, f.into()).unwrap_err();
        assert_eq!(error.to_string(), "the table of size 100 can't grow by 1");
        for index in [1, 4, 50, 99] {
            assert_eq!(t.get(&store, index), Some(f.into()));
            call.call(&mut store, index as i32).unwrap();
        }

        let x = instance.get_table(&mut store, "x").unwrap();
        let value = Val::ExternRef(ExternRef::new(3));
        x.set(&mut store, 1, value).unwrap();
        let grow_null = instance
            .get_typed_func::<i32, i32, _>(&mut store, "grow_null")
            .unwrap();
        assert_eq!(grow_null.call(&mut store, 1000).unwrap(), 2);
        let get = instance.get_func(&mut store, "get").unwrap();
        assert_eq!(get.call(&mut store, &[Val::I32(1)]).unwrap(), [value]);
        assert_eq!(
            get.call(&mut store, &[Val::I32(1001)]).unwrap(),
            [Val::ExternRef(None)]
        );
        let error = x.set(&mut store, 1002, value).unwrap_err();
        assert!(
            matches!(error.usage(), Some(UsageError::OutOfBounds { .. })),
            "{error}"
        );
        let error = x.set(&mut store, 0, f.into()).unwrap_err();
        assert!(
            matches!(error.usage(), Some(UsageError::ValueType { .. })),
            "{error}"
        );
    }
}

#[test]
fn tables_with_an_initial_value_and_of_functions_that_are_never_null() {
    let wat = r#"(module
        (type $f (func (result i32)))
        (func $one (type $f) (i32.const 1))
        (table (export "t") 3 (ref $f) (ref.func $one))
        (table (export "empty") 0 funcref))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let t = instance.get_table(&mut store, "t").unwrap();
        let Some(Val::FuncRef(Some(one))) = t.get(&store, 2) else {
            panic!("a function")
        };
        assert_eq!(one.call(&mut store, &[]).unwrap(), [Val::I32(1)]);
        assert!(t.set(&mut store, 0, Val::FuncRef(None)).is_err());
        assert!(t.grow(&mut store, 1, Val::FuncRef(None)).is_err());
        assert_eq!(t.grow(&mut store, 1, one.into()).unwrap(), 3);
        let empty = instance.get_table(&mut store, "empty").unwrap();
        assert_eq!((empty.size(&store), empty.get(&store, 0)), (0, None));
        let nullable = RefType {
            nullable: true,
            ..t.ty(&store).element
        };
        assert_eq!(empty.ty(&store), TableType::new(RefType::FUNCREF, 0, None));
        let fresh = Table::new(&mut store, TableType::new(nullable, 2, None), one.into()).unwrap();
        assert_eq!(fresh.get(&store, 1), Some(one.into()));
        let strict = TableType {
            element: t.ty(&store).element,
            ..fresh.ty(&store)
        };
        assert!(Table::new(&mut store, strict, Val::zero(ValType::FUNCREF)).is_err());
    }
}

#[test]
fn passive_segments_are_used_and_dropped() {
    let wat = r#"(module
        (memory (export "memory") 1)
        (table $t (export "t") 4 funcref)
        (data $d "abcdef")
        (elem $e func $f $g)
        (elem $x externref (ref.null extern))
        (func $f) (func $g (export "g"))
        (func (export "data") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
        (func (export "elem") (param i32 i32 i32) (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
        (func (export "drop") (data.drop $d) (elem.drop $e)))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        type Three = (i32, i32, i32);
        let data = instance
            .get_typed_func::<Three, (), _>(&mut store, "data")
            .unwrap();
        let elem = instance
            .get_typed_func::<Three, (), _>(&mut store, "elem")
            .unwrap();
        data.call(&mut store, (10, 2, 3)).unwrap();
        elem.call(&mut store, (3, 1, 1)).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!(&memory.data(&store)[9..14], b"\0cde\0");
        let t = instance.get_table(&mut store, "t").unwrap();
        let g = instance.get_func(&mut store, "g").unwrap();
        assert_eq!(t.get(&store, 3), Some(g.into()));
        let kind = |error: trapline_embed::Error| error.kind().unwrap();
        let kinds = [
            kind(data.call(&mut store, (0, 4, 3)).unwrap_err()),
            kind(elem.call(&mut store, (3, 0, 2)).unwrap_err()),
        ];
        assert_eq!(
            kinds,
            [TrapKind::MemoryOutOfBounds, TrapKind::TableOutOfBounds]
        );
        for _ in 0..2 {
            let drop_both = instance.get_func(&mut store, "drop").unwrap();
            drop_both.call(&mut store, &[]).unwrap();
            data.call(&mut store, (0, 0, 0)).unwrap();
            elem.call(&mut store, (0, 0, 0)).unwrap();
            let kinds = [
                kind(data.call(&mut store, (0, 0, 1)).unwrap_err()),
                kind(elem.call(&mut store, (0, 0, 1)).unwrap_err()),
            ];
            assert_eq!(
                kinds,
                [TrapKind::MemoryOutOfBounds, TrapKind::TableOutOfBounds]
            );
        }
    }
}
