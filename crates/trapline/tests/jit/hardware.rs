//! Traps that the hardware finds.

use std::error::Error;

use trapline::{CodeObject, TrapKind, TrapReason, WasmFault};

use trapline_test_support::fault::reported;

use crate::support::{Entry, Guest, JitStore, LinearMemory, frames};

const MEMORY_BYTES: usize = 1 << 16;

/// `%outer` calls `%middle` calls one of the functions below, which traps.
fn guest() -> Guest {
    Guest::new(
        "function %outer(i64, i64, i64) -> i64 tail {
             fn0 = colocated %middle(i64, i64, i64) -> i64 tail
         block0(v0: i64, v1: i64, v2: i64):
         @10 v3 = call fn0(v0, v1, v2)
         @14 v4 = iconst.i64 1
         @18 v5 = iadd v3, v4
         @1c return v5
         }
         function %middle(i64, i64, i64) -> i64 tail {
             fn0 = colocated %divide(i64, i64, i64) -> i64 tail
         block0(v0: i64, v1: i64, v2: i64):
         @20 v3 = call fn0(v0, v1, v2)
         @24 return v3
         }
         function %divide(i64, i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64, v2: i64):
         @30 v3 = sdiv v1, v2
         @34 return v3
         }
         function %unreachable(i64) -> i64 tail {
         block0(v0: i64):
         @40 trap user1
         }
         function %load(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @50 v2 = load.i64 notrap aligned v0
         @54 v3 = iadd v2, v1
         @58 v4 = load.i64 heap_oob v3
         @5c return v4
         }
         function %store(i64, i64, i64) tail {
         block0(v0: i64, v1: i64, v2: i64):
         @60 v3 = load.i64 notrap aligned v0
         @64 v4 = iadd v3, v1
         @68 store heap_oob v2, v4
         @6c return
         }
         function %call_null(i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64):
         @70 v2 = load.i64 user2 v1+16
         @74 return v2
         }
         function %table_entry(i64, i64, i64) -> i64 tail {
         block0(v0: i64, v1: i64, v2: i64):
         @80 v3 = load.i64 notrap aligned v0
         @84 v4 = iadd v3, v1
         @88 v5 = iconst.i64 0
         @8c v9 = iconst.i64 64
             v6 = icmp ult v1, v9
         @90 v7 = select_spectre_guard v6, v4, v5
         @94 v8 = load.i64 user3 v7
         @98 return v8
         }
         function %to_integer(i64, f64) -> i64 tail {
         block0(v0: i64, v1: f64):
         @a0 v2 = fcvt_to_sint.i64 v1
         @a4 return v2
         }",
    )
}

fn store() -> JitStore {
    JitStore::new().with_memory(LinearMemory::new(MEMORY_BYTES))
}

/// What is told of a faulting address in a memory, which starts with a page.
fn told(address: u64) -> u64 {
    reported(address as usize) as u64
}

#[test]
fn an_arithmetic_trap_names_every_frame_once_innermost_first() {
    let (guest, store) = (guest(), store());
    for entry in Entry::BOTH {
        for (arguments, kind) in [
            ([7, 0], TrapKind::IntegerDivisionByZero),
            // On x86_64 and s390x the division instruction itself finds this one.
            ([i64::MIN as u64, -1_i64 as u64], TrapKind::IntegerOverflow),
        ] {
            let trap = store
                .call(entry, &guest, "outer", &arguments)
                .expect_err("no quotient");
            assert_eq!(trap.kind(), Some(kind));
            assert_eq!(trap.to_string(), format!("wasm trap: {kind}"));
            assert_eq!(frames(&trap), ["divide@30", "middle@20", "outer@10"]);
            assert_eq!(trap.wasm_fault, None);
            let TrapReason::Jit {
                pc, faulting_addr, ..
            } = trap.reason
            else {
                panic!("{:?}", trap.reason);
            };
            assert!(guest.code().text().contains(&pc));
            assert_eq!(faulting_addr, None);
        }
        let quotient = store.call(entry, &guest, "outer", &[40, 8]);
        assert_eq!(quotient.expect("a quotient"), 6);
    }
}

#[test]
fn explicit_traps_and_conversions_trap_with_their_kind() {
    let (guest, store) = (guest(), store());
    for entry in Entry::BOTH {
        let trap = store
            .call(entry, &guest, "unreachable", &[])
            .expect_err("reached");
        assert_eq!(trap.kind(), Some(TrapKind::UnreachableCodeReached));
        assert_eq!(frames(&trap), ["unreachable@40"]);

        for (number, kind) in [
            (f64::NAN, TrapKind::BadConversionToInteger),
            (1e300, TrapKind::IntegerOverflow),
        ] {
            let trap = store
                .call(entry, &guest, "to_integer", &[number.to_bits()])
                .expect_err("no integer");
            assert_eq!(trap.kind(), Some(kind));
            assert_eq!(frames(&trap), ["to_integer@a0"]);
        }
    }
}

