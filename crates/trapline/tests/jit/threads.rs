//! Many threads.

use std::error::Error;
use std::sync::{Arc, Barrier};
use std::thread;

use trapline::TrapKind;
use trapline_test_support::fault::reported;

use crate::support::{Entry, Guest, JitStore, LinearMemory, frames};

const THREADS: usize = 8;
const ROUNDS: u64 = 500;

fn guest() -> Guest {
    Guest::new(
        "function %divide(i64, i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64, v2: i64):
         @10 v3 = udiv v1, v2
         @14 return v3
         }
         function %load(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @20 v2 = load.i64 notrap aligned v0
         @24 v3 = iadd v2, v1
         @28 v4 = load.i64 heap_oob v3
         @2c return v4
         }
         function %ask(i64, i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64, v1: i64):
         @30 v2 = call fn0(v0, v1)
         @34 return v2
         }",
    )
}

fn trap_in_every_way(store: &JitStore, guest: &Guest, round: u64) {
    for entry in Entry::BOTH {
        let trap = store
            .call(entry, guest, "divide", &[round, 0])
            .expect_err("no quotient");
        assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
        assert_eq!(frames(&trap), ["divide@10"]);

        let address = 4096 + round;
        let trap = store
            .call(entry, guest, "load", &[address])
            .expect_err("out of bounds");
        let fault = trap.wasm_fault.expect("a memory fault");
        // The memory starts with a page.
        assert_eq!(fault.wasm_address, reported(address as usize) as u64);
        assert_eq!(frames(&trap), ["load@28"]);

        let trap = store
            .call(entry, guest, "ask", &[round])
            .expect_err("the host fails");
        let source = trap.source().expect("the host's error");
        assert_eq!(source.to_string(), round.to_string());
        assert_eq!(frames(&trap), ["ask@30"]);
    }
}

fn store() -> JitStore {
    JitStore::new()
        .with_memory(LinearMemory::new(4096))
        .with_host(|_, round| Err(anyhow::anyhow!("{round}").into()))
}

#[test]
fn threads_trap_at_once_each_in_its_own_store() {
    let guest = Arc::new(guest());
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS as u64)
        .map(|thread| {
            let (guest, start) = (Arc::clone(&guest), Arc::clone(&start));
            thread::spawn(move || {
                let store = store();
                start.wait();
                for round in 0..ROUNDS {
                    trap_in_every_way(&store, &guest, thread * ROUNDS + round);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn a_store_may_move_from_thread_to_thread() {
    struct Moved(JitStore);
    // SAFETY: the host function has captured nothing, and whoever has the store
    // has all of it.
    unsafe impl Send for Moved {}

    let guest = Arc::new(guest());
    let mut moved = Moved(store());
    for round in 0..20 {
        let guest = Arc::clone(&guest);
        moved = thread::spawn(move || {
            let moved = moved;
            trap_in_every_way(&moved.0, &guest, round);
            moved
        })
        .join()
        .expect("no panic");
    }
    trap_in_every_way(&moved.0, &guest, 20);
}
