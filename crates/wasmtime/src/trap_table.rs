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

use crate::block_table::{BlockTable, Decoder};
use crate::bytes::Reader;

/// A view of the section.
pub(crate) type TrapTable<'a> = BlockTable<'a, TrapCodes>;

/// Decodes the trap codes of a block.
pub(crate) struct TrapCodes {
    default: u8,
}

impl Decoder for TrapCodes {
    type Value = u8;

    fn begin(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            default: reader.byte()?,
        })
    }

    fn value(&mut self, differs: bool, reader: &mut Reader<'_>) -> Option<u8> {
        if differs {
            reader.byte()
        } else {
            Some(self.default)
        }
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
