//! Page tables: a tree of four levels, the same on all machines but for how an
//! entry is written.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::frames::{FrameList, Frames, OutOfFrames};
use crate::isa::{Access, Entry, INDEX_BITS, LEVELS, PAGE, decode, leaf, table};

/// Page tables of one address space, of which there is one.
#[derive(Debug)]
pub(crate) struct Tables {
    root: Table,
}

/// One table, by its physical address.
#[derive(Clone, Copy, Debug)]
struct Table(usize);

impl Table {
    /// The entries. The CPUs read them whenever they like.
    fn entries(self) -> &'static [AtomicU64; 1 << INDEX_BITS] {
        let table = core::ptr::with_exposed_provenance(self.0);
        // SAFETY: the frame of a table is mapped at its physical address and is a
        // table until it is unlinked; nobody keeps what is returned longer.
        unsafe { &*table }
    }

    /// The entry for `address` in a table of this level.
    fn entry(self, address: usize, level: usize) -> &'static AtomicU64 {
        &self.entries()[(address / span(level)) % (1 << INDEX_BITS)]
    }

    fn is_empty(self, level: usize) -> bool {
        let empty = |entry: &AtomicU64| read(entry, level) == Entry::Empty;
        self.entries().iter().all(empty)
    }
}

/// How many bytes an entry of this level stands for.
const fn span(level: usize) -> usize {
    PAGE << (INDEX_BITS * level)
}

fn read(entry: &AtomicU64, level: usize) -> Entry {
    decode(entry.load(Ordering::Relaxed), level)
}

/// Release: who finds the entry finds the table it leads to filled.
fn write(entry: &AtomicU64, value: u64) {
    entry.store(value, Ordering::Release);
}

impl Tables {
    /// Tables that map nothing.
    pub(crate) fn new(frames: &mut Frames) -> Result<Self, OutOfFrames> {
        Ok(Self {
            root: Table(frames.take()?),
        })
    }

    /// The physical address of the root.
    pub(crate) fn root(&self) -> usize {
        self.root.0
    }

    /// Maps a range of physical addresses at the same virtual ones, in blocks of
    /// 2 MiB where it can.
    pub(crate) fn map_at_own_address(
        &mut self,
        range: Range<usize>,
        access: Access,
        frames: &mut Frames,
    ) -> Result<(), OutOfFrames> {
        let mut at = range.start;
        while at < range.end {
            let block = at.is_multiple_of(span(1)) && range.end - at >= span(1);
            let level = usize::from(block);
            let entry = self.empty_entry(at, level, frames)?;
            write(entry, leaf(at, access, level));
            at += span(level);
        }
        Ok(())
    }

    /// Maps one page.
    pub(crate) fn map(
        &mut self,
        address: usize,
        frame: usize,
        access: Access,
        frames: &mut Frames,
    ) -> Result<(), OutOfFrames> {
        let entry = self.empty_entry(address, 0, frames)?;
        write(entry, leaf(frame, access, 0));
        Ok(())
    }

    /// The entry of `address` at this level; makes the tables that lead there.
    fn empty_entry(
        &mut self,
        address: usize,
        level: usize,
        frames: &mut Frames,
    ) -> Result<&'static AtomicU64, OutOfFrames> {
        let mut at = self.root;
        for higher in (level + 1..LEVELS).rev() {
            let entry = at.entry(address, higher);
            at = match read(entry, higher) {
                Entry::Table(next) => Table(next),
                Entry::Empty => {
                    let next = frames.take()?;
                    write(entry, table(next));
                    Table(next)
                }
                Entry::Leaf(_) => panic!("{address:#x} lies in a block that is mapped"),
            };
        }
        let entry = at.entry(address, level);
        assert_eq!(read(entry, level), Entry::Empty, "{address:#x} is mapped");
        Ok(entry)
    }

    /// Changes what may be done with mapped pages.
    pub(crate) fn set_access(&mut self, range: Range<usize>, access: Access) {
        for page in range.step_by(PAGE) {
            let mut at = self.root;
            for level in (1..LEVELS).rev() {
                match read(at.entry(page, level), level) {
                    Entry::Table(next) => at = Table(next),
                    other => panic!("{page:#x} is no mapped page: {other:?}"),
                }
            }
            let entry = at.entry(page, 0);
            match read(entry, 0) {
                Entry::Leaf(frame) => write(entry, leaf(frame, access, 0)),
                other => panic!("{page:#x} is no mapped page: {other:?}"),
            }
        }
    }

    /// Unmaps all pages in the range. Gives the frames of the pages, and those of
    /// tables that have become empty; they may not be used before the CPUs have
    /// forgotten them.
    pub(crate) fn unmap(&mut self, range: Range<usize>) -> FrameList {
        let mut unmapped = FrameList::new();
        unmap(self.root, LEVELS - 1, range, &mut unmapped);
        unmapped
    }
}

fn unmap(at: Table, level: usize, range: Range<usize>, unmapped: &mut FrameList) {
    let mut address = range.start;
    while address < range.end {
        let next = (address + 1).next_multiple_of(span(level)).min(range.end);
        let entry = at.entry(address, level);
        match read(entry, level) {
            Entry::Empty => {}
            Entry::Leaf(frame) => {
                write(entry, 0);
                unmapped.push(frame);
            }
            Entry::Table(below) => {
                unmap(Table(below), level - 1, address..next, unmapped);
                if Table(below).is_empty(level - 1) {
                    write(entry, 0);
                    unmapped.push(below);
                }
            }
        }
        address = next;
    }
}
