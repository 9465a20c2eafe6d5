//! What a store may have, whoever asks for it.

mod common;

use common::{MODES, Mode};
use trapline_embed::{
    Error, Extern, Func, Instance, InstantiateError, Linker, Memory, MemoryType, Module, RefType,
    SharedMemory, Store, StoreLimits, Table, TableType, UsageError, Val,
};

const PAGE: u64 = 65536;

const WAT: &str = r#"(module
    (memory (export "m") 1)
    (table (export "t") 10 funcref)
    (func (export "grow_memory") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "grow_table") (param i32) (result i32)
        (table.grow (ref.null func) (local.get 0))))"#;

/// A store with these limits, and a module for it.
fn limited(mode: Mode, wat: &str, limits: StoreLimits) -> (Store<()>, Module) {
    let engine = mode.engine();
    let module = mode.module(&engine, wat);
    let mut store = mode.store(&engine, ());
    store.set_limits(limits);
    assert_eq!(store.limits(), limits);
    (store, module)
}

fn grow(store: &mut Store<()>, instance: Instance, name: &str, delta: i32) -> i32 {
    let grow = instance.get_typed_func::<i32, i32, _>(store, name).unwrap();
    grow.call(store, delta).unwrap()
}

#[track_caller]
fn assert_limit(error: &UsageError, expected: &str) {
    assert!(matches!(error, UsageError::Limit { .. }), "{error:?}");
    assert_eq!(error.to_string(), expected);
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let error = result.unwrap_err();
    assert_limit(error.usage().expect("a mistake of use"), expected);
}

#[track_caller]
fn assert_not_instantiated(result: Result<Instance, InstantiateError>, expected: &str) {
    match result {
        Err(InstantiateError::Resources(error)) => assert_limit(&error, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn memories_do_not_outgrow_the_limit_whoever_grows_them() {
    for mode in MODES {
        let limits = StoreLimits::new().memory_bytes(3 * PAGE);
        let (mut store, module) = limited(mode, WAT, limits);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        assert_eq!(grow(&mut store, instance, "grow_memory", 3), -1);
        assert_eq!(grow(&mut store, instance, "grow_memory", -1), -1);
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), 1);
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let expected = "the store is limited to 196608 bytes of memory, and would have 262144";
        assert_refused(memory.grow(&mut store, 2), expected);
        assert_eq!(memory.size(&store), 2, "nothing was grown");
        assert_eq!(memory.grow(&mut store, 1).unwrap(), 2);
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), -1);
        assert_eq!(grow(&mut store, instance, "grow_memory", 0), 3);
        // All of the store's together, those that the host makes as well.
        assert_refused(Memory::new(&mut store, MemoryType::new(1, None)), expected);
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
        // A limit that comes later takes nothing away.
        store.set_limits(StoreLimits::new().memory_bytes(0));
        assert_eq!(grow(&mut store, instance, "grow_memory", 0), 3);
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), -1);
        Memory::new(&mut store, MemoryType::new(0, None)).unwrap();
        store.set_limits(StoreLimits::unlimited());
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), 3);
    }
}

#[test]
fn tables_do_not_outgrow_the_limit_whoever_grows_them() {
    for mode in MODES {
        let limits = StoreLimits::new().table_elements(20);
        let (mut store, module) = limited(mode, WAT, limits);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        assert_eq!(grow(&mut store, instance, "grow_table", 11), -1);
        assert_eq!(grow(&mut store, instance, "grow_table", 5), 10);
        let table = instance.get_table(&mut store, "t").unwrap();
        let expected = "the store is limited to 20 elements of tables, and would have 21";
        let null = Val::FuncRef(None);
        assert_refused(table.grow(&mut store, 6, null), expected);
        assert_eq!(table.size(&store), 15, "nothing was grown");
        let ty = TableType::new(RefType::EXTERNREF, 6, None);
        assert_refused(Table::new(&mut store, ty, Val::ExternRef(None)), expected);
        assert_eq!(table.grow(&mut store, 5, null).unwrap(), 15);
        assert_eq!(grow(&mut store, instance, "grow_table", 1), -1);
        let expected = "the store is limited to 20 elements of tables, and would have 30";
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
    }
}

#[test]
fn a_table_has_a_limit_by_default_that_a_guest_reaches_in_no_time() {
    for mode in MODES {
        let (mut store, module) = limited(mode, WAT, StoreLimits::default());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for delta in [i32::MAX, -1, 10_000_000] {
            assert_eq!(grow(&mut store, instance, "grow_table", delta), -1);
        }
        assert_eq!(grow(&mut store, instance, "grow_table", 100_000), 10);
    }
}

