//! A captured walk.

use alloc::sync::Arc;
use core::fmt;
use core::iter::{Copied, FusedIterator};
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use core::slice;

use trapline_arch::VirtualAddress;

use crate::walk::Trail;
use crate::{BrokenFrame, Frame, LiveStack, Run, WalkEnd};

/// The depth up to which a [`RawBacktrace`] keeps its frames in itself, unless its type says
/// another one. Each costs 16 bytes in every value that has a backtrace in it, and
/// those are moved a few times on the way out of a guest.
///
/// 2, or what the environment variable `TRAPLINE_INLINE_FRAMES` says when this crate is
/// compiled: a decimal number of at most 64, anything else is an error of the compilation.
/// It is a choice for all of a program; `[env]` in its `.cargo/config.toml` is the
/// place for it.
pub const INLINE_FRAMES: usize = match option_env!("TRAPLINE_INLINE_FRAMES") {
    None => 2,
    Some(number) => match usize::from_str_radix(number, 10) {
        Ok(frames) if frames <= 64 => frames,
        _ => panic!("TRAPLINE_INLINE_FRAMES is no number from 0 to 64"),
    },
};

/// Frames that a capture gathers on the stack before it allocates: 1 KiB.
const GATHERED: usize = 64;

/// The frames of a walk, innermost first: addresses only, nothing resolved.
///
/// Up to `INLINE` frames are in the value itself: capturing them allocates nothing. Up to 64
/// more are put into one allocation of just the right size. Where there are still more, that
/// one allocation is made for as many as the rest of the run has room for if they are as far
/// apart as those seen. Only if they turn out to be closer together, or if more runs
/// follow, the rest is counted by walking ahead, and one larger allocation is made. At most
/// half of what is kept allocated is unused.
///
/// Cheap to clone: clones share what was allocated.
#[derive(Clone)]
pub struct RawBacktrace<const INLINE: usize = INLINE_FRAMES>(Captured<INLINE>);

/// The first `len` places have been filled. What both have stands in both, so that it takes
/// two words together with the mark which of the two it is.
#[derive(Clone)]
enum Captured<const INLINE: usize> {
    Inline {
        len: u32,
        end: End,
        broken_fp: VirtualAddress,
        places: [Place; INLINE],
    },
    Shared {
        len: u32,
        end: End,
        broken_fp: VirtualAddress,
        places: Arc<[Place]>,
    },
}

const _: () = assert!(size_of::<Option<RawBacktrace<1>>>() == 4 * size_of::<usize>());
const _: () = assert!(size_of::<Option<RawBacktrace<8>>>() == 18 * size_of::<usize>());

/// The most frames that are kept: 64 GiB of them.
const MOST: usize = u32::MAX as usize;

/// Where a frame is, or may be put.
type Place = MaybeUninit<Frame>;

/// A [`WalkEnd`] in one byte, without the frame pointer.
#[derive(Clone, Copy)]
enum End {
    Complete,
    Stopped,
    LimitReached,
    Broken(BrokenFrame),
}

impl RawBacktrace {
    /// A backtrace of no frames.
    #[must_use]
    pub const fn empty() -> Self {
        Self::none()
    }

    /// Walks `runs` and keeps the innermost `limit` frames. The limit applies
    /// while walking: what lies beyond it is not read.
    ///
    /// Where frames have to be counted, a clone of the iterator goes ahead.
    ///
    /// # Safety
    ///
    /// * As for [`walk`](crate::walk), also for runs that a clone of the iterator yields.
    pub unsafe fn capture<I>(runs: I, limit: usize) -> Self
    where
        I: IntoIterator<Item = Run>,
        I::IntoIter: Clone,
    {
        // SAFETY: the caller's duty is the same.
        unsafe { Self::capture_inline(runs, limit) }
    }
}

impl<const INLINE: usize> RawBacktrace<INLINE> {
    const fn none() -> Self {
        Self(Captured::Inline {
            len: 0,
            end: End::Complete,
            broken_fp: VirtualAddress::NULL,
            places: [Place::uninit(); INLINE],
        })
    }

    /// [`capture`](RawBacktrace::capture) with an inline depth that the type names.
    ///
    /// # Safety
    ///
    /// * As for [`capture`](RawBacktrace::capture).
    pub unsafe fn capture_inline<I>(runs: I, limit: usize) -> Self
    where
        I: IntoIterator<Item = Run>,
        I::IntoIter: Clone,
    {
        let limit = limit.min(MOST);
        // SAFETY: the caller's duty is the same.
        let mut trail = unsafe { Trail::new(&LiveStack, runs.into_iter()) };
        let mut places = [Place::uninit(); INLINE];
        let (len, end) = fill(&mut trail, limit, &mut places);
        if end == WalkEnd::LimitReached && len < limit {
            let (len, end, places) = gather(trail, limit, &places);
            let (len, (end, broken_fp)) = (len as u32, End::of(end));
            return Self(Captured::Shared {
                len,
                end,
                broken_fp,
                places,
            });
        }
        let (len, (end, broken_fp)) = (len as u32, End::of(end));
        Self(Captured::Inline {
            len,
            end,
            broken_fp,
            places,
        })
    }

