//! Reading numbers out of side tables.
//!
//! **Handler code**: trap handlers get here. Nothing in this module allocates,
//! locks, formats or panics.

/// The rest of a table, read from the front.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the byte with this offset on.
    pub(crate) const fn new(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    /// Offset of the next byte from the start of the table.
    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    /// An unsigned LEB128 number; `None` if it does not fit or the table ends.
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        let mut shift = 0;
        while shift < 64 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }

    /// A signed LEB128 number of at most 63 bits.
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        let mut shift = 0;
        while shift < 63 {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                // Bit 6 of the last byte is the sign.
                let unused = 64 - shift;
                return Some((value << unused) >> unused);
            }
        }
        None
    }
}

/// The little-endian number at this offset, wherever that may be aligned.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_their_encoding(unsigned: u64, signed in -(1_i64 << 62)..(1 << 62)) {
            let mut bytes = Vec::new();
            wasmtime_environ::bytes::write_uleb(&mut bytes, unsigned);
            wasmtime_environ::bytes::write_sleb(&mut bytes, signed);
            let mut reader = Reader::new(&bytes, 0);
            prop_assert_eq!(reader.unsigned(), Some(unsigned));
            prop_assert_eq!(reader.signed(), Some(signed));
            prop_assert_eq!(reader.position(), bytes.len());
            prop_assert_eq!(reader.byte(), None);
        }

        #[test]
        fn any_bytes_are_read_without_panicking(bytes: Vec<u8>, offset: usize) {
            let _ = u32_at(&bytes, offset);
            let _ = Reader::new(&bytes, offset).unsigned();
            let _ = Reader::new(&bytes, offset).signed();
        }
    }
}
