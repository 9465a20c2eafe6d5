//! One run of guest frames, frame by frame.

use core::fmt;
use core::ops::Range;

use trapline_arch::{
    NEXT_OLDER_FP_FROM_FP_OFFSET, NEXT_OLDER_PC_FROM_FP_OFFSET, VirtualAddress, is_canonical,
    is_fp_aligned, return_address,
};

use crate::Frame;

/// Bytes of a frame record as far as it is read: from the caller's frame pointer
/// to the return address, which lie side by side, but on s390x.
const FRAME_RECORD_BYTES: usize = NEXT_OLDER_PC_FROM_FP_OFFSET + size_of::<usize>();

// Both words of the record are inside of what the range check covers.
const _: () = assert!(NEXT_OLDER_FP_FROM_FP_OFFSET < NEXT_OLDER_PC_FROM_FP_OFFSET);

/// A contiguous run of guest frames: from where the guest was left out to the
/// entry trampoline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where the innermost frame was left: the trapping instruction, or the
    /// return address of the call out.
    pub pc: VirtualAddress,
    /// Frame pointer of the innermost frame.
    pub fp: VirtualAddress,
    /// Frame pointer of the entry trampoline; its frame is not of the guest,
    /// the run ends before it. Equal to `fp` in a run of no frames: when the
    /// entry trampoline's callee tail-called its way out of the guest.
    pub entry_fp: VirtualAddress,
    /// The addresses at which frame records may lie, both words of each.
    pub stack: Range<VirtualAddress>,
}

/// Something that the words of a stack can be read from.
///
/// # Safety
///
/// The walk reads addresses that its caller vouches for; an implementation
/// must be sound for those, and must not fault, unwind or block.
pub unsafe trait ReadStack {
    /// The word at `address`.
    ///
    /// # Safety
    ///
    /// * `address` is a multiple of the word size, inside of a range that
    ///   whoever asked for the walk vouched for.
    unsafe fn read(&self, address: VirtualAddress) -> usize;
}

/// The stacks of this address space.
#[derive(Clone, Copy, Debug)]
pub struct LiveStack;

// SAFETY: a plain read of an address that the caller of the walk vouches for.
unsafe impl ReadStack for LiveStack {
    #[inline]
    unsafe fn read(&self, address: VirtualAddress) -> usize {
        // SAFETY: the address is aligned and readable, by this method's duty.
        unsafe { address.as_ptr::<usize>().read() }
    }
}

/// What is wrong with a frame pointer that the walk came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BrokenFrame {
    /// It is not above the one before it: the chain goes down or in circles.
    NotRising,
    /// It lacks the alignment that the ABI gives to frame pointers.
    Misaligned,
    /// The paging hardware would not take it as an address, or there are such addresses
    /// between the first frame pointer of the run and its entry frame.
    NotCanonical,
    /// Its frame record is not inside of the run's stack range.
    OutsideStack,
    /// Its frame record reaches beyond the entry trampoline's frame pointer: the
    /// chain left the run.
    BeyondEntry,
}

impl fmt::Display for BrokenFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRising => "frame pointer is not above its callee's",
            Self::Misaligned => "frame pointer is misaligned",
            Self::NotCanonical => "frame pointer is not in a range of canonical addresses",
            Self::OutsideStack => "frame record is outside of the stack",
            Self::BeyondEntry => "frame pointer is beyond the entry frame",
        })
    }
}

impl core::error::Error for BrokenFrame {}

/// Whether there are addresses that are not canonical, between two ranges of those
/// that are: on s390x there are none.
const HAS_HOLE: bool = !is_canonical(VirtualAddress::new(1 << (usize::BITS - 2)));

/// Goes over the frames of one [`Run`], innermost first.
///
/// What there is to know of the run's addresses is found out once, when the cursor is
/// made. A frame then costs the two words of its record and three comparisons that the
/// next one need not wait for.
#[derive(Debug)]
pub struct Cursor<'m, M: ReadStack = LiveStack> {
    memory: &'m M,
    next: Frame,
    /// The lowest frame pointer that may come next: above the one before it, or in the
    /// stack range.
    lowest: usize,
    /// One more than the highest frame pointer whose record is inside of the stack range
    /// and below the entry frame. 0, so that there is none, where something between the
    /// run's first frame pointer and that one is no canonical address.
    above_highest: usize,
    entry_fp: VirtualAddress,
    stack: Range<VirtualAddress>,
}

impl<M: ReadStack> Clone for Cursor<'_, M> {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            ..*self
        }
    }
}

impl Cursor<'static> {
    /// A cursor over a run on a stack of this address space.
    ///
    /// # Safety
    ///
    /// While the cursor is used, or a clone of it:
    ///
    /// * if `run.fp` lies in `run.stack`, everything from `run.fp` to
    ///   `run.entry_fp` or the end of `run.stack`, whichever is lower, may be
    ///   read, and nobody writes to the frame records there.
    #[inline]
    #[must_use]
    pub unsafe fn new(run: Run) -> Self {
        // SAFETY: the caller's duty is the same.
        unsafe { Self::with_memory(&LiveStack, run) }
    }
}

