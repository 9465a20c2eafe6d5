//! Many threads at once: what a lookup finds covers the address and is alive.
#![cfg(not(loom))]

mod common;

use core::any::Any;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{
    CodeAddress, CodeObject, CodeRef, CodeRegistry, Registration, TrapKind,
};
use trapline_test_support::code::Random;

/// Writers, each with addresses of its own, and as many readers of all.
const WRITERS: usize = 4;

/// Addresses of a writer.
const SPAN: usize = 0x1000;

/// Writes of each writer.
const WRITES: usize = 4_000;

#[test]
fn lookups_find_live_code_that_covers_them_while_addresses_are_reused() {
    let registry: &'static CodeRegistry = Box::leak(Box::default());
    let drops: Arc<AtomicUsize> = Arc::default();
    let done = AtomicBool::new(false);
    // In front of all others, and never removed.
    let _always = registry.register(Code::new(0..SPAN)).expect("free");

    let made: usize = thread::scope(|scope| {
        for reader in 0..WRITERS {
            let done = &done;
            scope.spawn(move || read(registry, done, reader as u64 + 1));
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let drops = Arc::clone(&drops);
                scope.spawn(move || write(registry, &drops, writer))
            })
            .collect();
        let made = writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"))
            .sum();
        done.store(true, SeqCst);
        made
    });

    assert_eq!(registry.reclaim(), 0);
    assert_eq!(drops.load(SeqCst), made, "all is dropped, and once");
}

/// Registers and removes; returns how many code objects it made.
fn write(registry: &'static CodeRegistry, drops: &Arc<AtomicUsize>, writer: usize) -> usize {
    let mut random = Random::new(writer as u64 + 77);
    let base = (writer + 1) * SPAN;
    let mut registrations: Vec<Registration> = Vec::new();
    let mut made = 0;
    for _ in 0..WRITES {
        if random.below(3) > 0 {
            let start = base + random.below(SPAN - 64);
            let text = start..start + 1 + random.below(63);
            made += 1;
            if let Ok(registration) = registry.register(Code::counted(text, drops)) {
                let pc = registration.text().start;
                assert!(registry.lookup(pc).is_some(), "registered, so found");
                registrations.push(registration);
            }
        } else if !registrations.is_empty() {
            let registration = registrations.swap_remove(random.below(registrations.len()));
            let pc = registration.text().start;
            drop(registration);
            assert!(registry.lookup(pc).is_none(), "removed, so not found");
        }
    }
    made
}

/// Looks up until done, with up to three guards at a time.
fn read(registry: &'static CodeRegistry, done: &AtomicBool, seed: u64) {
    let mut random = Random::new(seed);
    let mut kept = [const { None }; 3];
    let mut turn = 0;
    while !done.load(SeqCst) {
        turn += 1;
        let pc = random.below((WRITERS + 2) * SPAN);
        let found = registry.lookup(VirtualAddress::new(pc));
        assert!(found.is_some() || pc >= SPAN, "always there");
        assert!(found.is_none() || pc < (WRITERS + 1) * SPAN, "never there");
        kept[turn % kept.len()] = found.map(|(code, offset)| (code, offset, pc));
        for (code, offset, pc) in kept.iter().flatten() {
            code.as_any()
                .downcast_ref::<Code>()
                .expect("registered as such")
                .assert_alive_with(*pc);
            assert_eq!(code.text().start.get() + offset, *pc);
        }
    }
}

/// Code at an address that has had other code before, and will have.
struct Tenant {
    address: usize,
    /// Counts the tenants of this address, from 1.
    nth: AtomicUsize,
    drops: Arc<AtomicUsize>,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.nth.store(0, SeqCst);
        self.drops.fetch_add(1, SeqCst);
    }
}

// SAFETY: made up: nothing is executed in its range, which stays as it is. What handlers call
// reads only what is there.
unsafe impl CodeObject for Tenant {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(self.address)..VirtualAddress::new(self.address + TENANT_SIZE)
    }

    fn lookup_trap_code(&self, _text_offset: usize) -> Option<TrapKind> {
        None
    }

    fn lookup_address(&self, _text_offset: usize) -> Option<CodeAddress> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Bytes of a tenant's code. The addresses of tenants touch.
