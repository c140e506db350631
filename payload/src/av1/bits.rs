//! Bits, the highest first.

/// Reads bits.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// `f(1)`.
    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit != 0)
    }

    /// `f(count)`, up to 32.
    pub(super) fn number(&mut self, count: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..count {
            number = number << 1 | u32::from(self.flag()?);
        }
        Some(number)
    }

    /// `f(count)`, up to 8.
    pub(super) fn byte(&mut self, count: u32) -> Option<u8> {
        u8::try_from(self.number(count)?).ok()
    }

    /// `ns(range)`: a number below `range` (AV1 specification section 4.10.7).
    pub(super) fn below(&mut self, range: u32) -> Option<u32> {
        let width = u32::BITS - range.leading_zeros();
        let short = (1_u32 << width).wrapping_sub(range);
        let number = self.number(width.checked_sub(1)?)?;
        if number < short {
            return Some(number);
        }
        let more = u32::from(self.flag()?);
        Some((number << 1) + more - short)
    }
}

/// Writes bits into a buffer that must be long enough.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Pen<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were begun.
    pub(super) fn length(&self) -> usize {
        self.at.div_ceil(8)
    }

    pub(super) fn flag(&mut self, set: bool) -> Option<()> {
        let byte = self.bytes.get_mut(self.at / 8)?;
        let bit = 0x80 >> (self.at % 8);
        *byte = if set { *byte | bit } else { *byte & !bit };
        self.at += 1;
        Some(())
    }

    pub(super) fn number(&mut self, number: u32, count: u32) -> Option<()> {
        (0..count)
            .rev()
            .try_for_each(|bit| self.flag(number >> bit & 1 != 0))
    }

    /// The bits of `from` up to place `end`.
    pub(super) fn copy(&mut self, from: &mut Bits<'_>, end: usize) -> Option<()> {
        while from.at() < end {
            self.flag(from.flag()?)?;
        }
        Some(())
    }

    /// Zeros up to the next byte.
    pub(super) fn pad(&mut self) -> Option<()> {
        while !self.at.is_multiple_of(8) {
            self.flag(false)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_range_take_as_few_bits_as_they_can() {
        // The table of the AV1 specification for ns(5): 00, 01, 10, 110, 111.
        for (bits, number, width) in [
            (0b0000_0000, 0, 2),
            (0b0100_0000, 1, 2),
            (0b1000_0000, 2, 2),
            (0b1100_0000, 3, 3),
            (0b1110_0000, 4, 3),
        ] {
            let bytes = [bits];
            let mut reader = Bits::new(&bytes);
            assert_eq!(reader.below(5), Some(number));
            assert_eq!(reader.at(), width);
        }
        assert_eq!(Bits::new(&[]).below(1), Some(0));
        assert_eq!(Bits::new(&[0]).below(0), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = [0xff; 3];
        let mut pen = Pen::new(&mut bytes);
        pen.number(0b101, 3).unwrap();
        pen.copy(&mut Bits::new(&[0xf0]), 6).unwrap();
        pen.pad().unwrap();
        assert_eq!(pen.length(), 2);
        assert_eq!(bytes, [0b1011_1110, 0, 0xff]);
        let mut reader = Bits::new(&bytes);
        assert_eq!(reader.number(5), Some(0b10111));
        assert_eq!(reader.number(20), None);
    }
}
