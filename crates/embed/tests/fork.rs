//! Children forked while other threads load modules and run them.

mod common;

use common::{MODES, Mode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use trapline_code_registry::TrapKind;
use trapline_embed::{Engine, Instance, MemoryType, Module, SharedMemory};
use trapline_test_support::{in_forked_child, on_a_new_thread};

/// Traps by hardware in the modes that do, and has types to intern.
const WAT: &str = r#"(module
    (type $a (func (param i32 i64) (result f32)))
    (type $b (func (param f32 f64) (result i64)))
    (memory 1)
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"#;

/// The whole life of a guest.
fn live(mode: Mode, engine: &Engine, artifact: &[u8]) {
    // SAFETY: the compiler's own output, unchanged.
    let module = unsafe { Module::load(engine, artifact) }.expect("it loads");
    let mut store = mode.store(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
    let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load");
    let load = load.expect("exported");
    assert_eq!(load.call(&mut store, 16).expect("in bounds"), 0);
    let error = load.call(&mut store, 65536).expect_err("out of bounds");
    assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
    assert_eq!(error.wasm_backtrace().frames().len(), 1);
}

#[test]
fn a_child_forked_while_others_load_and_trap_loads_traps_and_unloads() {
    const FORKS: usize = 40;
    for mode in [MODES[0], Mode::Explicit] {
        let engine = mode.engine();
        let artifact = mode.compile(WAT);
        let shared = SharedMemory::new(&engine, MemoryType::new(1, Some(2)).shared());
        let shared = shared.expect("a shared memory");
        let (done, lives) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        live(mode, &engine, &artifact);
                        shared.notify(0, 1).expect("in bounds");
                        lives.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let failed = (0..FORKS)
                .map(|_| {
                    in_forked_child(|| {
                        live(mode, &engine, &artifact);
                        shared.notify(0, 1).expect("in bounds");
                        on_a_new_thread(|| live(mode, &engine, &artifact), || {});
                    })
                })
                .find(|status| !status.success());
            done.store(true, Ordering::SeqCst);
            assert_eq!(failed, None, "{mode:?}");
        });
        assert!(lives.load(Ordering::SeqCst) > FORKS, "others ran meanwhile");
    }
}
