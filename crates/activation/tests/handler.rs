//! What `handle_wasm_exception` says of an exception, and what comes of it.
#![cfg(feature = "std")]

mod support;

use core::ops::ControlFlow;
use std::cell::Cell;
use std::error::Error;

use proptest::prelude::*;
use support::{
    FakeStore, Fault, MEMORY_SIZE, OldStyleStore, Program, WAYS_IN, decide, no_trap_pc,
    register_guest, run, trap_in, trap_pc, trap_pcs, unchanged,
};
use trapline_activation::{
    FaultVerdict, GuestFault, Interrupted, Outcome, SandboxEscape, TrapReason, catch_traps,
    handle_wasm_exception_with,
};
use trapline_arch::{FP_ALIGN, VirtualAddress, detour, stack_pointer};
use trapline_code_registry::TrapKind;

fn at(address: usize) -> VirtualAddress {
    VirtualAddress::new(address)
}

const NOT_OURS: ControlFlow<Outcome> = ControlFlow::Continue(());

/// Calls `f` with the frame pointer of a guest that called the host.
fn in_a_guest(store: &FakeStore, f: impl Fn(VirtualAddress)) {
    let look = || {
        let words = store.words();
        // The exit trampoline's, which is on the guest's side.
        f(at(words.exit_fp));
        Ok(())
    };
    run(store, &Program::new().frames(2).host(&look)).unwrap();
}

#[test]
fn a_fault_at_code_that_nobody_registered_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    let host_code = run::<FakeStore> as *const () as usize;
    in_a_guest(&store, |fp| {
        for pc in [0, 1, host_code, 1 << 63, usize::MAX] {
            assert_eq!(decide(at(pc), fp, Some(at(store.memory.start))), NOT_OURS);
            assert_eq!(decide(at(pc), fp, None), NOT_OURS);
        }
    });
}

#[test]
fn a_fault_at_an_instruction_without_trap_entry_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    in_a_guest(&store, |fp| {
        for pc in [no_trap_pc(), trap_pc() - 1, trap_pc() + 1] {
            assert_eq!(decide(at(pc), fp, Some(at(store.memory.start))), NOT_OURS);
        }
    });
}

#[test]
fn interrupted_code_is_not_looked_at_before_this_is_a_trap_site() {
    register_guest();
    let not_asked = |_| -> Interrupted { panic!("looked at") };
    for pc in [0, run::<FakeStore> as *const () as usize, no_trap_pc()] {
        // SAFETY: nothing comes of it: nobody's trap.
        let decision = unsafe { handle_wasm_exception_with(at(pc), not_asked) };
        assert_eq!(decision, NOT_OURS);
    }
}

#[test]
fn whoever_looks_at_interrupted_code_is_told_the_trap() {
    register_guest();
    let store = FakeStore::new();
    in_a_guest(&store, |fp| {
        let told = Cell::new(None);
        let tell = |trap| {
            told.set(Some(trap));
            // The entry trampoline's: not ours.
            Interrupted {
                fp: at(store.words().entry_fp),
                faulting_addr: None,
            }
        };
        assert!(fp < at(store.words().entry_fp));
        // SAFETY: nothing comes of it: nobody's trap.
        let decision = unsafe { handle_wasm_exception_with(at(trap_pc()), tell) };
        assert_eq!(decision, NOT_OURS);
        assert_eq!(told.get(), Some(TrapKind::MemoryOutOfBounds));
    });
}

#[test]
fn a_fault_without_an_activation_is_not_ours() {
    register_guest();
    let fp = at(stack_pointer().get() & !15);
    assert_eq!(decide(at(trap_pc()), fp, None), NOT_OURS);
    // Nor with one of another thread.
    let store = FakeStore::new();
    in_a_guest(&store, |fp| {
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(decide(at(trap_pc()), fp, None), NOT_OURS));
        });
    });
}

#[test]
fn a_fault_in_a_frame_outside_of_the_guest_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    in_a_guest(&store, |fp| {
        let entry_fp = store.words().entry_fp;
        let pc = at(trap_pc());
        for wrong in [
            // The entry trampoline's, and the host's beyond.
            entry_fp,
            entry_fp + 16,
            usize::MAX - 15,
            // Misaligned.
            fp.get() + 1,
            fp.get() + FP_ALIGN / 2,
        ] {
            assert_eq!(decide(pc, at(wrong), None), NOT_OURS, "{wrong:#x}");
        }
    });
}

