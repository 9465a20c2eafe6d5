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

use crate::block_table::{BlockEntries, BlockTable, Decoder};
use crate::bytes::{Reader, WINDOW};

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
        let mut entries = self.near_only(wanted)?;
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
    /// Goes over entries whose distance and position have one byte each, a window at a time: most
    /// are such. `answer` is what the last of them says that is not beyond
    /// `wanted`; gives whether the next one is.
    #[inline]
    fn pass_short(&mut self, wanted: u32, answer: &mut Option<u32>) -> bool {
        let Some(position) = self.decoder.previous else {
            // The block's first position is no difference.
            return false;
        };
        let windows = self.reader.windows();
        let mut passed = Passed::default();
        for window in windows {
            let window = u64::from_le_bytes(*window);
            if window & CONTINUED != 0 {
                break;
            }
            let positions = passed.positions_in(window);
            let beyond = self
                .text_offset
                .wrapping_add(sum((window >> 1) & (LOWEST * 0x3f) & !positions));
            if beyond > wanted {
                let mut position = position.wrapping_add(passed.difference());
                if passed.windows > 0 {
                    *answer = (!passed.ends_with_none).then_some(position);
                }
                let mut bits = 0;
                if passed.cut != 0 {
                    position = position.wrapping_add(difference(window));
                    *answer = Some(position);
                    bits = 8;
                }
                while bits < u64::BITS {
                    let entry = window >> bits;
                    self.text_offset = self.text_offset.wrapping_add((entry as u32 & 0x7f) >> 1);
                    if self.text_offset > wanted {
                        break;
                    }
                    let none = entry as u32 & 1;
                    position = position.wrapping_add(difference(entry >> 8) & none.wrapping_sub(1));
                    *answer = (none == 0).then_some(position);
                    bits += 16 - 8 * none;
                }
                return true;
            }
            self.text_offset = beyond;
            passed.add(window, positions);
        }
        if passed.windows == 0 {
            return false;
        }
        let mut position = position.wrapping_add(passed.difference());
        self.reader.skip(passed.windows * WINDOW);
        self.left = self.left.saturating_sub(passed.entries());
        *answer = (!passed.ends_with_none).then_some(position);
        if passed.cut != 0 {
            let difference = self.reader.signed().unwrap_or_default();
            position = position.wrapping_add(difference as u32);
            *answer = Some(position);
        }
        self.decoder.previous = Some(position);
        false
    }
}

/// The lowest bit of each byte of a window.
const LOWEST: u64 = u64::MAX / 0xff;

/// That of each second byte, from the first one on.
const LOWEST_EVEN: u64 = u64::MAX / 0xffff;

/// The bits that say that a number goes on in the next byte.
const CONTINUED: u64 = LOWEST << 7;

/// Windows of short entries.
#[derive(Default)]
struct Passed {
    windows: usize,
    /// The sums of two bytes of a position each, with the sign bit flipped.
    flipped: u64,
    /// For each byte of a window, in how many of them it is one of a position.
    positions: u64,
    /// 1 if the position of the last entry is in the next window.
    cut: u64,
    /// Whether the last entry has no position.
    ends_with_none: bool,
}

impl Passed {
    /// Which bytes of the next window are positions: all their bits.
    ///
    /// A byte is one if it follows the first byte of an entry that has a position, whose lowest
    /// bit is 0. Among bytes with that bit that follow each other, every second one is the
    /// first of an entry, from the first on: what is before them is no such byte, or a position.
    #[inline]
    const fn positions_in(&self, window: u64) -> u64 {
        let zeros = !window & (LOWEST ^ self.cut);
        let behind = zeros << 8;
        // All bits of these bytes.
        let runs = behind.wrapping_sub(zeros);
        let even_starts = zeros & !behind & LOWEST_EVEN;
        // Carries through the runs that start at an even byte, and makes them zero.
        let firsts = (runs.wrapping_add(even_starts) ^ (LOWEST_EVEN * 0xff)) & runs;
        (firsts << 8) | (self.cut * 0xff)
    }

