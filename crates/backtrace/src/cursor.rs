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
    /// The paging hardware would not take it as an address.
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
            Self::NotCanonical => "frame pointer is not a canonical address",
            Self::OutsideStack => "frame record is outside of the stack",
            Self::BeyondEntry => "frame pointer is beyond the entry frame",
        })
    }
}

impl core::error::Error for BrokenFrame {}

/// Goes over the frames of one [`Run`], innermost first.
#[derive(Debug)]
pub struct Cursor<'m, M: ReadStack = LiveStack> {
    memory: &'m M,
    next: Frame,
    entry_fp: VirtualAddress,
    stack: Range<VirtualAddress>,
    broken: Option<(VirtualAddress, BrokenFrame)>,
}

impl Cursor<'static> {
    /// A cursor over a run on a stack of this address space.
    ///
    /// # Safety
    ///
    /// While the cursor is used:
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
            entry_fp: run.entry_fp,
            stack: run.stack,
            broken: None,
        }
    }

    /// What [`next_frame`](Self::next_frame) will give, without reading
    /// anything.
    #[inline]
    pub fn peek_frame(&mut self) -> Option<Frame> {
        let frame = self.next;
        if frame.fp == self.entry_fp || self.broken.is_some() {
            return None;
        }
        self.broken = self.check(frame.fp).map(|why| (frame.fp, why));
        self.broken.is_none().then_some(frame)
    }

    /// The next frame out; `None` at the end of the run, be it at the entry
    /// trampoline or at a [broken](Self::broken) frame pointer.
    #[inline]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let frame = self.peek_frame()?;
        // SAFETY: `check` found the record inside of the stack range and below
        // the entry frame; the rest is the duty of who made the cursor.
        let (older_fp, older_pc) = unsafe {
            (
                self.memory
                    .read(offset(frame.fp, NEXT_OLDER_FP_FROM_FP_OFFSET)),
                self.memory
                    .read(offset(frame.fp, NEXT_OLDER_PC_FROM_FP_OFFSET)),
            )
        };
        self.next = Frame {
            pc: return_address(older_pc),
            fp: VirtualAddress::new(older_fp),
        };
        // Looked at now, while the frame it came from is at hand: the frame
        // itself is good, so it is reported, and the walk ends after it.
        if older_fp <= frame.fp.get() {
            self.broken = Some((self.next.fp, BrokenFrame::NotRising));
        }
        Some(frame)
    }

    /// The frame pointer at which the run broke off, and why; `None` if it did
    /// not, as far as it was walked.
    #[inline]
    #[must_use]
    pub fn broken(&self) -> Option<(VirtualAddress, BrokenFrame)> {
        self.broken
    }

    #[inline]
    fn check(&self, fp: VirtualAddress) -> Option<BrokenFrame> {
        if !is_fp_aligned(fp) {
            return Some(BrokenFrame::Misaligned);
        }
        let Some(end) = fp.checked_add(FRAME_RECORD_BYTES) else {
            return Some(BrokenFrame::OutsideStack);
        };
        // The whole record: a misaligned entry frame pointer may lie inside.
        if end > self.entry_fp {
            return Some(BrokenFrame::BeyondEntry);
        }
        if fp < self.stack.start || end > self.stack.end {
            return Some(BrokenFrame::OutsideStack);
        }
        if !is_canonical(fp) {
            return Some(BrokenFrame::NotCanonical);
        }
        None
    }
}

impl<M: ReadStack> Iterator for Cursor<'_, M> {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.next_frame()
    }
}

impl<M: ReadStack> core::iter::FusedIterator for Cursor<'_, M> {}

/// `check` has shown that the whole record is below the end of the range.
#[inline]
fn offset(fp: VirtualAddress, bytes: usize) -> VirtualAddress {
    VirtualAddress::new(fp.get().wrapping_add(bytes))
}
