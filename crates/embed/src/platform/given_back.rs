//! Address space that goes back to the kernel: at once, or as soon as it takes it.
//!
//! Linux makes one mapping of neighbours that are alike, though each was asked for by itself: of
//! two memories without a page, or of the code of two modules. Taking a range out of the middle
//! of a mapping leaves two, and a process that has as many as it may (`vm.max_map_count`,
//! 65,530 by default) is refused that with `ENOMEM` (`do_vmi_align_munmap` in mm/vma.c). What is
//! refused stays mapped without holding memory, is kept here, and is tried again: together with
//! its neighbours when they go, and whenever something else did.

use core::ffi::c_void;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::vec::Vec;

use rustix::io::Errno;
use rustix::mm::munmap;

use trapline_lock::Mutex;

/// What was refused; no two of the ranges touch.
static REFUSED: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

/// The bytes of [`REFUSED`], and of what found no place there. Changed under its lock.
static UNRELEASED: AtomicUsize = AtomicUsize::new(0);

/// How many bytes are still mapped that were given back.
pub(super) fn unreleased() -> usize {
    UNRELEASED.load(Ordering::Relaxed)
}

/// Unmaps a range, now or later.
///
/// # Safety
///
/// * The range is a mapping of our own, or several side by side, in whole pages, and nobody uses
///   it any more.
#[inline]
pub(super) unsafe fn give_back(range: Range<usize>) {
    // SAFETY: this function's duty.
    if unreleased() == 0 && unsafe { unmap(&range) }.is_ok() {
        return;
    }
    // SAFETY: this function's duty; what is still mapped is still ours.
    unsafe { give_back_with_refused(range) };
}

/// Unmaps what was refused, as far as that works by now.
#[inline]
pub(super) fn try_again() {
    if unreleased() > 0 {
        unmap_refused(&mut REFUSED.lock());
    }
}

#[cold]
unsafe fn give_back_with_refused(mut range: Range<usize>) {
    let mut refused = REFUSED.lock();
    // Neighbours go together: a range that reaches to an end of its mapping is never refused.
    refused.retain(|other| {
        let before = other.end == range.start;
        let touches = before || range.end == other.start;
        if touches {
            forget(other);
            range = range.start.min(other.start)..range.end.max(other.end);
        }
        !touches
    });
    // SAFETY: the caller's duty, and that of those who gave back the neighbours.
    if unsafe { unmap(&range) }.is_ok() {
        unmap_refused(&mut refused);
        return;
    }
    discard(&range);
    UNRELEASED.fetch_add(range.len(), Ordering::Relaxed);
    // Without room for a note of it, it is lost, and stays counted.
    if refused.try_reserve(1).is_ok() {
        refused.push(range);
    }
}

/// Unmaps refused ranges until one is refused again.
fn unmap_refused(refused: &mut Vec<Range<usize>>) {
    while let Some(range) = refused.last() {
        // SAFETY: it was given back under this duty, and nobody has it but the list.
        if unsafe { unmap(range) }.is_err() {
            return;
        }
        forget(range);
        refused.pop();
    }
}

/// Counts a range no longer.
fn forget(range: &Range<usize>) {
    UNRELEASED.fetch_sub(range.len(), Ordering::Relaxed);
}

/// # Safety
///
/// * As for [`give_back`].
unsafe fn unmap(range: &Range<usize>) -> Result<(), Errno> {
    // SAFETY: this function's duty.
    unsafe { munmap(pointer(range), range.len()) }
}

/// Gives the memory of a range back that has to stay mapped. That needs no other mappings; where
/// it is refused (pages that are locked), the memory stays until the range goes.
fn discard(range: &Range<usize>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: our own mapping, which nobody uses any more.
        let _ = unsafe { madvise(pointer(range), range.len(), Advice::LinuxDontNeed) };
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = range;
}

/// What system calls take, who dereference nothing.
fn pointer(range: &Range<usize>) -> *mut c_void {
    ptr::without_provenance_mut(range.start)
}
