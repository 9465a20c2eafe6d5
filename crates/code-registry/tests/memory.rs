//! The memory of a registry is proportional to the ranges in it.
#![cfg(not(loom))]

use std::sync::Arc;

use trapline_code_registry::{CodeRegistry, Registration};
use trapline_test_support::allocator::{Counting, bytes_in_use};
use trapline_test_support::code::Random;
use trapline_test_support::code_object;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a registry may keep for its next writes.
const KEPT: usize = 64 << 10;

code_object! {
    /// Code that exists by its range only.
    Code
}

// One test, so that no other thread allocates meanwhile and is counted.
#[test]
fn memory_is_proportional_to_the_ranges_that_are_registered_now() {
    for count in [1_000, 100_000] {
        // These stay, so only the registry's own memory goes up and down.
        let objects: Vec<Arc<Code>> = (0..count)
            .map(|nth| Arc::new(Code(nth * 64..nth * 64 + 32)))
            .collect();
        let mut registrations: Vec<Option<Registration>> = (0..count).map(|_| None).collect();
        // The orders of registration, and at most how many bytes each range may take.
        let orders: [(&str, Vec<usize>, usize); 3] = [
            // As from an allocator that places code so.
            ("ascending", (0..count).collect(), 54),
            // Leaves nodes half full.
            ("descending", (0..count).rev().collect(), 72),
            ("any", Random::new(1).shuffled(count), 64),
        ];
        for (name, order, most) in orders {
            let registry: &'static CodeRegistry = Box::leak(Box::default());
            let before = bytes_in_use();
            let bytes = || bytes_in_use() - before;
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