    #[inline]
    const fn add(&mut self, window: u64, positions: u64) {
        self.windows += 1;
        let flipped = (window ^ (LOWEST << 6)) & positions;
        self.flipped = self.flipped.wrapping_add(pairs(flipped));
        self.positions = self.positions.wrapping_add(positions & LOWEST);
        let last = window >> 56;
        self.ends_with_none = positions >> 63 == 0;
        self.cut = (positions >> 63 | last & 1) ^ 1;
    }

    /// The sum of the differences that the positions are.
    #[inline]
    const fn difference(&self) -> u32 {
        let flipped = self.flipped.wrapping_mul(LOWEST_EVEN) >> 48;
        (flipped as u32).wrapping_sub(self.count() << 6)
    }

    /// The number of positions.
    #[inline]
    const fn count(&self) -> u32 {
        sum(self.positions)
    }

    /// The number of entries, one that is cut included.
    #[inline]
    const fn entries(&self) -> usize {
        (self.windows * WINDOW).saturating_sub(self.count() as usize)
    }
}

/// The sums of two bytes each, in 16 bits each.
#[inline]
const fn pairs(bytes: u64) -> u64 {
    (bytes & (LOWEST_EVEN * 0xff)) + ((bytes >> 8) & (LOWEST_EVEN * 0xff))
}

/// The sum of the bytes.
#[inline]
const fn sum(bytes: u64) -> u32 {
    (pairs(bytes).wrapping_mul(LOWEST_EVEN) >> 48) as u32
}

/// The signed number in the lowest seven bits.
#[inline]
const fn difference(bits: u64) -> u32 {
    ((bits as u32 & 0x7f) ^ 0x40).wrapping_sub(0x40)
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
        fn entries_of_one_and_two_bytes_are_found_wherever_they_lie_in_a_window(
            entries in list((1..64_u32, prop_oneof![(1_000..1_064_u32).prop_map(Some), Just(None)]), 1..400),
        ) {
            let bytes = section(&entries);
            let map = AddressMap::new(&bytes);
            let (mut at, mut before) = (0, None);
            for (distance, position) in &entries {
                at += distance;
                prop_assert_eq!(map.covering(at as usize - 1), before);
                prop_assert_eq!(map.covering(at as usize), *position);
                before = *position;
            }
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
    fn the_bytes_of_positions_are_told_from_first_bytes_of_entries_in_each_window() {
        // Whether a position is cut off before, which of the bytes have the lowest bit, and others.
        let windows = (0..1 << 10).map(|i| (i & 1, i >> 2, (i >> 1 & 1) * 0x2a));
        for (cut, without_position, others) in windows {
            let window = (0..WINDOW as u32).fold(0, |window, byte| {
                let none = without_position >> byte & 1;
                window | (none | others) << (8 * byte)
            });
            let mut passed = Passed {
                cut,
                ..Passed::default()
            };
            let positions = passed.positions_in(window);
            let mut is_position = cut == 1;
            for byte in window
                .to_le_bytes()
                .into_iter()
                .zip(positions.to_le_bytes())
            {
                assert_eq!(byte.1, if is_position { 0xff } else { 0 }, "{window:#018x}");
                is_position = !is_position && byte.0 & 1 == 0;
            }
            passed.add(window, positions);
            assert_eq!(passed.cut == 1, is_position, "{window:#018x}");
        }
    }

    #[test]
    fn sections_with_any_byte_changed_or_cut_off_are_looked_up_in_without_panicking() {
        let entries: Vec<(u32, Option<u32>)> = (1..300)
            .map(|i| match i % 7 {
                0 => (200, Some(50_000 + i)),
                1 | 4 => (3, None),
                _ => (1 + i % 60, Some(1_000 + i % 50)),
            })
            .collect();
        let end: u32 = entries.iter().map(|(distance, _)| distance).sum();
        let section = section(&entries);
        let look_up_in = |section: &[u8]| {
            for text_offset in [0, end / 2, end, u32::MAX] {
                let _ = AddressMap::new(section).covering(text_offset as usize);
            }
        };
        for index in 0..section.len() {
            look_up_in(&section[..index]);
            let mut changed = section.clone();
            for byte in 0..=u8::MAX {
                changed[index] = byte;
                look_up_in(&changed);
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
