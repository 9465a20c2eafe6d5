//! Physical memory, one page at a time.

use core::fmt;
use core::ops::Range;

use crate::isa::PAGE;

/// The frames that are free. Frames are known by their physical addresses, at
/// which the kernel has them mapped.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Never used so far.
    fresh: Range<usize>,
    /// Used before.
    returned: FrameList,
}

/// Frames that are linked through their first words, so that a list of any length
/// needs no memory. The end is 0, where no frame is.
#[derive(Debug)]
pub(crate) struct FrameList {
    first: usize,
    len: usize,
}

/// All frames are in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfFrames;

impl Frames {
    /// Frames in this range of physical addresses.
    ///
    /// # Safety
    ///
    /// * The memory exists, and nobody else uses it. It is, or will be before
    ///   the next call, accessible at these addresses.
    pub(crate) unsafe fn new(range: Range<usize>) -> Self {
        Self {
            fresh: range.start.next_multiple_of(PAGE)..range.end,
            returned: FrameList::new(),
        }
    }

    /// How many there are.
    pub(crate) fn available(&self) -> usize {
        self.returned.len + self.fresh.len() / PAGE
    }

    /// Whether so many bytes can be mapped, with the page tables that this may need.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), OutOfFrames> {
        /// One table for each 2 MiB that the bytes lie in, and one each on the
        /// higher levels for what they begin and end in.
        fn tables(pages: usize) -> usize {
            pages / 512 + 8
        }
        let pages = bytes / PAGE;
        if self.available() < pages + tables(pages) {
            return Err(OutOfFrames);
        }
        Ok(())
    }

    /// A frame of zeroes.
    pub(crate) fn take(&mut self) -> Result<usize, OutOfFrames> {
        let frame = match self.returned.pop() {
            Some(frame) => frame,
            None if self.fresh.len() < PAGE => return Err(OutOfFrames),
            None => {
                let frame = self.fresh.start;
                self.fresh.start += PAGE;
                frame
            }
        };
        // SAFETY: the frame is accessible (`new`) and nobody else's.
        unsafe { word(frame).cast::<u8>().write_bytes(0, PAGE) };
        Ok(frame)
    }

    /// Takes back frames that nobody uses any more.
    pub(crate) fn give_back(&mut self, mut frames: FrameList) {
        while let Some(frame) = frames.pop() {
            self.returned.push(frame);
        }
    }
}

impl FrameList {
    pub(crate) const fn new() -> Self {
        Self { first: 0, len: 0 }
    }

    /// Adds a frame that nobody uses any more; only its first word is written.
    /// (In a page table, the address of a frame reads as an entry that is empty: no
    /// machine here takes an entry with bit 0 clear for anything else.)
    pub(crate) fn push(&mut self, frame: usize) {
        // SAFETY: the frame is accessible, and the caller's to give.
        unsafe { word(frame).write(self.first) };
        self.first = frame;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<usize> {
        if self.first == 0 {
            return None;
        }
        let frame = self.first;
        // SAFETY: `push` wrote the word, and the frame has been in the list since.
        self.first = unsafe { word(frame).read() };
        self.len -= 1;
        Some(frame)
    }
}

/// The first word of a frame.
fn word(frame: usize) -> *mut usize {
    core::ptr::with_exposed_provenance_mut(frame)
}

impl fmt::Display for OutOfFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all memory is in use")
    }
}
