//! The `.wasmtime.addrmap` section: what each instruction was compiled from.
//!
//! A [`BlockTable`] whose entries cover the text from their own offset up to
//! the next entry's. An entry's flag says that nothing of the module stands
//! behind it; the others have a byte offset in the module: the first in a
//! block as LEB128, each further one as the signed LEB128 difference from the
//! previous one. For example,
//!
//! ```text
//!   02 00 00 00  01 00 00 00 │ 00 00 00 00  00 00 00 00 │ 00 2a  08 7f
//!   2 entries,   1 block     │ from 0       body at 0   │ …
//! ```
//!
//! says that the text from 0 to 4 comes from byte 42 of the module, the rest
//! from byte 41.

use crate::block_table::{BlockEntries, BlockTable, Decoder, SHORT_IN_WINDOW};
use crate::bytes::Reader;

/// A view of the section.
pub(crate) type AddressMap<'a> = BlockTable<'a, Positions>;

/// Decodes the module offsets of a block.
pub(crate) struct Positions {
    previous: Option<u32>,
}

impl Decoder for Positions {
    type Value = Option<u32>;

    #[inline]
    fn begin(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self { previous: None })
    }

    #[inline]
    fn value(&mut self, none: bool, reader: &mut Reader<'_>) -> Option<Option<u32>> {
        if none {
            return Some(None);
        }
        let position = match self.previous {
            None => u32::try_from(reader.unsigned()?).ok()?,
            Some(previous) => {
                u32::try_from(i64::from(previous).checked_add(reader.signed()?)?).ok()?
            }
        };
        self.previous = Some(position);
        Some(Some(position))
    }
}

/// The bytecode offset of the instruction that covers this text offset, in a section of these
/// bytes; `None` if no bytecode stands behind it. It is
/// [`Artifact::lookup_bytecode_offset`](crate::Artifact::lookup_bytecode_offset) for those who have
/// the section and not the artifact.
///
/// Any bytes will do; what is found in those that no compiler wrote means nothing.
#[inline]
#[must_use]
pub fn lookup_bytecode_offset(section: &[u8], text_offset: usize) -> Option<u32> {
    AddressMap::new(section).covering(text_offset)
}

impl AddressMap<'_> {
    /// What the last entry at or before a text offset says.
    pub(crate) fn covering(self, text_offset: usize) -> Option<u32> {
        let wanted = u32::try_from(text_offset).ok()?;
        let mut entries = self.near(wanted)?;
        // What an entry says is the answer if the next one is beyond.
        let mut answer = None;
        loop {
            if entries.pass_short(wanted, &mut answer) {
                return answer;
            }
            match entries.next() {
                Some((text_offset, position)) if text_offset <= wanted => answer = position,
                _ => return answer,
            }
        }
    }
}

impl BlockEntries<'_, Positions> {
    /// Goes over entries whose distance and position have one byte each, four at a time: most
    /// are such. How long one is moves the others by a shift, so that they need not
    /// wait for a load. `answer` is what the last of them says that is not beyond
    /// `wanted`; gives whether the next one is.
    #[inline]
    fn pass_short(&mut self, wanted: u32, answer: &mut Option<u32>) -> bool {
        let Some(mut position) = self.decoder.previous else {
            // The block's first position is no difference.
            return false;
        };
        while self.left >= SHORT_IN_WINDOW
            && let Some(mut window) = self.reader.window()
        {
            let mut bits = 0;
            for passed in 0..SHORT_IN_WINDOW {
                let none = window as u32 & 1;
                // All ones if there is a position.
                let there = none.wrapping_sub(1);
                if window as u32 & (0x80 | (0x8000 & there)) != 0 {
                    self.decoder.previous = Some(position);
                    self.left -= passed;
                    self.reader.skip(bits as usize / 8);
                    return false;
                }
                let next = self.text_offset.wrapping_add((window as u32 & 0x7f) >> 1);
                if next > wanted {
                    return true;
                }
                self.text_offset = next;
                // Bit 6 is the sign.
                let difference = (((window >> 8) as u32 & 0x7f) ^ 0x40).wrapping_sub(0x40);
                position = position.wrapping_add(difference & there);
                *answer = (none == 0).then_some(position);
                let taken = 16 - 8 * none;
                window >>= taken;
                bits += taken;
            }
            self.decoder.previous = Some(position);
            self.left -= SHORT_IN_WINDOW;
            self.reader.skip(bits as usize / 8);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_table::encoded;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::collection::vec as list;
    use proptest::prelude::*;
    use wasmtime_environ::bytes::{write_sleb, write_uleb};

    /// A section with these entries: distance from the previous one, and position.
    fn section(entries: &[(u32, Option<u32>)]) -> Vec<u8> {
        encoded(entries, |bytes, block| {
            let mut before = block[0].0;
            let mut last = None;
            for (text_offset, position) in block {
                let distance = u64::from(text_offset - before);
                write_uleb(bytes, distance << 1 | u64::from(position.is_none()));
                before = *text_offset;
                let Some(position) = *position else { continue };
                match last {
                    None => write_uleb(bytes, position.into()),
                    Some(last) => write_sleb(bytes, i64::from(position) - i64::from(last)),
                }
                last = Some(position);
            }
        })
    }

    proptest! {
        #[test]
        fn each_text_offset_is_covered_by_the_last_entry_at_or_before_it(
            entries in list((
                prop_oneof![20 => 1..64_u32, 2 => 64..8_192_u32, 1 => 1..4_000_000_u32],
                prop_oneof![3 => (1_000..1_040_u32).prop_map(Some), 1 => Just(None), 1 => (0..u32::MAX).prop_map(Some)],
            ), 1..400),
        ) {
            let bytes = section(&entries);
            let map = AddressMap::new(&bytes);
            prop_assert_eq!(map.entries(), entries.len());
            let (mut at, mut before) = (0, None);
            for ((distance, position), found) in entries.iter().zip(map.iter()) {
                at += distance;
                prop_assert_eq!(found, (at, *position));
                prop_assert_eq!(map.covering(at as usize - 1), before);
                prop_assert_eq!(map.covering(at as usize), *position);
                before = *position;
            }
            prop_assert_eq!(map.covering(at as usize + 1), before);
            prop_assert_eq!(map.covering(u32::MAX as usize), before);
        }

        #[test]
        fn any_bytes_are_looked_up_in_without_panicking(
            mut bytes in list(any::<u8>(), 0..600),
            blocks in 0..4_u8,
            text_offset: u32,
        ) {
            let _ = AddressMap::new(&bytes).covering(text_offset as usize);
            // The same with counts that are not out of the question.
            for (byte, count) in bytes.iter_mut().zip([0, 2, 0, 0, blocks, 0, 0, 0]) {
                *byte = count;
            }
            for text_offset in [text_offset, text_offset >> 16, text_offset >> 24, u32::MAX] {
                let _ = AddressMap::new(&bytes).covering(text_offset as usize);
            }
        }
    }

    #[test]
    fn the_example_reads_as_it_says() {
        let section = [
            2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x2a, 8, 0x7f,
        ];
        let map = AddressMap::new(&section);
        assert_eq!(
            map.iter().collect::<Vec<_>>(),
            vec![(0, Some(42)), (4, Some(41))]
        );
        assert_eq!(map.covering(3), Some(42));
        assert_eq!(map.covering(4), Some(41));
        assert_eq!(map.covering(1000), Some(41));
        map.check("map", 5, "a position", |_| true).unwrap();
    }
}
