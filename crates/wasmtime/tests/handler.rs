//! What trap handlers reach does not allocate.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use common::HARDWARE;
use trapline_arch::VirtualAddress;
use trapline_code_registry::CodeObject as _;
use trapline_wasmtime::{Artifact, ModuleCode};

/// The system's allocator, which aborts while the current thread is in what
/// stands for a handler.
struct Poisoned;

thread_local! {
    static IN_HANDLER: Cell<bool> = const { Cell::new(false) };
}

fn check() {
    if IN_HANDLER.get() {
        // A panic would allocate.
        std::process::abort();
    }
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Poisoned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's duties are those of the callee.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's duties are those of the callee.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Poisoned = Poisoned;

#[test]
fn looking_up_a_trap_does_not_allocate() {
    let artifact = Arc::new(Artifact::parse(HARDWARE.clone()).unwrap());
    // SAFETY: never registered.
    let code = unsafe { ModuleCode::new(artifact.clone(), VirtualAddress::new(0x1000)) }.unwrap();
    let mut found = 0;
    IN_HANDLER.set(true);
    for offset in 0..artifact.text().len() {
        let text = code.text();
        found += usize::from(code.lookup_trap_code(offset).is_some() && text.start < text.end);
    }
    IN_HANDLER.set(false);
    assert_eq!(found, artifact.trap_count());
}
