//! Many threads at once: what a lookup finds covers the address and is alive.
#![cfg(not(loom))]

mod common;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeRegistry, Registration};

/// Writers, each with addresses of its own, and as many readers of all.
const WRITERS: usize = 4;

/// Addresses of a writer.
const SPAN: usize = 0x1000;

/// Writes of each writer.
const WRITES: usize = 4_000;

/// Numbers in no order (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

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
    let mut random = Random(writer as u64 + 77);
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
    let mut random = Random(seed);
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
