//! The `.wasmtime.traps` section: which instructions trap, and why.
//!
//! A [`BlockTable`] whose blocks start with a trap code that is the default in
//! the block; an entry's flag says that the entry has a code of its own, which
//! follows as one byte. For example,
//!
//! ```text
//!   02 00 00 00  01 00 00 00 │ 10 00 00 00  00 00 00 00 │ 09  00  0b 07
//!   2 entries,   1 block     │ from 0x10    body at 0   │ default 9, …
//! ```
//!
//! says that the instruction at text offset 0x10 traps with code 9, and the
//! one 5 bytes on, at 0x15, with code 7.
//!
//! **Handler code**: trap handlers get here. Nothing in this module allocates,
//! locks, formats or panics, whatever the bytes.

use core::cmp::Ordering;
use core::ops::ControlFlow;

use trapline_code_registry::TrapKind;

use crate::block_table::{BlockEntries, BlockTable, Decoder, SHORT_IN_WINDOW};
use crate::bytes::Reader;
use crate::trap_kind_from_code;

/// A view of the section.
pub(crate) type TrapTable<'a> = BlockTable<'a, TrapCodes>;

/// Decodes the trap codes of a block.
pub(crate) struct TrapCodes {
    default: u8,
}

impl Decoder for TrapCodes {
    type Value = u8;

    #[inline]
    fn begin(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            default: reader.byte()?,
        })
    }

    #[inline]
    fn value(&mut self, differs: bool, reader: &mut Reader<'_>) -> Option<u8> {
        if differs {
            reader.byte()
        } else {
            Some(self.default)
        }
    }
}

/// The trap recorded for exactly the instruction at this text offset, in a section of these
/// bytes: [`Artifact::lookup_trap_code`](crate::Artifact::lookup_trap_code) for those who have the
/// section and not the artifact.
///
/// Any bytes will do; what is found in those that no compiler wrote means nothing. Handlers may
/// call this: it does not allocate, lock or panic.
#[inline]
#[must_use]
pub fn lookup_trap_code(section: &[u8], text_offset: usize) -> Option<TrapKind> {
    trap_kind_from_code(TrapTable::new(section).exact(text_offset)?)
}

impl TrapTable<'_> {
    /// The trap code of the entry at exactly this text offset.
    pub(crate) fn exact(self, text_offset: usize) -> Option<u8> {
        let wanted = u32::try_from(text_offset).ok()?;
        self.near(wanted)?.search(wanted).break_value()?
    }
}

/// With fewer entries than these left, one after the other is faster.
const FEW: usize = 16;