    /// The frames, innermost first.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        Frames(self.as_slice().iter().copied())
    }

    /// The frames, innermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[Frame] {
        let (len, places): (u32, &[Place]) = match &self.0 {
            Captured::Inline { len, places, .. } => (*len, places),
            Captured::Shared { len, places, .. } => (*len, places),
        };
        // SAFETY: the first `len` places have been filled.
        unsafe { places[..len as usize].assume_init_ref() }
    }

    /// Whether there are no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Captured::Inline { len, .. } | Captured::Shared { len, .. } => *len as usize,
        }
    }

    /// How the walk ended: whether these are all frames there were.
    #[must_use]
    pub fn end(&self) -> WalkEnd {
        match &self.0 {
            Captured::Inline { end, broken_fp, .. } | Captured::Shared { end, broken_fp, .. } => {
                end.with(*broken_fp)
            }
        }
    }
}

impl End {
    /// The byte, and the frame pointer if there is one.
    #[inline]
    fn of(end: WalkEnd) -> (Self, VirtualAddress) {
        let end = match end {
            WalkEnd::Complete => Self::Complete,
            WalkEnd::Stopped => Self::Stopped,
            WalkEnd::LimitReached => Self::LimitReached,
            WalkEnd::Broken { fp, why } => return (Self::Broken(why), fp),
        };
        (end, VirtualAddress::NULL)
    }

    fn with(self, fp: VirtualAddress) -> WalkEnd {
        match self {
            Self::Complete => WalkEnd::Complete,
            Self::Stopped => WalkEnd::Stopped,
            Self::LimitReached => WalkEnd::LimitReached,
            Self::Broken(why) => WalkEnd::Broken { fp, why },
        }
    }
}

impl<const INLINE: usize> Default for RawBacktrace<INLINE> {
    fn default() -> Self {
        Self::none()
    }
}

/// Goes on along `trail` until `places` are full, or `limit` frames or all there are have been
/// put there; gives their number.
#[inline]
fn fill<I: Iterator<Item = Run>>(
    trail: &mut Trail<'_, LiveStack, I>,
    limit: usize,
    places: &mut [Place],
) -> (usize, WalkEnd) {
    let there = places.len();
    let mut places = places.iter_mut();
    let end = trail.walk(limit.min(there), |frame| {
        if let Some(place) = places.next() {
            place.write(frame);
        }
        ControlFlow::Continue(())
    });
    (there - places.len(), end)
}

/// Goes on with a capture that has filled the places `inline`, and is neither at its limit nor
/// at the end. Gives the number of all frames, and those, maybe with places behind them.
#[cold]
#[inline(never)]
fn gather<I: Iterator<Item = Run> + Clone>(
    mut trail: Trail<'_, LiveStack, I>,
    limit: usize,
    inline: &[Place],
) -> (usize, WalkEnd, Arc<[Place]>) {
    let mut gathered = [Place::uninit(); GATHERED];
    let (found, mut end) = fill(&mut trail, limit - inline.len(), &mut gathered);
    let mut len = inline.len() + found;
    let goes_on = |end, len| end == WalkEnd::LimitReached && len < limit;
    let spare = if goes_on(end, len) {
        // SAFETY: the frames of all these places were found.
        let found = unsafe { gathered.assume_init_ref() };
        expected(&trail, found).min(limit - len)
    } else {
        0
    };
    let mut places = allocate(inline, &gathered[..found], spare);
    while goes_on(end, len) {
        if len == places.len() {
            let mut more = 0;
            let _ = trail.clone().walk(limit - len, |_| {
                more += 1;
                ControlFlow::Continue(())
            });
            places = allocate(&places, &[], more);
        }
        let free = Arc::get_mut(&mut places).map_or(&mut [][..], |places| &mut places[len..]);
        let (found, at) = fill(&mut trail, limit - len, free);
        (len, end) = (len + found, at);
    }
    if len < places.len() / 2 {
        places = places[..len].into();
    }
    (len, end, places)
}

/// All these, and `spare` places behind them, in one allocation.
fn allocate(first: &[Place], second: &[Place], spare: usize) -> Arc<[Place]> {
    let known = first.len() + second.len();
    let mut all = Arc::new_uninit_slice(known + spare);
    if let Some(places) = Arc::get_mut(&mut all) {
        places[..first.len()].copy_from_slice(first);
        places[first.len()..known].copy_from_slice(second);
    }
    all
}

/// How many more frames the run at hand may have, if they are as far apart as the `found`
/// ones, and an eighth to spare. No more than the run's records could be, so that what is
/// allocated is not larger than what the run takes of the stack, but for that eighth.
fn expected<I: Iterator<Item = Run>>(trail: &Trail<'_, LiveStack, I>, found: &[Frame]) -> usize {
    let ([first, .., last], Some(left)) = (found, trail.bytes_left()) else {
        return 0;
    };
    let distance = last.fp.offset_from(first.fp).unwrap_or(usize::MAX) / (found.len() - 1);
    let frames = left / distance.max(size_of::<Frame>());
    frames + frames / 8
}

impl<const INLINE: usize, const OTHER: usize> PartialEq<RawBacktrace<OTHER>>
    for RawBacktrace<INLINE>
{
    fn eq(&self, other: &RawBacktrace<OTHER>) -> bool {
        self.as_slice() == other.as_slice() && self.end() == other.end()
    }
}

impl<const INLINE: usize> Eq for RawBacktrace<INLINE> {}

impl<const INLINE: usize> fmt::Debug for RawBacktrace<INLINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawBacktrace")
            .field("frames", &self.as_slice())
            .field("end", &self.end())
            .finish()
    }
}

impl<'a, const INLINE: usize> IntoIterator for &'a RawBacktrace<INLINE> {
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