const TENANT_SIZE: usize = 16;

/// Which of the tenants of its address this is; it must be alive, and own `pc`.
fn tenant(code: &CodeRef, pc: usize) -> usize {
    let tenant = code.as_any().downcast_ref::<Tenant>();
    let tenant = tenant.expect("registered as such");
    assert!((tenant.address..tenant.address + TENANT_SIZE).contains(&pc));
    let nth = tenant.nth.load(SeqCst);
    assert_ne!(nth, 0, "dropped");
    nth
}

#[test]
fn an_address_that_changes_hands_never_goes_back_to_an_earlier_owner() {
    /// Addresses, so few that readers meet each one in all states. A few hundred more ranges
    /// beside them make a tree of two levels, whose nodes they share.
    const ADDRESSES: usize = 8;
    const FIRST: usize = 0x10_0000;
    let registry: &'static CodeRegistry = Box::leak(Box::default());
    let drops: Arc<AtomicUsize> = Arc::default();
    let done = AtomicBool::new(false);
    let pc_of = |address: usize| FIRST + address * TENANT_SIZE;
    let others: Vec<Registration> = (0..200)
        .map(|i| {
            let start = if i % 2 == 0 { 0 } else { pc_of(ADDRESSES) } + i * TENANT_SIZE;
            registry
                .register(Code::new(start..start + TENANT_SIZE))
                .expect("free")
        })
        .collect();

    let seen = thread::scope(|scope| {
        let readers: Vec<_> = (1..=WRITERS as u64)
            .map(|seed| {
                let done = &done;
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    let mut latest = [0; ADDRESSES];
                    let mut kept: Option<(CodeRef, usize, usize)> = None;
                    let mut seen = 0;
                    while !done.load(SeqCst) {
                        let address = random.below(ADDRESSES);
                        let pc = pc_of(address) + random.below(TENANT_SIZE);
                        let found = registry.lookup(VirtualAddress::new(pc));
                        if let Some((code, nth, pc)) = &kept {
                            assert_eq!(tenant(code, *pc), *nth, "kept as it was");
                        }
                        let Some((code, offset)) = found else {
                            continue;
                        };
                        assert_eq!(offset, pc - pc_of(address));
                        let nth = tenant(&code, pc);
                        assert!(nth >= latest[address], "{nth} after {}", latest[address]);
                        seen += usize::from(nth > latest[address]);
                        latest[address] = nth;
                        if random.below(4) == 0 {
                            kept = Some((code, nth, pc));
                        }
                    }
                    seen
                })
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let drops = &drops;
                scope.spawn(move || {
                    let mut current = [const { None }; ADDRESSES / 2];
                    for turn in 0..2 * WRITES {
                        let which = turn % current.len();
                        let address = writer + 2 * which;
                        let pc = VirtualAddress::new(pc_of(address));
                        current[which] = None;
                        assert!(registry.lookup(pc).is_none(), "removed, so not found");
                        let registration = registry.register(Arc::new(Tenant {
                            address: pc.get(),
                            nth: AtomicUsize::new(turn + 1),
                            drops: Arc::clone(drops),
                        }));
                        current[which] = Some(registration.expect("just left"));
                        let (code, _) = registry.lookup(pc).expect("registered, so found");
                        assert_eq!(tenant(&code, pc.get()), turn + 1);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("no panic");
        }
        done.store(true, SeqCst);
        readers
            .into_iter()
            .map(|reader| reader.join().expect("no panic"))
            .sum::<usize>()
    });

    assert!(seen > ADDRESSES, "readers saw addresses change hands");
    assert_eq!(registry.reclaim(), 0);
    assert_eq!(
        drops.load(SeqCst),
        2 * 2 * WRITES,
        "all are dropped, and once"
    );
    drop(others);
}
