//! Traps on many threads, and stores that move between them.

use trapline_code_registry::TrapKind;
use trapline_embed::{Engine, Linker, Val};

use crate::support::{call_to_fail, in_every_setup, names};

const TRAPS: &str = r#"(module
    (memory 1)
    (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func $divide (export "divide") (param i32) (result i32)
        (i32.div_s (i32.const 100) (local.get 0)))
    (func $stop (export "stop") (unreachable)))"#;

#[test]
fn many_threads_trap_at_once_each_in_its_own_way() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let module = setup.module(&engine, TRAPS);
        std::thread::scope(|scope| {
            for thread in 0..8_i32 {
                let (engine, module) = (&engine, &module);
                scope.spawn(move || {
                    let mut store = setup.store(engine, ());
                    let instance = Linker::new(engine).instantiate(&mut store, module).unwrap();
                    let load = instance.get_func(&mut store, "load").unwrap();
                    let divide = instance.get_func(&mut store, "divide").unwrap();
                    for round in 1..400_i32 {
                        let beyond = 0x1_0000 + thread * 0x1000 + round;
                        let error = load.call(&mut store, &[Val::I32(beyond)]).unwrap_err();
                        assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
                        if let Some(fault) = error.wasm_fault() {
                            assert_eq!(fault.wasm_address, beyond as u64);
                        }
                        let error = divide.call(&mut store, &[Val::I32(0)]).unwrap_err();
                        assert_eq!(error.kind(), Some(TrapKind::IntegerDivisionByZero));
                        assert_eq!(names(error.wasm_backtrace()), ["divide"]);
                        let quotient = divide.call(&mut store, &[Val::I32(round)]).unwrap();
                        assert_eq!(quotient, [Val::I32(100 / round)]);
                    }
                });
            }
        });
    });
}

#[test]
fn a_store_that_moved_to_another_thread_traps_there_as_before() {
    in_every_setup(|setup| {
        let (mut store, instance) = setup.instance(TRAPS, (), |_| {});
        for _ in 0..5 {
            let error = call_to_fail(&mut store, instance, "stop");
            assert_eq!(error.kind(), Some(TrapKind::UnreachableCodeReached));
            store = std::thread::spawn(move || {
                let error = call_to_fail(&mut store, instance, "stop");
                assert_eq!(names(error.wasm_backtrace()), ["stop"]);
                store
            })
            .join()
            .unwrap();
        }
    });
}

#[test]
fn code_comes_and_goes_on_one_thread_while_others_trap() {
    in_every_setup(|setup| {
        let engine = Engine::new();
        let artifact = setup.artifact(TRAPS);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (engine, artifact, stop) = (&engine, &artifact, &stop);
            let trappers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(move || {
                        // SAFETY: the compiler's own output, unchanged.
                        let module =
                            unsafe { trapline_embed::Module::load(engine, artifact) }.unwrap();
                        let mut store = setup.store(engine, ());
                        let instance = Linker::new(engine)
                            .instantiate(&mut store, &module)
                            .unwrap();
                        let mut traps = 0;
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) || traps == 0 {
                            let error = call_to_fail(&mut store, instance, "stop");
                            assert_eq!(names(error.wasm_backtrace()), ["stop"]);
                            traps += 1;
                        }
                        traps
                    })
                })
                .collect();
            // Each image is mapped, registered, run once, and gone again:
            // addresses are reused.
            for _ in 0..200 {
                // SAFETY: the compiler's own output, unchanged.
                let module = unsafe { trapline_embed::Module::load(engine, artifact) }.unwrap();
                let mut store = setup.store(engine, ());
                let instance = Linker::new(engine)
                    .instantiate(&mut store, &module)
                    .unwrap();
                let error = call_to_fail(&mut store, instance, "stop");
                assert_eq!(error.kind(), Some(TrapKind::UnreachableCodeReached));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            for trapper in trappers {
                assert!(trapper.join().unwrap() > 0);
            }
        });
    });
}
