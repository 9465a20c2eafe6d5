//! Lookups neither allocate nor free, whatever they find.
#![cfg(not(loom))]

mod common;

use core::hint::black_box;

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeRef, CodeRegistry};
use trapline_test_support::allocator::{Counting, Uses, counted};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn lookups_and_the_ends_of_guards_neither_allocate_nor_free() {
    let ((), uses) = counted(|| drop(black_box(Box::new(5))));
    assert_eq!(
        (uses.allocations, uses.frees),
        (1, 1),
        "the allocator of this test sees its uses"
    );

    let registry: &'static CodeRegistry = Box::leak(Box::default());
    let (found, uses) = counted(|| registry.lookup(VirtualAddress::new(0)).is_some());
    assert_eq!((found, uses), (false, Uses::NONE), "in an empty registry");

    let mut registrations: Vec<_> = (0..1_000)
        .map(|i| {
            let code = Code::new(i * 64..i * 64 + 32);
            Some(registry.register(code).expect("free"))
        })
        .collect();
    let (found, uses) = counted(|| {
        (0..64_000)
            .filter(|pc| registry.lookup(VirtualAddress::new(*pc)).is_some())
            .count()
    });
    assert_eq!((found, uses), (32_000, Uses::NONE));

    // More guards than there are slots, whose code is removed meanwhile.
    let mut guards: [Option<CodeRef>; 1_000] = [const { None }; 1_000];
    let ((), uses) = counted(|| {
        for (i, guard) in guards.iter_mut().enumerate() {
            *guard = registry
                .lookup(VirtualAddress::new(i * 64))
                .map(|(code, _)| code);
        }
    });
    assert_eq!(uses, Uses::NONE);
    registrations.fill_with(|| None);
    for (i, code) in guards.iter().flatten().enumerate() {
        let code = code.as_any().downcast_ref::<Code>();
        code.expect("registered as such").assert_alive_with(i * 64);
    }
    let (found, uses) = counted(|| {
        let found = guards.iter().flatten().count();
        guards.fill_with(|| None);
        found
    });
    assert_eq!(
        (found, uses),
        (1_000, Uses::NONE),
        "guards end without a free"
    );
    assert_eq!(registry.reclaim(), 0);
}