#[test]
fn a_fault_in_the_guard_region_is_told_in_terms_of_the_guest() {
    let (guest, store) = (guest(), store());
    for entry in Entry::BOTH {
        for address in [MEMORY_BYTES as u64, MEMORY_BYTES as u64 + 0x1234] {
            for (name, arguments, frame) in [
                ("load", &[address] as &[_], "load@58"),
                ("store", &[address, 1], "store@68"),
            ] {
                let trap = store
                    .call(entry, &guest, name, arguments)
                    .expect_err("out of bounds");
                assert_eq!(trap.kind(), Some(TrapKind::MemoryOutOfBounds));
                assert_eq!(frames(&trap), [frame]);
                let fault = WasmFault {
                    memory_size: MEMORY_BYTES as u64,
                    wasm_address: told(address),
                };
                assert_eq!(trap.wasm_fault, Some(fault));
                assert_eq!(
                    trap.source().expect("the fault").to_string(),
                    format!(
                        "memory fault at wasm address {:#x} in linear memory of size 0x10000",
                        told(address)
                    )
                );
            }
        }
        // The last word is inside.
        let last = MEMORY_BYTES as u64 - 8;
        store
            .call(entry, &guest, "store", &[last, 99])
            .expect("in bounds");
        let word = store.call(entry, &guest, "load", &[last]);
        assert_eq!(word.expect("in bounds"), 99);
    }
}

/// Compiled code counts on the page at address 0: what it reads there is no
/// escape from the sandbox, and no memory of the guest either.
#[test]
fn a_fault_in_the_page_at_address_0_is_a_trap_without_a_memory() {
    let (guest, store) = (guest(), store());
    for entry in Entry::BOTH {
        for (name, arguments, kind, address, frame) in [
            (
                "call_null",
                [0, 0],
                TrapKind::IndirectCallToNull,
                0x10,
                "call_null@70",
            ),
            (
                "table_entry",
                [64, 0],
                TrapKind::TableOutOfBounds,
                0,
                "table_entry@94",
            ),
        ] {
            let trap = store
                .call(entry, &guest, name, &arguments)
                .expect_err("nothing there");
            assert_eq!(trap.kind(), Some(kind));
            assert_eq!(trap.wasm_fault, None);
            assert_eq!(frames(&trap), [frame]);
            let TrapReason::Jit { faulting_addr, .. } = trap.reason else {
                panic!("{:?}", trap.reason);
            };
            assert_eq!(
                faulting_addr.map(trapline::VirtualAddress::get),
                Some(reported(address))
            );
        }
    }
}

#[test]
fn a_store_may_take_away_the_cause_and_have_the_instruction_run_again() {
    let guest = guest();
    for entry in Entry::BOTH {
        let store = store();
        store.grow_on_fault(4096);
        let address = MEMORY_BYTES as u64 + 4096;
        for value in [5, 6] {
            store
                .call(entry, &guest, "store", &[address, value])
                .expect("the memory grows");
            let word = store.call(entry, &guest, "load", &[address]);
            assert_eq!(word.expect("in bounds by now"), value);
        }
        assert_eq!(store.grown.get(), 1);
        // No address of a memory: the hook declines, and it is a trap.
        let trap = store
            .call(entry, &guest, "call_null", &[0])
            .expect_err("nothing there");
        assert_eq!(trap.kind(), Some(TrapKind::IndirectCallToNull));
    }
}

#[test]
fn the_second_tenth_and_ten_thousandth_trap_are_like_the_first() {
    let (guest, store) = (guest(), store());
    for entry in Entry::BOTH {
        for count in 1..=10_000 {
            let trap = store
                .call(entry, &guest, "outer", &[1, 0])
                .expect_err("no quotient");
            if [1, 2, 10, 10_000].contains(&count) {
                assert_eq!(trap.kind(), Some(TrapKind::IntegerDivisionByZero));
                assert_eq!(frames(&trap), ["divide@30", "middle@20", "outer@10"]);
            }
        }
        let quotient = store.call(entry, &guest, "outer", &[9, 3]);
        assert_eq!(quotient.expect("a quotient"), 4);
    }
}

/// Exit stubs write where the guest was left, and nobody clears it when the host
/// function returns: a fault afterwards is somewhere else.
#[test]
fn a_trap_after_a_host_call_starts_from_the_trap_and_not_from_the_call() {
    let guest = Guest::new(
        "function %outer(i64) -> i64 tail {
             fn0 = colocated %ask(i64) -> i64 tail
         block0(v0: i64):
         @10 v1 = call fn0(v0)
         @14 trap user1
         }
         function %ask(i64) -> i64 tail {
             fn0 = %host(i64, i64) -> i64 tail
         block0(v0: i64):
         @20 v1 = iconst.i64 1
         @24 v2 = call fn0(v0, v1)
         @28 return v2
         }",
    );
    let store = JitStore::new().with_host(|_, _| Ok(0));
    for entry in Entry::BOTH {
        let trap = store
            .call(entry, &guest, "outer", &[])
            .expect_err("told to trap");
        assert_eq!(frames(&trap), ["outer@14"]);
    }
}
