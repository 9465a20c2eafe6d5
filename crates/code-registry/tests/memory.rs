//! The memory of a registry is proportional to the ranges in it.
#![cfg(not(loom))]

use core::any::Any;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;

use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeAddress, CodeObject, CodeRegistry, Registration, TrapKind};

/// Bytes that are allocated.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts.
struct Counting;

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), SeqCst);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), SeqCst);
        // SAFETY: from `alloc`, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a registry may keep for its next writes.
const KEPT: usize = 64 << 10;

/// Code that exists by its range only.
struct Code(usize);

// SAFETY: made up: nothing is executed in its range, which stays as it is. What handlers call
// reads only what is there.
unsafe impl CodeObject for Code {
    fn text(&self) -> Range<VirtualAddress> {
        VirtualAddress::new(self.0)..VirtualAddress::new(self.0 + 32)
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

/// All numbers below `count`, shuffled (xorshift).
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut random = 0x1234_5678_9abc_def1_u64;
    for i in (1..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(i, (random >> 11) as usize % (i + 1));
    }
    order
}

// One test, so that no other thread allocates meanwhile and is counted.
#[test]
fn memory_is_proportional_to_the_ranges_that_are_registered_now() {
    for count in [1_000, 100_000] {
        // These stay, so only the registry's own memory goes up and down.
        let objects: Vec<Arc<Code>> = (0..count).map(|nth| Arc::new(Code(nth * 64))).collect();
        let mut registrations: Vec<Option<Registration>> = (0..count).map(|_| None).collect();
        // The orders of registration, and at most how many bytes each range may take.
        let orders: [(&str, Vec<usize>, usize); 3] = [
            // As from an allocator that places code so.
            ("ascending", (0..count).collect(), 54),
            // Leaves nodes half full.
            ("descending", (0..count).rev().collect(), 72),
            ("any", shuffled(count), 64),
        ];
        for (name, order, most) in orders {
            let registry: &'static CodeRegistry = Box::leak(Box::default());
            let before = ALLOCATED.load(SeqCst);
            let bytes = || ALLOCATED.load(SeqCst) - before;
            for nth in order.iter().copied() {
                let registration = registry.register(Arc::<Code>::clone(&objects[nth]));
                registrations[nth] = Some(registration.expect("free"));
            }
            println!("{count} in {name} order: {} bytes a range", bytes() / count);
            assert!(bytes() <= most * count + KEPT);

            // What stays is scattered over all nodes.
            for (nth, registration) in registrations.iter_mut().enumerate() {
                if nth % 10 != 0 {
                    *registration = None;
                }
            }
            let rest = count / 10;
            println!("{rest} of them: {} bytes a range", bytes() / rest);
            assert!(bytes() <= 110 * rest + KEPT);

            registrations.fill_with(|| None);
            assert!(bytes() <= KEPT);
        }
    }
}
