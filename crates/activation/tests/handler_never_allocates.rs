//! The handler's decision allocates nothing and frees nothing, whatever it is:
//! the allocator of this test program refuses to work for it.
#![cfg(feature = "std")]

mod support;

use core::cell::Cell;
use core::ops::ControlFlow;

use support::{
    FakeStore, Fault, Program, WAYS_IN, decide, in_handler, no_trap_pc, register_guest, run,
    trap_in, trap_pc, trap_pcs, unregister_guest,
};
use trapline_activation::{FaultVerdict, Outcome};
use trapline_arch::VirtualAddress;
use trapline_test_support::allocator::Watched;

std::thread_local! {
    static USES_IN_HANDLERS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what a handler does with the allocator.
fn note() {
    if in_handler() {
        USES_IN_HANDLERS.set(USES_IN_HANDLERS.get() + 1);
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched(note);

fn at(address: usize) -> VirtualAddress {
    VirtualAddress::new(address)
}

#[test]
fn no_decision_allocates_or_frees() {
    // On a thread on which nothing has run before.
    std::thread::spawn(|| {
        let not_ours = ControlFlow::Continue(());
        register_guest();
        assert_eq!(decide(at(1), at(2), Some(at(3))), not_ours);
        assert_eq!(decide(at(trap_pc()), at(0), None), not_ours);
        assert_eq!(decide(at(no_trap_pc()), at(0), None), not_ours);
        assert_eq!(USES_IN_HANDLERS.get(), 0);

        let store = FakeStore::new();
        for way_in in WAYS_IN {
            // Resume; after which capturing allocates, in normal context.
            let fault = Fault::at_address(store.memory.start);
            let trap = way_in(&store, &Program::new().frames(2).trap(&fault)).unwrap_err();
            assert_eq!(trap_pcs(&trap), trap_in(2));
            assert_eq!(USES_IN_HANDLERS.get(), 0);

            // An escape.
            let fault = Fault::at_address(store.memory.end);
            way_in(&store, &Program::new().frames(2).trap(&fault)).unwrap();
            assert!(matches!(
                fault.decision.get(),
                Some(ControlFlow::Break(Outcome::SandboxEscape(_)))
            ));
            assert_eq!(USES_IN_HANDLERS.get(), 0);

            // A retry.
            store.hook.set(|_| FaultVerdict::Handled);
            way_in(&store, &Program::new().frames(2).trap(&fault)).unwrap();
            assert_eq!(
                fault.decision.get(),
                Some(ControlFlow::Break(Outcome::Retry))
            );
            store.hook.set(|_| FaultVerdict::NotHandled);
            assert_eq!(USES_IN_HANDLERS.get(), 0);
        }

        // Code that is gone, and whose memory waits for readers to finish.
        let gone = || {
            unregister_guest();
            let fp = at(store.words().exit_fp);
            assert_eq!(decide(at(trap_pc()), fp, None), ControlFlow::Continue(()));
            register_guest();
            Ok(())
        };
        run(&store, &Program::new().frames(1).host(&gone)).unwrap();
        assert_eq!(USES_IN_HANDLERS.get(), 0);
    })
    .join()
    .unwrap();
}

#[test]
fn the_allocator_sees_what_it_is_there_to_see() {
    support::as_handler(|| drop(std::hint::black_box(Box::new(5))));
    let seen = USES_IN_HANDLERS.take();
    assert_eq!(seen, 2);
}
