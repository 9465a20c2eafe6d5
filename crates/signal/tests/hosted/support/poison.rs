//! An allocator that a handler must not reach.

use std::alloc::{GlobalAlloc, Layout, System};

use super::os;

/// The system's allocator; stops the process when it is called on the thread's
/// signal stack, that is by a handler.
struct NotInHandlers;

#[global_allocator]
static ALLOCATOR: NotInHandlers = NotInHandlers;

fn check() {
    if os::is_on_signal_stack() {
        os::write(2, "a handler allocates or frees\n");
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

// SAFETY: all of it is the system allocator's work.
unsafe impl GlobalAlloc for NotInHandlers {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}
