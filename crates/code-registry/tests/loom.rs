//! Model checks: every interleaving and every permitted reordering of a few
//! threads that look up, register, remove and reclaim.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p trapline-code-registry --release --test loom
//! ```
//!
//! In a model the registry has one stripe with two slots, and nodes of seven
//! keys. The checker sees every read of a node and of a code object, and fails
//! unless each one happens before the node is freed, or the object dropped.
#![cfg(loom)]

use core::any::Any;
use core::ops::Range;

use loom::cell::UnsafeCell;
use loom::sync::Arc as LoomArc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;
use std::sync::Arc;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{
    CodeAddress, CodeObject, CodeRef, CodeRegistry, Registration, TrapKind,
};

/// Code with a cell that lookups read and its end writes.
struct Code {
    text: Range<usize>,
    ended: UnsafeCell<bool>,
    drops: LoomArc<AtomicUsize>,
}

// SAFETY: the cell is only read until the object is dropped; if that did not
// hold, the checker would say so.
unsafe impl Sync for Code {}

impl Code {
    fn check(&self) {
        // SAFETY: the checker fails the model if the drop runs concurrently.
        self.ended.with(|ended| assert!(!unsafe { *ended }));
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the checker fails the model if a read runs concurrently.
        self.ended.with_mut(|ended| unsafe { *ended = true });
        self.drops.fetch_add(1, SeqCst);
    }
}

// SAFETY: made up: nothing is executed in its range, which stays as it is. What handlers call
// reads only what is there.
unsafe impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(self.text.start)..VirtualAddress::new(self.text.end)
    }

    fn lookup_trap_code(&self, _text_offset: usize) -> Option<TrapKind> {
        self.check();
        None
    }

    fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Clone)]
struct World {
    registry: &'static CodeRegistry,
    drops: LoomArc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        Self {
            registry: Box::leak(Box::new(CodeRegistry::new())),
            drops: LoomArc::new(AtomicUsize::new(0)),
        }
    }

    fn code(&self, text: Range<usize>) -> Arc<Code> {
        Arc::new(Code {
            text,
            ended: UnsafeCell::new(false),
            drops: LoomArc::clone(&self.drops),
        })
    }

    fn register(&self, text: Range<usize>) -> Registration {
        self.registry.register(self.code(text)).unwrap()
    }

    /// Looks `pc` up and checks what was found, if anything.
    fn look(&self, pc: usize) -> Option<CodeRef> {
        let (code, offset) = self.registry.lookup(VirtualAddress::new(pc))?;
        code.lookup_trap_code(offset);
        assert_eq!(code.text().start.get() + offset, pc);
        Some(code)
    }

    fn drops(&self) -> usize {
        self.drops.load(SeqCst)
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn a_lookup_finds_live_code_or_none_while_it_is_removed() {
    model(|| {
        let world = World::new();
        let registration = world.register(16..32);
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                if let Some(code) = world.look(16) {
                    code.lookup_trap_code(0);
                }
            })
        };
        drop(registration);
        assert!(world.look(16).is_none());
        reader.join().unwrap();
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 1);
    });
}

#[test]
fn a_lookup_finds_what_was_there_before_while_another_is_registered() {
    model(|| {
        let world = World::new();
        let _first = world.register(16..32);
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.look(20).is_some());
                let _ = world.look(40);
            })
        };
        let _second = world.register(32..48);
        assert!(world.look(40).is_some());
        reader.join().unwrap();
    });
}

#[test]
fn a_lookup_in_a_tree_of_several_nodes_survives_their_split_and_join() {
    model(|| {
        let world = World::new();
        let mut registrations: Vec<_> = (0..7)
            .map(|i| world.register(16 * i..16 * i + 16))
            .collect();
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                assert!(world.look(20).is_some());
                assert!(world.look(70).is_some());
            })
        };
        registrations.push(world.register(112..128));
        drop(registrations.drain(5..));
        assert!(world.look(120).is_none());
        world.registry.reclaim();
        reader.join().unwrap();
    });
}

#[test]
fn an_address_that_is_reused_belongs_to_its_old_or_its_new_owner() {
    model(|| {
        let world = World::new();
        let old = world.register(16..32);
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                let _ = world.look(24);
                let _ = world.look(24);
            })
        };
        drop(old);
        let new = world.register(20..30);
        assert!(world.look(24).is_some());
        reader.join().unwrap();
        drop(new);
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 2);
    });
}

#[test]
fn a_guard_keeps_its_code_from_a_removal_and_from_a_reclaim() {
    model(|| {
        let world = World::new();
        let registration = world.register(16..32);
        let guard = world.look(20).unwrap();
        let writer = {
            let world = world.clone();
            thread::spawn(move || {
                drop(registration);
                world.registry.reclaim();
            })
        };
        guard.lookup_trap_code(4);
        drop(guard);
        writer.join().unwrap();
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 1);
    });
}

#[test]
fn readers_beyond_the_slots_are_waited_for_too() {
    model(|| {
        let world = World::new();
        let _other = world.register(64..80);
        let registration = world.register(16..32);
        // Both slots of the model are taken, so the next lookups count.
        let guards = [world.look(64).unwrap(), world.look(64).unwrap()];
        let reader = {
            let world = world.clone();
            thread::spawn(move || {
                if let Some(code) = world.look(20) {
                    code.lookup_trap_code(4);
                }
            })
        };
        drop(registration);
        world.registry.reclaim();
        reader.join().unwrap();
        drop(guards);
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 1);
    });
}

#[test]
fn two_writers_leave_what_each_of_them_left() {
    model(|| {
        let world = World::new();
        let first = world.register(16..32);
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                let second = world.register(32..48);
                assert!(world.look(32).is_some());
                second
            })
        };
        drop(first);
        assert!(world.look(16).is_none());
        let second = other.join().unwrap();
        assert!(world.look(40).is_some());
        drop(second);
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 2);
    });
}

#[test]
fn two_readers_in_one_stripe_are_both_waited_for() {
    model(|| {
        let world = World::new();
        let registration = world.register(16..32);
        let readers = [(), ()].map(|()| {
            let world = world.clone();
            thread::spawn(move || {
                let _ = world.look(20);
            })
        });
        drop(registration);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 1);
    });
}

#[test]
fn what_earlier_readers_of_a_slot_did_is_over_when_a_later_one_is_seen() {
    model(|| {
        let world = World::new();
        let _other = world.register(64..80);
        let registration = world.register(16..32);
        let readers = [20, 64].map(|pc| {
            let world = world.clone();
            thread::spawn(move || {
                let found = world.look(pc);
                assert!(found.is_some() || pc == 20);
            })
        });
        drop(registration);
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(world.registry.reclaim(), 0);
        assert_eq!(world.drops(), 1);
    });
}