#[test]
fn a_fault_before_the_guest_was_entered_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    let fp = at(stack_pointer().get() & !15);
    // Where a guest would be that the function which asks has entered.
    let below = || at((stack_pointer().get() & !15) - 4096);
    catch_traps(&store, |_| {
        assert_eq!(decide(at(trap_pc()), fp, None), NOT_OURS);
        assert_eq!(decide(at(trap_pc()), below(), None), NOT_OURS);
    })
    .unwrap();
    // Nor if the store was entered before, further out.
    in_a_guest(&store, |_| {
        catch_traps(&store, |_| {
            assert_eq!(decide(at(trap_pc()), below(), None), NOT_OURS);
        })
        .unwrap();
    });
}

#[test]
fn a_fault_while_the_guest_is_being_left_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    in_a_guest_that_fails(&store, |fp| {
        assert_eq!(decide(at(trap_pc()), fp, None), NOT_OURS);
    });
}

/// Calls `f` as [`in_a_guest`] does, after a reason to leave was recorded.
fn in_a_guest_that_fails(store: &FakeStore, f: impl Fn(VirtualAddress)) {
    let look = || {
        trapline_activation::record_trap(TrapKind::OutOfFuel);
        f(at(store.words().exit_fp));
        Ok(())
    };
    let trap = run(store, &Program::new().frames(2).host(&look)).unwrap_err();
    assert_eq!(trap.kind(), Some(TrapKind::OutOfFuel));
}

#[test]
fn a_second_fault_before_the_first_was_dealt_with_is_not_ours() {
    register_guest();
    let store = FakeStore::new();
    let fault = Fault::without_address();
    let again = || {
        let fp = at(store.words().exit_fp);
        // The first one's outcome is thrown away here, so that the activation
        // keeps the note; a handler that faults after it must not loop.
        assert!(decide(at(trap_pc()), fp, None).is_break());
        assert_eq!(decide(at(trap_pc()), fp, None), NOT_OURS);
        Ok(())
    };
    run(&store, &Program::new().frames(1).host(&again)).unwrap();
    // The next activation is none the worse for it.
    run(&store, &Program::new().trap(&fault)).unwrap_err();
}

#[test]
fn a_memory_fault_comes_back_with_address_kind_and_wasm_fault() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        for offset in [0, 1, MEMORY_SIZE - 1, MEMORY_SIZE, 2 * MEMORY_SIZE - 1] {
            let address = store.memory.start + offset;
            let fault = Fault::at_address(address);
            let program = Program::new().frames(3).trap(&fault);
            let trap = unchanged(&[&store], || way_in(&store, &program)).unwrap_err();
            let TrapReason::Jit {
                pc,
                faulting_addr,
                trap: kind,
            } = trap.reason
            else {
                panic!("{:?}", trap.reason);
            };
            assert_eq!(pc, at(trap_pc()));
            assert_eq!(faulting_addr, Some(at(address)));
            assert_eq!(kind, TrapKind::MemoryOutOfBounds);
            let wasm_fault = trap.wasm_fault.expect("WasmFault is filled in");
            assert_eq!(wasm_fault.memory_size, MEMORY_SIZE as u64);
            assert_eq!(wasm_fault.wasm_address, offset as u64);
            assert_eq!(
                trap.source().unwrap().to_string(),
                format!(
                    "memory fault at wasm address {offset:#x} in linear memory of size 0x10000"
                )
            );
            assert_eq!(trap.to_string(), "wasm trap: out of bounds memory access");
            assert_eq!(trap_pcs(&trap), trap_in(3));
        }
    }
}

#[test]
fn a_fault_without_address_comes_back_without_wasm_fault() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        let fault = Fault::without_address();
        let trap = way_in(&store, &Program::new().trap(&fault)).unwrap_err();
        assert!(trap.wasm_fault.is_none());
        assert!(matches!(
            trap.reason,
            TrapReason::Jit {
                faulting_addr: None,
                ..
            }
        ));
    }
}

#[test]
fn a_fault_in_the_page_at_address_zero_is_a_trap_without_wasm_fault() {
    register_guest();
    for address in [0, 0x10, 4095] {
        let store = FakeStore::new();
        let fault = Fault::at_address(address);
        let trap = run(&store, &Program::new().frames(1).trap(&fault)).unwrap_err();
        assert!(trap.wasm_fault.is_none());
        assert_eq!(trap_pcs(&trap), trap_in(1));
    }
}

