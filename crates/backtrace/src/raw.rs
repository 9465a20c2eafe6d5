//! A captured walk.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::iter::{Copied, FusedIterator};
use core::ops::ControlFlow;
use core::slice;

use crate::{Frame, Run, WalkEnd, walk};

/// The frames of a walk, innermost first: addresses only, nothing resolved.
///
/// Cheap to clone: clones share the frames.
#[derive(Clone)]
pub struct RawBacktrace {
    frames: Option<Arc<Vec<Frame>>>,
    end: WalkEnd,
}

impl RawBacktrace {
    /// A backtrace of no frames.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            frames: None,
            end: WalkEnd::Complete,
        }
    }

    /// Walks `runs` and keeps the innermost `limit` frames. The limit applies
    /// while walking: what lies beyond it is not read.
    ///
    /// # Safety
    ///
    /// * As for [`walk`].
    pub unsafe fn capture(runs: impl IntoIterator<Item = Run>, limit: usize) -> Self {
        let mut frames = Vec::new();
        // SAFETY: the caller's duty is the same.
        let end = unsafe {
            walk(runs, limit, |frame| {
                frames.push(frame);
                ControlFlow::Continue(())
            })
        };
        Self {
            frames: (!frames.is_empty()).then(|| Arc::new(frames)),
            end,
        }
    }

    /// The frames, innermost first.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames(self.as_slice().iter().copied())
    }

    /// The frames, innermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[Frame] {
        self.frames.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Whether there are no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// How the walk ended: whether these are all frames there were.
    #[must_use]
    pub fn end(&self) -> WalkEnd {
        self.end
    }
}

impl Default for RawBacktrace {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for RawBacktrace {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice() && self.end == other.end
    }
}

impl Eq for RawBacktrace {}

impl fmt::Debug for RawBacktrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBacktrace")
            .field("frames", &self.as_slice())
            .field("end", &self.end)
            .finish()
    }
}

impl<'a> IntoIterator for &'a RawBacktrace {
    type Item = Frame;
    type IntoIter = Frames<'a>;

    fn into_iter(self) -> Frames<'a> {
        self.frames()
    }
}

/// The frames of a [`RawBacktrace`], innermost first.
#[derive(Clone, Debug)]
pub struct Frames<'a>(Copied<slice::Iter<'a, Frame>>);

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Frames<'_> {
    fn next_back(&mut self) -> Option<Frame> {
        self.0.next_back()
    }
}

impl ExactSizeIterator for Frames<'_> {}

impl FusedIterator for Frames<'_> {}
