//! Many runs, one after the other.

use core::ops::ControlFlow;

use trapline_arch::VirtualAddress;

use crate::{BrokenFrame, Cursor, Frame, LiveStack, ReadStack, Run};

/// How a walk ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WalkEnd {
    /// Every frame of every run was visited.
    Complete,
    /// The visitor broke off.
    Stopped,
    /// The limit was reached, and there was at least one more frame.
    LimitReached,
    /// A frame pointer could not be trusted; no frame from there on was
    /// visited.
    Broken {
        /// The frame pointer.
        fp: VirtualAddress,
        /// What is wrong with it.
        why: BrokenFrame,
    },
}

/// Visits the frames of `runs` on stacks of this address space, innermost run
/// first, innermost frame first, `limit` frames at most. The records of those
/// frames are all that is read; no run is asked for after the one in which the
/// walk ends.
///
/// # Safety
///
/// * The duty of [`Cursor::new`] for each of the runs, from when the iterator
///   yields it until it is asked for the next one.
#[inline]
pub unsafe fn walk(
    runs: impl IntoIterator<Item = Run>,
    limit: usize,
    visit: impl FnMut(Frame) -> ControlFlow<()>,
) -> WalkEnd {
    // SAFETY: the caller's duty is the same.
    unsafe { walk_with(&LiveStack, runs, limit, visit) }
}

/// The same on stacks that are read through `memory`.
///
/// # Safety
///
/// * The duty of [`Cursor::with_memory`] for each of the runs.
#[inline]
pub unsafe fn walk_with<M: ReadStack>(
    memory: &M,
    runs: impl IntoIterator<Item = Run>,
    limit: usize,
    mut visit: impl FnMut(Frame) -> ControlFlow<()>,
) -> WalkEnd {
    let mut left = limit;
    for run in runs {
        // SAFETY: the caller's duty, for this run.
        let mut cursor = unsafe { Cursor::with_memory(memory, run) };
        loop {
            if left == 0 && cursor.peek_frame().is_some() {
                return WalkEnd::LimitReached;
            }
            let Some(frame) = cursor.next_frame() else {
                break;
            };
            left -= 1;
            if visit(frame).is_break() {
                return WalkEnd::Stopped;
            }
        }
        if let Some((fp, why)) = cursor.broken() {
            return WalkEnd::Broken { fp, why };
        }
    }
    WalkEnd::Complete
}