impl BlockEntries<'_, TrapCodes> {
    /// Breaks off with the answer at the first entry that is not before `wanted`.
    #[inline]
    fn search(mut self, wanted: u32) -> ControlFlow<Option<u8>> {
        let compare = |(found, code): (u32, u8)| match found.cmp(&wanted) {
            Ordering::Less => ControlFlow::Continue(()),
            Ordering::Equal => ControlFlow::Break(Some(code)),
            Ordering::Greater => ControlFlow::Break(None),
        };
        while self.left >= FEW {
            self.pass_short(wanted)?;
            // The next one is longer, or at the end of the table.
            self.next().map_or(ControlFlow::Break(None), compare)?;
        }
        self.try_for_each(compare)
    }

    /// Goes over entries with a distance of one byte, four at a time: most are such. How long
    /// one is moves the others by a shift, so that they need not wait for a load.
    #[inline]
    fn pass_short(&mut self, wanted: u32) -> ControlFlow<Option<u8>> {
        while self.left >= SHORT_IN_WINDOW
            && let Some(mut window) = self.reader.window()
        {
            let mut bits = 0;
            for passed in 0..SHORT_IN_WINDOW {
                if window & 0x80 != 0 {
                    self.left -= passed;
                    self.reader.skip(bits as usize / 8);
                    return ControlFlow::Continue(());
                }
                self.text_offset = self.text_offset.wrapping_add((window as u32 & 0x7f) >> 1);
                let differs = window as u32 & 1;
                if self.text_offset >= wanted {
                    let own = (window >> 8) as u8;
                    let code = if differs != 0 {
                        own
                    } else {
                        self.decoder.default
                    };
                    return ControlFlow::Break((self.text_offset == wanted).then_some(code));
                }
                let taken = 8 + 8 * differs;
                window >>= taken;
                bits += taken;
            }
            self.left -= SHORT_IN_WINDOW;
            self.reader.skip(bits as usize / 8);
        }
        ControlFlow::Continue(())
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
    use wasmtime_environ::bytes::write_uleb;

    /// A section with these entries: distance from the previous one, and code.
    fn section(entries: &[(u32, u8)]) -> Vec<u8> {
        encoded(entries, |bytes, block| {
            let default = block[0].1;
            bytes.push(default);
            let mut before = block[0].0;
            for (text_offset, code) in block {
                let differs = *code != default;
                let distance = u64::from(text_offset - before);
                write_uleb(bytes, distance << 1 | u64::from(differs));
                if differs {
                    bytes.push(*code);
                }
                before = *text_offset;
            }
        })
    }

    proptest! {
        #[test]
        fn each_entry_is_found_at_its_text_offset_and_nowhere_else(
            entries in list((
                prop_oneof![20 => 1..64_u32, 4 => 64..8_192_u32, 1 => 1..4_000_000_u32],
                prop_oneof![10 => Just(1), 1 => any::<u8>()],
            ), 1..400),
        ) {
            let bytes = section(&entries);
            let table = TrapTable::new(&bytes);
            prop_assert_eq!(table.entries(), entries.len());
            let (mut at, mut before) = (0, None);
            for ((distance, code), found) in entries.iter().zip(table.iter()) {
                at += distance;
                prop_assert_eq!(found, (at, *code));
                prop_assert_eq!(table.exact(at as usize), Some(*code));
                let next_to_it = before.filter(|_| *distance == 1);
                prop_assert_eq!(table.exact(at as usize - 1), next_to_it);
                before = Some(*code);
            }
            prop_assert_eq!(table.exact(at as usize + 1), None);
            prop_assert_eq!(table.exact(usize::MAX), None);
        }

        #[test]
        fn any_bytes_are_looked_up_in_without_panicking(
            mut bytes in list(any::<u8>(), 0..600),
            blocks in 0..4_u8,
            text_offset: u32,
        ) {
            let _ = TrapTable::new(&bytes).exact(text_offset as usize);
            // The same with counts that are not out of the question.
            for (byte, count) in bytes.iter_mut().zip([0, 2, 0, 0, blocks, 0, 0, 0]) {
                *byte = count;
            }
            for text_offset in [text_offset, text_offset >> 16, text_offset >> 24, u32::MAX] {
                let _ = TrapTable::new(&bytes).exact(text_offset as usize);
            }
        }
    }

    #[test]
    fn the_example_reads_as_it_says() {
        let section = [
            2, 0, 0, 0, 1, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0x0b, 7,
        ];
        let table = TrapTable::new(&section);
        assert_eq!(table.iter().collect::<Vec<_>>(), vec![(0x10, 9), (0x15, 7)]);
        assert_eq!(table.exact(0x10), Some(9));
        assert_eq!(table.exact(0x15), Some(7));
        assert_eq!(table.exact(0x14), None);
        assert_eq!(table.exact(0x16), None);
        table
            .check("traps", 0x16, "a code", |code| code == 7 || code == 9)
            .unwrap();
        assert!(
            table.check("traps", 0x15, "a code", |_| true).is_err(),
            "outside of the text"
        );
        assert!(
            table
                .check("traps", 0x16, "a code", |code| code == 9)
                .is_err()
        );
    }
}
