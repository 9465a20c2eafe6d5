//! Allocators for test programs: the system's, with a look at who asks.
//!
//! A program has one, which it names itself:
//!
//! ```standalone_crate
//! use trapline_test_support::allocator::{Counting, Uses, counted};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let (list, Uses { allocations, bytes, .. }) = counted(|| Vec::<u8>::with_capacity(7));
//! assert_eq!((allocations, bytes), (1, 7));
//! let ((), uses) = counted(|| drop(list));
//! assert_eq!((uses.allocations, uses.frees), (0, 1));
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Calls a function at each allocation and each free, on the thread that does it. The
/// function must not allocate.
#[derive(Clone, Copy, Debug)]
pub struct Watched(
    /// That function.
    pub fn(),
);

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        (self.0)();
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        (self.0)();
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Counts, for [`counted`] and [`bytes_in_use`].
#[derive(Clone, Copy, Debug)]
pub struct Counting;

thread_local! {
    static USES: Cell<Uses> = const { Cell::new(Uses { allocations: 0, frees: 0, bytes: 0 }) };
}

/// Of all threads.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let uses = USES.get();
        USES.set(Uses {
            allocations: uses.allocations + 1,
            bytes: uses.bytes.wrapping_add(layout.size()),
            ..uses
        });
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let uses = USES.get();
        USES.set(Uses {
            frees: uses.frees + 1,
            bytes: uses.bytes.wrapping_sub(layout.size()),
            ..uses
        });
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a thread did with a [`Counting`] allocator.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Uses {
    /// How often it allocated.
    pub allocations: usize,
    /// How often it gave back.
    pub frees: usize,
    /// How many bytes more it allocated than it gave back. Wraps, where it gave back what was there before.
    pub bytes: usize,
}

impl Uses {
    /// None.
    pub const NONE: Self = Self {
        allocations: 0,
        frees: 0,
        bytes: 0,
    };
}

/// What `f` gives, and what this thread did with the program's [`Counting`] allocator in it.
pub fn counted<T>(f: impl FnOnce() -> T) -> (T, Uses) {
    let before = USES.get();
    let value = f();
    let after = USES.get();
    let uses = Uses {
        allocations: after.allocations - before.allocations,
        frees: after.frees - before.frees,
        bytes: after.bytes.wrapping_sub(before.bytes),
    };
    (value, uses)
}

/// How many bytes all threads together have of the program's [`Counting`] allocator.
#[must_use]
pub fn bytes_in_use() -> usize {
    IN_USE.load(Relaxed)
}