#[test]
fn a_fault_outside_of_all_memories_is_a_sandbox_escape() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        for address in [
            4096,
            store.memory.start - 1,
            store.memory.end,
            1 << 63,
            usize::MAX,
        ] {
            let fault = Fault::at_address(address);
            let program = Program::new().frames(1).trap(&fault);
            // The test's "handler" goes on with the guest, which returns.
            unchanged(&[&store], || way_in(&store, &program)).unwrap();
            let escape = SandboxEscape {
                pc: at(trap_pc()),
                faulting_addr: at(address),
                trap: TrapKind::MemoryOutOfBounds,
            };
            let decision = fault.decision.get().unwrap();
            assert_eq!(decision, ControlFlow::Break(Outcome::SandboxEscape(escape)));
            assert_eq!(
                escape.to_string(),
                format!(
                    "guest fault outside all memories of its store: address {address:#x}, \
                     pc {:#x}, at a trap site for: out of bounds memory access",
                    trap_pc()
                )
            );
        }
    }
}

#[test]
fn a_fault_in_the_memory_of_another_store_is_a_sandbox_escape() {
    register_guest();
    let (a, mut b) = (FakeStore::new(), FakeStore::new());
    b.memory = a.memory.end..a.memory.end + MEMORY_SIZE;
    let fault = Fault::at_address(a.memory.start);
    let in_b = Program::new().trap(&fault);
    let call_b = || {
        run(&b, &in_b).unwrap();
        Ok(())
    };
    run(&a, &Program::new().frames(1).host(&call_b)).unwrap();
    assert!(matches!(
        fault.decision.get(),
        Some(ControlFlow::Break(Outcome::SandboxEscape(_)))
    ));
}

std::thread_local! {
    static HOOKED: Cell<Option<GuestFault>> = const { Cell::new(None) };
}

#[test]
fn a_fault_that_the_stores_hook_handles_is_to_be_retried() {
    register_guest();
    for way_in in WAYS_IN {
        let store = FakeStore::new();
        store.hook.set(|fault| {
            HOOKED.set(Some(*fault));
            FaultVerdict::Handled
        });
        // Even where it would be an escape: the hook knows more.
        for fault in [
            Fault::at_address(store.memory.start),
            Fault::at_address(store.memory.end),
            Fault::without_address(),
        ] {
            let program = Program::new().frames(1).trap(&fault);
            way_in(&store, &program).unwrap();
            let decision = fault.decision.get().unwrap();
            assert_eq!(decision, ControlFlow::Break(Outcome::Retry));
            let (pc, fp) = fault.at.get().unwrap();
            let expected = GuestFault {
                pc,
                fp,
                faulting_addr: fault.faulting_addr,
                trap: TrapKind::MemoryOutOfBounds,
            };
            assert_eq!(HOOKED.take(), Some(expected));
        }
        // Nothing was noted: the next fault is an ordinary one.
        store.hook.set(|_| FaultVerdict::NotHandled);
        let fault = Fault::at_address(store.memory.start);
        way_in(&store, &Program::new().trap(&fault)).unwrap_err();
    }
}

#[test]
fn the_hook_is_not_asked_about_faults_that_are_not_the_guests() {
    register_guest();
    let store = FakeStore::new();
    store.hook.set(|_| panic!("asked"));
    in_a_guest(&store, |fp| {
        assert_eq!(decide(at(no_trap_pc()), fp, None), NOT_OURS);
        let entry_fp = at(store.words().entry_fp);
        assert_eq!(decide(at(trap_pc()), entry_fp, None), NOT_OURS);
    });
}

#[test]
fn a_resume_leads_below_the_frame_that_trapped_with_its_frame_pointer() {
    register_guest();
    let store = FakeStore::new();
    let fault = Fault::without_address();
    run(&store, &Program::new().frames(1).trap(&fault)).unwrap_err();
    let Some(ControlFlow::Break(Outcome::Resume(resume))) = fault.decision.get() else {
        panic!("{:?}", fault.decision);
    };
    let (_, fp) = fault.at.get().unwrap();
    extern "C" fn anything(_: usize) -> ! {
        unreachable!()
    }
    let detour = detour(fp, anything, 0);
    assert_eq!(
        (resume.pc, resume.sp, resume.fp),
        (detour.pc, detour.sp, fp.get())
    );
    assert!(resume.sp <= fp.get());
}

