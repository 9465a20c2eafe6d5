//! Side tables of an artifact: values for offsets in its text, in the
//! compiler's block format, read in place.
//!
//! The sections `.wasmtime.traps` and `.wasmtime.addrmap` share it; the
//! sources of `wasmtime-environ` 48 (`TrapEncodingBuilder`,
//! `AddressMapSection`) describe it. All numbers are little-endian, nothing is
//! aligned:
//!
//! ```text
//!   u32 entries, u32 blocks
//!   blocks × (u32 text offset of the first entry, u32 position of the body)
//!   bodies, their positions relative to here, each with up to 128 entries:
//!     [what each block of this table starts with]
//!     entries × (LEB128: distance from the previous text offset << 1 | flag,
//!                [value])
//! ```
//!
//! **Handler code**, except [`BlockTable::check`]: trap handlers get here.
//! Nothing else in this module allocates, locks, formats or panics, whatever
//! the bytes.

use core::marker::PhantomData;

use crate::bytes::{Reader, u32_at};

/// Entries in a full block.
const BLOCK: usize = 128;

/// Bytes of the two counts, and of one entry of the block index.
const COUNTS: usize = 8;
const INDEX_ENTRY: usize = 8;

/// How the values of a table are encoded; holds what is carried over from one
/// entry of a block to the next.
pub(crate) trait Decoder: Sized {
    type Value: Copy + core::fmt::Debug;

    /// Reads what a block starts with.
    fn begin(reader: &mut Reader<'_>) -> Option<Self>;

    /// Reads the value of an entry with this flag.
    fn value(&mut self, flag: bool, reader: &mut Reader<'_>) -> Option<Self::Value>;
}

/// A view of a table.
pub(crate) struct BlockTable<'a, D> {
    bytes: &'a [u8],
    decoder: PhantomData<D>,
}

impl<D> Clone for BlockTable<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for BlockTable<'_, D> {}

impl<'a, D: Decoder> BlockTable<'a, D> {
    /// A view of a section's bytes; an empty table if there are none.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            decoder: PhantomData,
        }
    }

    /// The number of entries.
    pub(crate) fn entries(self) -> usize {
        u32_at(self.bytes, 0).map_or(0, |entries| entries as usize)
    }

    fn blocks(self) -> usize {
        u32_at(self.bytes, 4).map_or(0, |blocks| blocks as usize)
    }

    /// Where the bodies begin.
    fn bodies(self) -> Option<usize> {
        self.blocks().checked_mul(INDEX_ENTRY)?.checked_add(COUNTS)
    }

    /// The text offset of a block's first entry, and where its body begins.
    fn block(self, block: usize) -> Option<(u32, usize)> {
        let index = block.checked_mul(INDEX_ENTRY)?.checked_add(COUNTS)?;
        let first = u32_at(self.bytes, index)?;
        let body = u32_at(self.bytes, index.checked_add(4)?)?;
        Some((first, self.bodies()?.checked_add(body as usize)?))
    }

    fn block_entries(self, block: usize) -> Option<BlockEntries<'a, D>> {
        let (text_offset, body) = self.block(block)?;
        let mut reader = Reader::new(self.bytes, body);
        let decoder = D::begin(&mut reader)?;
        let left = self
            .entries()
            .checked_sub(block.checked_mul(BLOCK)?)?
            .min(BLOCK);
        Some(BlockEntries {
            reader,
            text_offset,
            decoder,
            left,
        })
    }

    /// The last entry at or before a text offset: where it lies, its value.
    pub(crate) fn covering(self, text_offset: usize) -> Option<(u32, D::Value)> {
        let text_offset = u32::try_from(text_offset).ok()?;
        // Blocks below `low` begin at or before the offset, those from `high`
        // on after it.
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.block(middle)?.0 <= text_offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let entries = self.block_entries(low.checked_sub(1)?)?;
        entries
            .take_while(|(offset, _)| *offset <= text_offset)
            .last()
    }

    /// The value of the entry at exactly this text offset.
    pub(crate) fn exact(self, text_offset: usize) -> Option<D::Value> {
        let (offset, value) = self.covering(text_offset)?;
        (offset as usize == text_offset).then_some(value)
    }

    /// All entries, in ascending order of their text offsets.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u32, D::Value)> + 'a
    where
        D: 'a,
    {
        (0..self.blocks()).flat_map(move |block| self.block_entries(block).into_iter().flatten())
    }
}

