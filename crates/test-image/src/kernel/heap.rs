//! The kernel's own memory: one block of physical memory after the image.

use core::ops::Range;

use talc::TalcLock;
use talc::source::Manual;

use super::memory::image;

/// How much the kernel itself may use. The rest is pages for guests.
const BYTES: usize = 384 << 20;

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// The addresses of the heap. All of them are memory.
pub(crate) fn range() -> Range<usize> {
    let start = image::end();
    start..start + BYTES
}

/// Makes the heap usable. Called once, first of all.
pub(crate) fn init() {
    let range = range();
    let base = core::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: memory that is there and that nobody else uses: the image ends
    // before it, frames for pages begin after it.
    let claimed = unsafe { HEAP.lock().claim(base, BYTES) };
    assert!(claimed.is_some(), "the block is large enough for a heap");
}
