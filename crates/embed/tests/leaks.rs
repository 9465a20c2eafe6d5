//! Nothing is lost: the bytes that are allocated are the same after a hundred
//! lives of an engine as after ten, whatever happened in them.

mod common;

use common::MODES;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use trapline_embed::{
    Caller, Engine, Func, Global, GlobalType, Linker, Memory, MemoryType, Module, RefType,
    SharedMemory, Store, Table, TableType, Val, ValType,
};
use trapline_test_support::allocator::{Counting, bytes_in_use};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WAT: &str = r#"(module $leaky
    (type $f (func (param i32)))
    (import "h" "f" (func $f (type $f)))
    (import "h" "memory" (memory 1))
    (import "h" "shared" (memory 1 2 shared))
    (import "h" "table" (table 1 externref))
    (import "h" "global" (global $g (mut i32)))
    (memory $own 1)
    (table $t 5 funcref)
    (elem $e func $run $f)
    (func $run (export "run") (param i32)
        (drop (memory.grow $own (i32.const 1)))
        (drop (table.grow $t (ref.func $run) (i32.const 9)))
        (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 2))
        (call_indirect $t (type $f) (local.get 0) (i32.const 1)))
    (func (export "trap") unreachable)
    (func (export "drop") (elem.drop $e)))"#;

/// One life of an engine.
fn live(artifact: &[u8], landing: trapline_embed::Landing) {
    let engine = Engine::new();
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(&engine, artifact) }.unwrap();
    let mut store = Store::new(&engine, vec![String::from("data")]);
    store.set_landing(landing);
    let mut linker = Linker::new(&engine);
    let captured = vec![1_u8; 1000];
    linker.func_wrap(
        "h",
        "f",
        move |mut caller: Caller<'_, Vec<String>>, way: i32| {
            let held = captured.clone();
            caller.data_mut().push(format!("{way}"));
            match way {
                0 => Ok(()),
                1 => anyhow::bail!("an error that owns {} bytes", held.len()),
                _ => resume_unwind(Box::new(held)),
            }
        },
    );
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let shared = SharedMemory::new(&engine, MemoryType::new(1, Some(2)).shared()).unwrap();
    let ty = TableType::new(RefType::EXTERNREF, 1, None);
    let table = Table::new(&mut store, ty, Val::ExternRef(None)).unwrap();
    let ty = GlobalType::mutable(ValType::I32);
    let global = Global::new(&mut store, ty, Val::I32(0)).unwrap();
    assert!(
        linker.instantiate(&mut store, &module).is_err(),
        "not all is defined"
    );
    linker
        .define("h", "memory", memory)
        .define("h", "shared", shared)
        .define("h", "table", table)
        .define("h", "global", global);
    let _unused = Func::wrap(&mut store, |x: i64| x);
    for _ in 0..2 {
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        run.call(&mut store, &[Val::I32(0)]).unwrap();
        let error = run.call(&mut store, &[Val::I32(1)]).unwrap_err();
        assert_eq!(error.wasm_backtrace().frames().len(), 1);
        run.call(&mut store, &[Val::I32(1)]).unwrap_err();
        assert!(run.call(&mut store, &[]).is_err());
        let panic = AssertUnwindSafe(|| run.call(&mut store, &[Val::I32(2)]));
        catch_unwind(panic).unwrap_err();
        let trap = instance.get_func(&mut store, "trap").unwrap();
        let error = trap.call(&mut store, &[]).unwrap_err();
        assert!(format!("{error:?}").contains("leaky!"));
        instance
            .get_func(&mut store, "drop")
            .unwrap()
            .call(&mut store, &[])
            .unwrap();
    }
}

#[test]
fn what_was_allocated_is_given_back() {
    for mode in MODES {
        let artifact = mode.compile(WAT);
        let landing = match mode {
            common::Mode::Hardware => trapline_embed::Landing::Pad,
            _ => trapline_embed::Landing::SavedContext,
        };
        let in_use_after = |lives: usize| {
            for _ in 0..lives {
                live(&artifact, landing);
            }
            bytes_in_use()
        };
        let early = in_use_after(10);
        let late = in_use_after(100);
        // The registry keeps the last few of its nodes for later.
        assert!(late <= early + 4096, "{mode:?}: {early} bytes, then {late}");
    }
}