#[test]
fn there_are_no_more_instances_memories_and_tables_than_allowed() {
    let memory_ty = MemoryType::new(0, None);
    let table_ty = TableType::new(RefType::EXTERNREF, 0, None);
    for mode in MODES {
        let (mut store, module) = limited(mode, WAT, StoreLimits::new().instances(2));
        for _ in 0..2 {
            Instance::new(&mut store, &module, &[]).unwrap();
        }
        let expected = "the store is limited to 2 instances, and would have 3";
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
        // The host's own things are of no instance.
        Memory::new(&mut store, memory_ty).unwrap();

        let (mut store, module) = limited(mode, WAT, StoreLimits::new().memories(1));
        Instance::new(&mut store, &module, &[]).unwrap();
        let expected = "the store is limited to 1 memories, and would have 2";
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
        assert_refused(Memory::new(&mut store, memory_ty), expected);

        let (mut store, module) = limited(mode, WAT, StoreLimits::new().tables(1));
        Instance::new(&mut store, &module, &[]).unwrap();
        let expected = "the store is limited to 1 tables, and would have 2";
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
        let null = Val::ExternRef(None);
        assert_refused(Table::new(&mut store, table_ty, null), expected);
    }
}

#[test]
fn an_instance_that_is_refused_or_fails_leaves_nothing_that_counts() {
    for mode in MODES {
        // A memory and a table that fit, and one that does not.
        let wat = "(module (memory 1) (table 5 funcref) (table 6 funcref))";
        let limits = StoreLimits::new().table_elements(10).memory_bytes(PAGE);
        let (mut store, module) = limited(mode, wat, limits.memories(1).tables(2).instances(1));
        let expected = "the store is limited to 10 elements of tables, and would have 11";
        for _ in 0..3 {
            assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
        }
        let limits = store.limits().table_elements(11);
        store.set_limits(limits);
        Instance::new(&mut store, &module, &[]).unwrap();
        // What a startup that traps has done stays done, as the specification has it.
        let wat = "(module (memory 1) (func $start unreachable) (start $start))";
        let (mut store, module) = limited(mode, wat, StoreLimits::new().instances(1));
        let outcome = Instance::new(&mut store, &module, &[]);
        assert!(matches!(outcome, Err(InstantiateError::Trap(_))));
        let expected = "the store is limited to 1 instances, and would have 2";
        assert_not_instantiated(Instance::new(&mut store, &module, &[]), expected);
    }
}

#[test]
fn a_shared_memory_counts_in_each_store_that_uses_it() {
    let wat = r#"(module
        (import "m" "a" (memory 1 9 shared))
        (import "m" "b" (memory 1 9 shared))
        (func (export "grow_memory") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    for mode in MODES {
        let limits = StoreLimits::new().memory_bytes(3 * PAGE).memories(1);
        let (mut store, module) = limited(mode, wat, limits);
        let engine = store.engine().clone();
        let shared = |pages| {
            let ty = MemoryType::new(pages, Some(9)).shared();
            SharedMemory::new(&engine, ty).unwrap()
        };
        let large = shared(4);
        let imports: [Extern; 2] = [large.clone().into(), large.into()];
        let expected = "the store is limited to 196608 bytes of memory, and would have 262144";
        assert_not_instantiated(Instance::new(&mut store, &module, &imports), expected);
        let small = shared(1);
        let imports: [Extern; 2] = [small.clone().into(), shared(1).into()];
        let expected = "the store is limited to 1 memories, and would have 2";
        assert_not_instantiated(Instance::new(&mut store, &module, &imports), expected);
        // Once, however often it is imported.
        let imports: [Extern; 2] = [small.clone().into(), small.clone().into()];
        for _ in 0..2 {
            Instance::new(&mut store, &module, &imports).unwrap();
        }
        let instance = Instance::new(&mut store, &module, &imports).unwrap();
        assert_eq!(grow(&mut store, instance, "grow_memory", 3), -1);
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), 1);
        // The host asks no store, but stores see what there is.
        assert_eq!(small.grow(1).unwrap(), 2);
        assert_eq!(grow(&mut store, instance, "grow_memory", 1), -1);
        assert_eq!(small.grow(1).unwrap(), 3);
        assert_eq!(grow(&mut store, instance, "grow_memory", 0), 4);
    }
}

#[test]
fn a_shared_memory_does_not_count_where_an_instance_could_not_be_made() {
    // No machine has room for the second one.
    let wat = r#"(module
        (import "m" "a" (memory 1 9 shared))
        (memory i64 0x1000000000000))"#;
    let other = r#"(module (memory 1))"#;
    for mode in MODES {
        let (mut store, module) = limited(mode, wat, StoreLimits::new());
        let ty = MemoryType::new(1, Some(9)).shared();
        let shared = SharedMemory::new(store.engine(), ty).unwrap();
        for _ in 0..2 {
            match Instance::new(&mut store, &module, &[shared.clone().into()]) {
                Err(InstantiateError::Resources(UsageError::Memory(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        let other = mode.module(store.engine(), other);
        store.set_limits(StoreLimits::new().memories(1).memory_bytes(PAGE));
        Instance::new(&mut store, &other, &[]).unwrap();
    }
}

#[test]
fn imports_to_spare_are_an_error_that_says_how_many_there_are_to_be() {
    for mode in MODES {
        let (mut store, module) = limited(mode, WAT, StoreLimits::new());
        let func = Func::wrap(&mut store, || {});
        let error = Instance::new(&mut store, &module, &[func.into()]).unwrap_err();
        assert_eq!(error.to_string(), "number of imports: expected 0, found 1");
        let linker = Linker::new(store.engine());
        linker.instantiate(&mut store, &module).unwrap();
    }
}
