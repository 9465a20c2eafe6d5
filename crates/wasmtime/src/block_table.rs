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

use crate::bytes::{Reader, WINDOW};

/// Entries in a full block.
const BLOCK: usize = 128;

/// Entries of at most two bytes that a [window](Reader::window) has for sure.
pub(crate) const SHORT_IN_WINDOW: usize = WINDOW / 2;

/// Bytes of the two counts, and of one entry of the block index.
const COUNTS: usize = 8;
const INDEX_ENTRY: usize = 8;

/// One entry of the block index.
type IndexEntry = [u8; INDEX_ENTRY];

/// The text offset of a block's first entry, and where its body begins.
#[inline]
fn read_index(entry: &IndexEntry) -> (u32, u32) {
    let both = u64::from_le_bytes(*entry);
    (both as u32, (both >> 32) as u32)
}

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
        self.bytes
            .first_chunk()
            .map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// `None` if the bytes are too few for what they say.
    #[inline]
    fn parts(self) -> Option<Parts<'a>> {
        let (entries, rest) = self.bytes.split_first_chunk()?;
        let (blocks, rest) = rest.split_first_chunk()?;
        let index = (u32::from_le_bytes(*blocks) as usize).checked_mul(INDEX_ENTRY)?;
        let (index, bodies) = rest.split_at_checked(index)?;
        Some(Parts {
            entries: u32::from_le_bytes(*entries) as usize,
            index: index.as_chunks().0,
            bodies,
        })
    }

    /// The entries of a block, read from `bodies`: all of them, or as far as the block's own.
    #[inline]
    fn block_entries(
        self,
        parts: &Parts<'a>,
        bodies: &'a [u8],
        block: usize,
    ) -> Option<BlockEntries<'a, D>> {
        let (text_offset, body) = read_index(parts.index.get(block)?);
        let mut reader = Reader::new(bodies.get(body as usize..)?);
        let decoder = D::begin(&mut reader)?;
        let before = block.checked_mul(BLOCK)?;
        let left = parts.entries.checked_sub(before)?.min(BLOCK);
        Some(BlockEntries {
            reader,
            text_offset,
            decoder,
            left,
        })
    }

    /// The entries of the last block that begins at or before a text offset: others need
    /// not be looked at.
    #[inline]
    pub(crate) fn near(self, text_offset: u32) -> Option<BlockEntries<'a, D>> {
        let parts = self.parts()?;
        let block = parts.first_beyond(text_offset).checked_sub(1)?;
        self.block_entries(&parts, parts.bodies, block)
    }

    /// The same, with a reader that ends where the block does.
    #[inline]
    pub(crate) fn near_only(self, text_offset: u32) -> Option<BlockEntries<'a, D>> {
        let parts = self.parts()?;
        let next = parts.first_beyond(text_offset);
        let bodies = match parts.index.get(next) {
            Some(entry) => parts.bodies.get(..read_index(entry).1 as usize)?,
            None => parts.bodies,
        };
        self.block_entries(&parts, bodies, next.checked_sub(1)?)
    }

    /// All entries, in ascending order of their text offsets.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u32, D::Value)> + 'a
    where
        D: 'a,
    {
        self.parts().into_iter().flat_map(move |parts| {
            (0..parts.index.len()).flat_map(move |block| {
                let entries = self.block_entries(&parts, parts.bodies, block);
                entries.into_iter().flatten()
            })
        })
    }
}

/// A table taken apart.
struct Parts<'a> {
    entries: usize,
    index: &'a [IndexEntry],
    bodies: &'a [u8],
}

impl Parts<'_> {
    /// The number of the first block that begins beyond a text offset.
    #[inline]
    fn first_beyond(&self, text_offset: u32) -> usize {
        self.index
            .partition_point(|entry| read_index(entry).0 <= text_offset)
    }
}

/// The entries of one block that are left.
pub(crate) struct BlockEntries<'a, D> {
    pub(crate) reader: Reader<'a>,
    /// That of the previous entry, or of the block.
    pub(crate) text_offset: u32,
    pub(crate) decoder: D,
    pub(crate) left: usize,
}

impl<D: Decoder> Iterator for BlockEntries<'_, D> {
    type Item = (u32, D::Value);

    #[inline]
    fn next(&mut self) -> Option<(u32, D::Value)> {
        self.left = self.left.checked_sub(1)?;
        let token = self.reader.unsigned()?;
        let distance = u32::try_from(token >> 1).ok()?;
        self.text_offset = self.text_offset.checked_add(distance)?;
        let value = self.decoder.value(token & 1 != 0, &mut self.reader)?;
        Some((self.text_offset, value))
    }
}

/// A section with these entries, of which the first numbers are distances from the previous
/// one; `body` writes a block's, of which they are text offsets.
#[cfg(test)]
pub(crate) fn encoded<T: Copy>(
    entries: &[(u32, T)],
    body: impl Fn(&mut alloc::vec::Vec<u8>, &[(u32, T)]),
) -> alloc::vec::Vec<u8> {
    let mut at = 0;
    let placed: alloc::vec::Vec<(u32, T)> = entries
        .iter()
        .map(|(distance, value)| {
            at += distance;
            (at, *value)
        })
        .collect();
    let mut section = (entries.len() as u32).to_le_bytes().to_vec();
    section.extend((entries.len().div_ceil(BLOCK) as u32).to_le_bytes());
    let mut bodies = alloc::vec::Vec::new();
    for block in placed.chunks(BLOCK) {
        section.extend(block[0].0.to_le_bytes());
        section.extend((bodies.len() as u32).to_le_bytes());
        body(&mut bodies, block);
    }
    section.extend(bodies);
    section
}

/// Not handler code: run once, when an artifact is parsed.
mod check {
    use super::{BLOCK, BlockTable, COUNTS, Decoder, INDEX_ENTRY, read_index};
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
            let length = self.bytes.len();
            let Some(parts) = self.parts() else {
                let blocks = self.bytes.get(4..).and_then(<[u8]>::first_chunk);
                let blocks = blocks.map_or(0, |count| u32::from_le_bytes(*count));
                let expected = format!("two counts and an index of {blocks} blocks");
                return Err(place.at(0).corrupt(expected, format!("{length} bytes")));
            };
            let (entries, blocks) = (parts.entries, parts.index.len());
            if blocks != entries.div_ceil(BLOCK) {
                let expected = format!("{} blocks for {entries} entries", entries.div_ceil(BLOCK));
                return Err(place.at(4).corrupt(expected, format!("{blocks}")));
            }
            let start = length - parts.bodies.len();
            let mut end = start;
            let mut previous: Option<u32> = None;
            for (block, entry) in parts.index.iter().enumerate() {
                let indexed = place.at(COUNTS + INDEX_ENTRY * block);
                let truncated = |at| {
                    place
                        .at(at)
                        .corrupt("an entry", "no number, or the end of the section")
                };
                let (first, body) = read_index(entry);
                let body = start.saturating_add(body as usize);
                if body != end {
                    let expected = format!("the body of block {block} at byte {end:#x}");
                    return Err(indexed.corrupt(expected, format!("{body:#x}")));
                }
                let mut list = self
                    .block_entries(&parts, parts.bodies, block)
                    .ok_or_else(|| truncated(body))?;
                for number in 0..(entries - block * BLOCK).min(BLOCK) {
                    let at = length - list.reader.left();
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
                end = length - list.reader.left();
            }
            if end != length {
                let found = format!("{} more bytes", length - end);
                return Err(place.at(end).corrupt("the end of the section", found));
            }
            Ok(())
        }
    }
}