#[test]
fn a_store_without_landing_pad_is_left_for_the_saved_context() {
    register_guest();
    let store = OldStyleStore(FakeStore::new());
    let fault = Fault::at_address(store.0.memory.start + 7);
    let program = Program::old_style().frames(4).trap(&fault);
    let trap = run(&store, &program).unwrap_err();
    assert_eq!(trap.wasm_fault.unwrap().wasm_address, 7);
    assert_eq!(trap_pcs(&trap), trap_in(4));
}

#[test]
fn a_trap_in_a_nested_store_leaves_the_outer_one_working() {
    register_guest();
    for way_in in WAYS_IN {
        let (a, b) = (FakeStore::new(), FakeStore::new());
        let fault = Fault::at_address(b.memory.start);
        let in_b = Program::new().frames(2).trap(&fault);
        let runs = Cell::new(0);
        let call_b = || {
            for _ in 0..10 {
                unchanged(&[&a, &b], || way_in(&b, &in_b)).unwrap_err();
                runs.set(runs.get() + 1);
            }
            Ok(())
        };
        let ok = || Ok(());
        let program = Program::new().host_then(&call_b).host_then(&ok).nothing();
        way_in(&a, &program).unwrap();
        assert_eq!(runs.get(), 10);
    }
}

#[test]
fn traps_on_many_threads_at_once_are_each_their_own() {
    register_guest();
    std::thread::scope(|scope| {
        for id in 0..4_usize {
            scope.spawn(move || {
                let store = FakeStore::new();
                for i in 0..2_000 {
                    let offset = (id * 1000 + i) % MEMORY_SIZE;
                    let fault = Fault::at_address(store.memory.start + offset);
                    let program = Program::new().frames(id + 1).trap(&fault);
                    let trap = run(&store, &program).unwrap_err();
                    assert_eq!(trap.wasm_fault.unwrap().wasm_address, offset as u64);
                    assert_eq!(trap_pcs(&trap), trap_in(id + 1));
                }
            });
        }
    });
}

/// Addresses that a careless handler trips over.
fn any_address(store: &FakeStore, fp: VirtualAddress) -> impl Strategy<Value = usize> {
    let memory = store.memory.clone();
    let (fp, entry_fp) = (fp.get(), store.words().entry_fp);
    prop_oneof![
        any::<usize>(),
        Just(0),
        Just(usize::MAX),
        Just(trap_pc()),
        Just(no_trap_pc()),
        (0..64_usize).prop_map(|i| trap_pc() - 32 + i),
        (0..64_usize).prop_map(move |i| fp - 32 + i),
        (0..64_usize).prop_map(move |i| entry_fp - 32 + i),
        memory,
    ]
}

/// Regression: a handler of an earlier system asserted what it was given.
#[test]
fn no_registers_make_the_handler_panic() {
    register_guest();
    let store = FakeStore::new();
    let ours = Cell::new(0);
    let outermost = stack_pointer().get();
    in_a_guest(&store, |fp| {
        let address = || any_address(&store, fp);
        let config = ProptestConfig::with_cases(2_000);
        proptest!(config, |(pc in address(), fp in address(), addr in address(), has_addr: bool)| {
            // An activation of its own, since one notes one fault.
            let store = &store;
            catch_traps(store, |_| {
                let mut words = store.words();
                // Pretend that the guest was entered right here.
                words.entry_fp = stack_pointer().get() & !15;
                store.set_words(words);
                let decision = decide(at(pc), at(fp), has_addr.then_some(at(addr)));
                if let ControlFlow::Break(outcome) = decision {
                    ours.set(ours.get() + 1);
                    assert_eq!(pc, trap_pc());
                    assert!(fp.is_multiple_of(FP_ALIGN));
                    if fp >= words.entry_fp {
                        // Of the outer guest, which can't run before this one is left: to a message.
                        assert!(fp < outermost && matches!(outcome, Outcome::Resume(_)));
                    }
                    if let Outcome::SandboxEscape(_) = outcome {
                        assert!(has_addr && addr >= 4096 && !store.memory.contains(&addr));
                    }
                }
            }).unwrap();
        });
    });
    assert_ne!(ours.get(), 0, "some are traps");
}
