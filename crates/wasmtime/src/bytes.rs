//! Reading numbers out of side tables.
//!
//! **Handler code**: trap handlers get here. Nothing in this module allocates,
//! locks, formats or panics.

/// Bytes of a [window](Reader::window).
pub(crate) const WINDOW: usize = size_of::<u64>();

/// The rest of a table, read from the front.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The number of bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.0.len()
    }

    /// The next eight bytes, the first of them lowest; `None` if there are fewer.
    #[inline]
    pub(crate) fn window(&self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.0.first_chunk()?))
    }

    /// The windows that follow each other from here on.
    #[inline]
    pub(crate) const fn windows(&self) -> &'a [[u8; WINDOW]] {
        self.0.as_chunks().0
    }

    /// Goes on behind that many bytes, at the end if there are fewer.
    #[inline]
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or(&[]);
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// An unsigned LEB128 number; `None` if it does not fit or the table ends.
    #[inline]
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let first = u64::from(self.byte()?);
        if first & 0x80 == 0 {
            return Some(first);
        }
        let mut value = first & 0x7f;
        let mut shift = 7;
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
    #[inline]
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
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.unsigned(), Some(unsigned));
            prop_assert_eq!(reader.signed(), Some(signed));
            prop_assert_eq!(reader.left(), 0);
            prop_assert_eq!(reader.byte(), None);
        }

        #[test]
        fn any_bytes_are_read_without_panicking(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes).unsigned();
            let _ = Reader::new(&bytes).signed();
        }

        #[test]
        fn a_window_is_the_next_eight_bytes(bytes: Vec<u8>, offset in 0..40_usize) {
            let mut reader = Reader::new(&bytes);
            reader.skip(offset);
            let expected = bytes.iter().skip(offset).take(WINDOW).rev();
            let expected = expected.fold(0, |window, byte| window << 8 | u64::from(*byte));
            let there = offset + WINDOW <= bytes.len();
            prop_assert_eq!(reader.window(), there.then_some(expected));
            prop_assert_eq!(reader.left(), bytes.len().saturating_sub(offset));
        }
    }
}