impl<'m, M: ReadStack> Cursor<'m, M> {
    /// A cursor over a run on a stack that is read through `memory`.
    ///
    /// # Safety
    ///
    /// * as for [`Cursor::new`], for reads through `memory`.
    #[inline]
    #[must_use]
    pub unsafe fn with_memory(memory: &'m M, run: Run) -> Self {
        Self {
            memory,
            next: Frame {
                pc: run.pc,
                fp: run.fp,
            },
            lowest: run.stack.start.get(),
            above_highest: above_highest(&run),
            entry_fp: run.entry_fp,
            stack: run.stack,
        }
    }

    /// A cursor over no frames.
    #[inline]
    pub(crate) fn at_end(memory: &'m M) -> Self {
        let nowhere = VirtualAddress::NULL;
        Self {
            memory,
            next: Frame {
                pc: nowhere,
                fp: nowhere,
            },
            lowest: 0,
            above_highest: 0,
            entry_fp: nowhere,
            stack: nowhere..nowhere,
        }
    }

    /// What the stack is read through.
    #[inline]
    pub(crate) fn memory(&self) -> &'m M {
        self.memory
    }

    /// Bytes from the next frame pointer to the end of the run; `None` if there is no
    /// next frame.
    #[cfg(feature = "alloc")]
    pub(crate) fn bytes_left(&self) -> Option<usize> {
        let frame = self.peek_frame()?;
        self.entry_fp.min(self.stack.end).offset_from(frame.fp)
    }

    /// What [`next_frame`](Self::next_frame) will give, without reading
    /// anything.
    #[inline]
    #[must_use]
    pub fn peek_frame(&self) -> Option<Frame> {
        let fp = self.next.fp;
        let good = self.lowest <= fp.get() && fp.get() < self.above_highest && is_fp_aligned(fp);
        good.then_some(self.next)
    }

    /// The next frame out; `None` at the end of the run, be it at the entry
    /// trampoline or at a [broken](Self::broken) frame pointer.
    #[inline]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let frame = self.peek_frame()?;
        // SAFETY: the frame pointer is aligned, not below the stack range, and both words
        // of its record are below the end of it and below the entry frame. It is not below
        // the run's first one: that was the first to come here, and they rise. The rest
        // is the duty of who made the cursor.
        let (older_fp, older_pc) = unsafe {
            (
                self.memory
                    .read(offset(frame.fp, NEXT_OLDER_FP_FROM_FP_OFFSET)),
                self.memory
                    .read(offset(frame.fp, NEXT_OLDER_PC_FROM_FP_OFFSET)),
            )
        };
        // The frame itself is good, so it is reported, whatever it leads to.
        self.lowest = frame.fp.get().wrapping_add(1);
        self.next = Frame {
            pc: return_address(older_pc),
            fp: VirtualAddress::new(older_fp),
        };
        Some(frame)
    }

    /// If the next frame pointer cannot be trusted, so that the run breaks off there:
    /// that frame pointer, and what is wrong with it. `None` where there is a next
    /// frame, and at the entry trampoline.
    #[inline]
    #[must_use]
    pub fn broken(&self) -> Option<(VirtualAddress, BrokenFrame)> {
        let fp = self.next.fp;
        if self.peek_frame().is_some() || fp == self.entry_fp {
            return None;
        }
        let after_another = self.lowest != self.stack.start.get();
        Some((
            fp,
            what_is_wrong(fp, after_another, self.lowest, self.entry_fp, &self.stack),
        ))
    }
}

/// See the field of [`Cursor`].
#[inline]
fn above_highest(run: &Run) -> usize {
    let end = run.entry_fp.min(run.stack.end).get();
    let Some(highest) = end.checked_sub(FRAME_RECORD_BYTES) else {
        return 0;
    };
    // Canonical addresses are one range, or two with a hole between them, the upper one
    // of negative numbers. With both ends in the same, all between them are in it.
    let canonical = is_canonical(run.fp) && is_canonical(VirtualAddress::new(highest));
    let around_hole = HAS_HOLE && (run.fp.get() ^ highest).cast_signed() < 0;
    if canonical && !around_hole {
        highest + 1
    } else {
        0
    }
}

/// What is wrong with a frame pointer that did not pass. Takes values, so that the cursor of
/// a loop need not be in memory.
#[cold]
fn what_is_wrong(
    fp: VirtualAddress,
    after_another: bool,
    lowest: usize,
    entry_fp: VirtualAddress,
    stack: &Range<VirtualAddress>,
) -> BrokenFrame {
    if after_another && fp.get() < lowest {
        return BrokenFrame::NotRising;
    }
    if !is_fp_aligned(fp) {
        return BrokenFrame::Misaligned;
    }
    let Some(end) = fp.checked_add(FRAME_RECORD_BYTES) else {
        return BrokenFrame::OutsideStack;
    };
    // The whole record: a misaligned entry frame pointer may lie inside.
    if end > entry_fp {
        return BrokenFrame::BeyondEntry;
    }
    if fp < stack.start || end > stack.end {
        return BrokenFrame::OutsideStack;
    }
    BrokenFrame::NotCanonical
}

impl<M: ReadStack> Iterator for Cursor<'_, M> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.next_frame()
    }
}

impl<M: ReadStack> core::iter::FusedIterator for Cursor<'_, M> {}

/// The record is below the end of a range, so this does not wrap.
#[inline]
fn offset(fp: VirtualAddress, bytes: usize) -> VirtualAddress {
    VirtualAddress::new(fp.get().wrapping_add(bytes))
}
