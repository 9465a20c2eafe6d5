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

use crate::block_table::{BlockTable, Decoder};
use crate::bytes::Reader;

/// A view of the section.
pub(crate) type AddressMap<'a> = BlockTable<'a, Positions>;

/// Decodes the module offsets of a block.
pub(crate) struct Positions {
    previous: Option<u32>,
}

impl Decoder for Positions {
    type Value = Option<u32>;

    fn begin(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self { previous: None })
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

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
        assert_eq!(map.covering(3), Some((0, Some(42))));
        assert_eq!(map.covering(4), Some((4, Some(41))));
        assert_eq!(map.covering(1000), Some((4, Some(41))));
        map.check("map", 5, "a position", |_| true).unwrap();
    }
}
