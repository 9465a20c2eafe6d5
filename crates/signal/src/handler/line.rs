//! What a handler has to say, without formatting. (Part of the handler: see the rule in the parent
//! module.)

/// A line of text in a fixed buffer; what does not fit is left out.
pub(super) struct Line {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Line {
    /// Twice the length of the longest message.
    const CAPACITY: usize = 512;

    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    fn byte(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    pub(super) fn text_part(&mut self, text: &str) {
        for byte in text.bytes() {
            self.byte(byte);
        }
    }

    /// `0x` and the hexadecimal digits of `address`, without leading zeros.
    pub(super) fn address(&mut self, address: usize) {
        self.text_part("0x");
        let digits = (usize::BITS - address.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            let digit = (address >> (place * 4)) as u8 & 0xf;
            self.byte(if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            });
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// Writes it, in parts if it must; gives up on the first error.
    pub(super) fn write_to_stderr(&self) {
        let mut text = self.text();
        while !text.is_empty() {
            // SAFETY: the bytes are readable for the length given.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => text = text.get(written..).unwrap_or(&[]),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_formatter_would() {
        for address in [
            0,
            1,
            9,
            10,
            0xf,
            0x10,
            0xdead_beef,
            0xfedc_ba98_7654_3210,
            usize::MAX,
        ] {
            let mut line = Line::new();
            line.address(address);
            assert_eq!(line.text(), format!("{address:#x}").as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut line = Line::new();
        for _ in 0..100 {
            line.text_part("0123456789");
        }
        assert_eq!(line.text().len(), Line::CAPACITY);
    }
}
