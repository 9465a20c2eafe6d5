//! Shared memories: several stores on several threads.

mod common;

use common::MODES;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use trapline_code_registry::TrapKind;
use trapline_embed::{Linker, MemoryType, SharedMemory, Val, WaitOutcome};

const WAT: &str = r#"(module
    (import "m" "memory" (memory 1 3 shared))
    (func (export "notify") (param i32 i32) (result i32)
        (memory.atomic.notify (local.get 0) (local.get 1)))
    (func (export "wait32") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "add") (param i32 i32) (local $i i32)
        (loop $again
            (drop (i32.atomic.rmw.add (local.get 0) (i32.const 1)))
            (br_if $again
                (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 1)))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "put") (param i32 i32) (i32.atomic.store (local.get 0) (local.get 1))))"#;

fn word(memory: &SharedMemory, address: u64) -> u32 {
    let mut bytes = [0; 4];
    memory.read(address, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

#[test]
fn stores_on_many_threads_count_in_one_memory() {
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let memory = SharedMemory::new(&engine, MemoryType::new(1, Some(3)).shared()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory.clone());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut store = mode.store(&engine, ());
                    let instance = linker.instantiate(&mut store, &module).unwrap();
                    let add = instance.get_func(&mut store, "add").unwrap();
                    add.call(&mut store, &[Val::I32(64), Val::I32(1000)])
                        .unwrap();
                });
            }
        });
        assert_eq!(word(&memory, 64), 4000, "{mode:?}");
    }
}

#[test]
fn a_waiting_guest_is_woken_by_another_threads_guest_and_by_the_host() {
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let memory = SharedMemory::new(&engine, MemoryType::new(1, Some(3)).shared()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory.clone());
        thread::scope(|scope| {
            let waiters = ["wait32", "wait64"].map(|name| {
                let (linker, module, engine) = (&linker, &module, &engine);
                scope.spawn(move || {
                    let mut store = mode.store(engine, ());
                    let instance = linker.instantiate(&mut store, module).unwrap();
                    let wait = instance.get_func(&mut store, name).unwrap();
                    let expected = if name == "wait32" {
                        Val::I32(0)
                    } else {
                        Val::I64(0)
                    };
                    let args = [Val::I32(8), expected, Val::I64(-1)];
                    wait.call(&mut store, &args).unwrap()
                })
            });
            let mut store = mode.store(&engine, ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let notify = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "notify");
            let notify = notify.unwrap();
            // One by the guest, the other by the host.
            while notify.call(&mut store, (8, 1)).unwrap() == 0 {
                thread::yield_now();
            }
            while memory.notify(8, u32::MAX).unwrap() == 0 {
                thread::yield_now();
            }
            for waiter in waiters {
                assert_eq!(
                    waiter.join().unwrap(),
                    [Val::I32(WaitOutcome::Woken as i32)]
                );
            }
            assert_eq!(notify.call(&mut store, (8, -1)).unwrap(), 0);
        });
    }
}

#[test]
fn a_wait_ends_at_once_for_another_value_and_after_its_timeout() {
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let memory = SharedMemory::new(&engine, MemoryType::new(1, Some(3)).shared()).unwrap();
        memory.write(16, &7_u64.to_le_bytes()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory.clone());
        let mut store = mode.store(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let mut wait = |name: &str, expected: Val, timeout: i64| {
            let wait = instance.get_func(&mut store, name).unwrap();
            let args = [Val::I32(16), expected, Val::I64(timeout)];
            wait.call(&mut store, &args).unwrap()
        };
        assert_eq!(wait("wait32", Val::I32(8), -1), [Val::I32(1)]);
        assert_eq!(wait("wait64", Val::I64(8), -1), [Val::I32(1)]);
        let start = Instant::now();
        assert_eq!(wait("wait32", Val::I32(7), 3_000_000), [Val::I32(2)]);
        assert_eq!(wait("wait64", Val::I64(7), 3_000_000), [Val::I32(2)]);
        assert!(start.elapsed() >= Duration::from_millis(6));
        let outcome = memory.wait64(16, 7, Some(Duration::from_millis(1)));
        assert_eq!(outcome, Ok(WaitOutcome::TimedOut));
    }
}

