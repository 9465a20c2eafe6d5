//! Lookups neither allocate nor free, whatever they find.
#![cfg(not(loom))]

mod common;

use core::cell::Cell;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::alloc::{GlobalAlloc, Layout, System};

use common::Code;
use trapline_arch::VirtualAddress;
use trapline_code_registry::{CodeRef, CodeRegistry};

thread_local! {
    /// Whether this thread does what a handler does.
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

/// Uses of the allocator in a handler.
static OFFENCES: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts offences and answers them with
/// failure.
struct Strict;

impl Strict {
    fn offended(&self) -> bool {
        let offended = IN_HANDLER.get();
        if offended {
            OFFENCES.fetch_add(1, SeqCst);
        }
        offended
    }
}

// SAFETY: the system's allocator, or failure.
unsafe impl GlobalAlloc for Strict {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.offended() {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.offended();
        // SAFETY: from `alloc`, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Strict = Strict;

/// Runs `f` as a handler; the offences of its.
fn in_handler<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = OFFENCES.load(SeqCst);
    IN_HANDLER.set(true);
    let result = f();
    IN_HANDLER.set(false);
    (result, OFFENCES.load(SeqCst) - before)
}

// One test, so that no other thread allocates meanwhile and is counted.
#[test]
fn lookups_and_the_ends_of_guards_neither_allocate_nor_free() {
    let ((), offences) = in_handler(|| {
        let layout = Layout::new::<u64>();
        // SAFETY: not of size zero.
        let memory = unsafe { std::alloc::alloc(layout) };
        assert!(black_box(memory).is_null());
    });
    assert_eq!(offences, 1, "the allocator of this test sees offences");

    let registry: &'static CodeRegistry = Box::leak(Box::default());
    let (found, offences) = in_handler(|| registry.lookup(VirtualAddress::new(0)).is_some());
    assert_eq!((found, offences), (false, 0), "in an empty registry");

    let mut registrations: Vec<_> = (0..1_000)
        .map(|i| {
            let code = Code::new(i * 64..i * 64 + 32);
            Some(registry.register(code).expect("free"))
        })
        .collect();
    let (found, offences) = in_handler(|| {
        (0..64_000)
            .filter(|pc| registry.lookup(VirtualAddress::new(*pc)).is_some())
            .count()
    });
    assert_eq!((found, offences), (32_000, 0));

    // More guards than there are slots, whose code is removed meanwhile.
    let mut guards: [Option<CodeRef>; 1_000] = [const { None }; 1_000];
    let ((), offences) = in_handler(|| {
        for (i, guard) in guards.iter_mut().enumerate() {
            *guard = registry
                .lookup(VirtualAddress::new(i * 64))
                .map(|(code, _)| code);
        }
    });
    assert_eq!(offences, 0);
    registrations.fill_with(|| None);
    for (i, code) in guards.iter().flatten().enumerate() {
        let code = code.as_any().downcast_ref::<Code>();
        code.expect("registered as such").assert_alive_with(i * 64);
    }
    let (found, offences) = in_handler(|| {
        let found = guards.iter().flatten().count();
        guards.fill_with(|| None);
        found
    });
    assert_eq!((found, offences), (1_000, 0), "guards end without a free");
    assert_eq!(registry.reclaim(), 0);
}