/// The entries of one block.
struct BlockEntries<'a, D> {
    reader: Reader<'a>,
    text_offset: u32,
    decoder: D,
    left: usize,
}

impl<D: Decoder> Iterator for BlockEntries<'_, D> {
    type Item = (u32, D::Value);

    fn next(&mut self) -> Option<(u32, D::Value)> {
        self.left = self.left.checked_sub(1)?;
        let token = self.reader.unsigned()?;
        let distance = u32::try_from(token >> 1).ok()?;
        self.text_offset = self.text_offset.checked_add(distance)?;
        let value = self.decoder.value(token & 1 != 0, &mut self.reader)?;
        Some((self.text_offset, value))
    }
}

/// Not handler code: run once, when an artifact is parsed.
mod check {
    use super::{BLOCK, BlockTable, COUNTS, Decoder, INDEX_ENTRY};
    use crate::error::{ArtifactError, Place};
    use alloc::format;

    impl<D: Decoder> BlockTable<'_, D> {
        /// Checks that the table is what the compiler writes, so that every
        /// entry is found by a lookup: sizes that add up, blocks without gaps,
        /// text offsets that ascend strictly and stay below `text`. `expected`
        /// is what `accepts` wants of a value.
        pub(crate) fn check(
            self,
            section: &'static str,
            text: usize,
            expected: &'static str,
            mut accepts: impl FnMut(D::Value) -> bool,
        ) -> Result<(), ArtifactError> {
            let place = Place::section(section);
            let (length, entries, blocks) = (self.bytes.len(), self.entries(), self.blocks());
            let Some(bodies) = self.bodies().filter(|bodies| *bodies <= length) else {
                let expected = format!("two counts and an index of {blocks} blocks");
                return Err(place.at(0).corrupt(expected, format!("{length} bytes")));
            };
            if blocks != entries.div_ceil(BLOCK) {
                let expected = format!("{} blocks for {entries} entries", entries.div_ceil(BLOCK));
                return Err(place.at(4).corrupt(expected, format!("{blocks}")));
            }
            let mut end = bodies;
            let mut previous: Option<u32> = None;
            for block in 0..blocks {
                let index = place.at(COUNTS + INDEX_ENTRY * block);
                let truncated = |at| {
                    place
                        .at(at)
                        .corrupt("an entry", "no number, or the end of the section")
                };
                let (first, body) = self.block(block).ok_or_else(|| truncated(end))?;
                if body != end {
                    let expected = format!("the body of block {block} at byte {end:#x}");
                    return Err(index.corrupt(expected, format!("{body:#x}")));
                }
                let mut list = self.block_entries(block).ok_or_else(|| truncated(body))?;
                for number in 0..(entries - block * BLOCK).min(BLOCK) {
                    let at = list.reader.position();
                    let (offset, value) = list.next().ok_or_else(|| truncated(at))?;
                    if number == 0 && offset != first {
                        let expected = format!("the block's first text offset, {first:#x}");
                        return Err(place.at(at).corrupt(expected, format!("{offset:#x}")));
                    }
                    if let Some(previous) = previous.filter(|previous| *previous >= offset) {
                        let expected = format!("text offsets that ascend from {previous:#x}");
                        return Err(place.at(at).corrupt(expected, format!("{offset:#x}")));
                    }
                    if offset as usize >= text {
                        let expected = format!("text offsets below the text's end, {text:#x}");
                        return Err(place.at(at).corrupt(expected, format!("{offset:#x}")));
                    }
                    if !accepts(value) {
                        return Err(place.at(at).corrupt(expected, format!("{value:?}")));
                    }
                    previous = Some(offset);
                }
                end = list.reader.position();
            }
            if end != length {
                let found = format!("{} more bytes", length - end);
                return Err(place.at(end).corrupt("the end of the section", found));
            }
            Ok(())
        }
    }
}
