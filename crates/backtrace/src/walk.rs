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
    visit: impl FnMut(Frame) -> ControlFlow<()>,
) -> WalkEnd {
    // SAFETY: the caller's duty is the same; there are no clones.
    unsafe { Trail::new(memory, runs.into_iter()) }.walk(limit, visit)
}

/// A walk that can be gone on with from where it stopped; a clone goes the same way
/// again.
#[derive(Clone)]
pub(crate) struct Trail<'m, M: ReadStack, I> {
    cursor: Cursor<'m, M>,
    runs: I,
}

impl<'m, M: ReadStack, I: Iterator<Item = Run>> Trail<'m, M, I> {
    /// The way over the frames of `runs`, innermost first.
    ///
    /// # Safety
    ///
    /// * The duty of [`Cursor::with_memory`] for each of the runs, from when the
    ///   iterator, or a clone of it, yields it until that is asked for the next one.
    #[inline]
    pub(crate) unsafe fn new(memory: &'m M, runs: I) -> Self {
        Self {
            cursor: Cursor::at_end(memory),
            runs,
        }
    }

    /// Bytes from the next frame to the end of its run; `None` if there is none.
    #[cfg(feature = "alloc")]
    pub(crate) fn bytes_left(&self) -> Option<usize> {
        self.cursor.bytes_left()
    }

    /// Goes on for `limit` frames at most. After [`WalkEnd::LimitReached`] there is at
    /// least one more, which is the next one.
    #[inline]
    pub(crate) fn walk(
        &mut self,
        limit: usize,
        mut visit: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> WalkEnd {
        let mut left = limit;
        loop {
            // A copy for the loop, which is in registers then.
            let mut cursor = self.cursor.clone();
            let end = loop {
                if left == 0 && cursor.peek_frame().is_some() {
                    break Some(WalkEnd::LimitReached);
                }
                let Some(frame) = cursor.next_frame() else {
                    break cursor.broken().map(|(fp, why)| WalkEnd::Broken { fp, why });
                };
                left -= 1;
                if visit(frame).is_break() {
                    break Some(WalkEnd::Stopped);
                }
            };
            self.cursor = cursor;
            if let Some(end) = end {
                return end;
            }
            let Some(run) = self.runs.next() else {
                return WalkEnd::Complete;
            };
            // SAFETY: by the duties of `new`, until the iterator is asked again.
            self.cursor = unsafe { Cursor::with_memory(self.cursor.memory(), run) };
        }
    }
}