#[test]
fn misaligned_and_out_of_bounds_atomics_trap() {
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let memory = SharedMemory::new(&engine, MemoryType::new(1, Some(3)).shared()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory);
        let mut store = mode.store(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let mut kind = |name: &str, args: &[Val]| {
            let func = instance.get_func(&mut store, name).unwrap();
            let error = func.call(&mut store, args).unwrap_err();
            assert_eq!(error.wasm_backtrace().frames().len(), 1, "{mode:?} {name}");
            error.kind().unwrap()
        };
        let wait = |address| [Val::I32(address), Val::I64(0), Val::I64(0)];
        assert_eq!(
            kind("notify", &[Val::I32(2), Val::I32(0)]),
            TrapKind::HeapMisaligned
        );
        assert_eq!(kind("wait64", &wait(4)), TrapKind::HeapMisaligned);
        assert_eq!(
            kind("put", &[Val::I32(1), Val::I32(0)]),
            TrapKind::HeapMisaligned
        );
        for address in [0x1_0000, -8] {
            assert_eq!(kind("wait64", &wait(address)), TrapKind::MemoryOutOfBounds);
            let args = [Val::I32(address), Val::I32(0)];
            assert_eq!(kind("notify", &args), TrapKind::MemoryOutOfBounds);
            assert_eq!(kind("put", &args), TrapKind::MemoryOutOfBounds);
        }
    }
}

#[test]
fn waiting_on_a_memory_that_is_not_shared_traps_and_nobody_is_there_to_notify() {
    let wat = r#"(module
        (memory 1)
        (func (export "wait") (result i32)
            (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))
        (func (export "notify") (result i32)
            (memory.atomic.notify (i32.const 0) (i32.const 1))))"#;
    for mode in MODES {
        let (mut store, instance) = mode.instance(wat);
        let wait = instance.get_func(&mut store, "wait").unwrap();
        let error = wait.call(&mut store, &[]).unwrap_err();
        assert_eq!(error.kind(), Some(TrapKind::AtomicWaitNonSharedMemory));
        let notify = instance.get_func(&mut store, "notify").unwrap();
        assert_eq!(notify.call(&mut store, &[]).unwrap(), [Val::I32(0)]);
    }
}

#[test]
fn growth_on_one_thread_is_seen_on_the_others() {
    for mode in MODES {
        let engine = mode.engine();
        let module = mode.module(&engine, WAT);
        let memory = SharedMemory::new(&engine, MemoryType::new(1, Some(3)).shared()).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory.clone());
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut store = mode.store(&engine, ());
                let instance = linker.instantiate(&mut store, &module).unwrap();
                let load = instance
                    .get_typed_func::<i32, i32, _>(&mut store, "load")
                    .unwrap();
                let error = load.call(&mut store, 0x1_0000).unwrap_err();
                assert_eq!(error.kind(), Some(TrapKind::MemoryOutOfBounds));
                barrier.wait();
                barrier.wait();
                assert_eq!(load.call(&mut store, 0x1_0000).unwrap(), 5);
            });
            barrier.wait();
            let mut store = mode.store(&engine, ());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let grow = instance
                .get_typed_func::<i32, i32, _>(&mut store, "grow")
                .unwrap();
            assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
            memory.write(0x1_0000, &[5]).unwrap();
            barrier.wait();
        });
        assert_eq!(
            (memory.size(), memory.grow(1).unwrap(), memory.size()),
            (2, 2, 3)
        );
        assert!(memory.grow(1).is_err());
        assert!(memory.write(3 << 16, &[1]).is_err());
        assert!(memory.read((3 << 16) - 1, &mut [0; 2]).is_err());
    }
}

#[test]
fn a_shared_memory_that_a_module_defines_can_be_given_to_other_stores() {
    let definer = r#"(module (memory (export "memory") 1 3 shared))"#;
    for mode in MODES {
        let engine = mode.engine();
        let mut store = mode.store(&engine, ());
        let definer = mode.module(&engine, definer);
        let definer = Linker::new(&engine)
            .instantiate(&mut store, &definer)
            .unwrap();
        let memory = definer.get_shared_memory(&mut store, "memory").unwrap();
        assert!(definer.get_memory(&mut store, "memory").is_none());
        let mut linker = Linker::new(&engine);
        linker.define("m", "memory", memory.clone());
        let mut other = mode.store(&engine, ());
        let module = mode.module(&engine, WAT);
        let instance = linker.instantiate(&mut other, &module).unwrap();
        drop(store);
        let put = instance.get_func(&mut other, "put").unwrap();
        put.call(&mut other, &[Val::I32(4), Val::I32(9)]).unwrap();
        assert_eq!(word(&memory, 4), 9);
    }
}
