//! Bytes of a payload that differ from receiver to receiver: the payload itself is shared by all.

/// Most bytes that differ: a picture id of two and a TL0PICIDX.
const BYTES_MAX: usize = 3;

/// Bytes to overwrite, by their place in the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    bytes: [(u8, u8); BYTES_MAX],
    count: u8,
}

impl Edits {
    /// One more byte. Beyond the third: ignored.
    #[inline]
    pub(crate) fn set(&mut self, offset: u8, value: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.count)) {
            *slot = (offset, value);
            self.count += 1;
        }
    }

    /// Places and their new values.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        let set = self.bytes.iter().take(usize::from(self.count));
        set.map(|(offset, value)| (usize::from(*offset), *value))
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Makes it so.
    pub fn apply(&self, payload: &mut [u8]) {
        for (offset, value) in self.iter() {
            if let Some(byte) = payload.get_mut(offset) {
                *byte = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes_and_nothing_behind_the_end() {
        let mut edits = Edits::default();
        assert!(edits.is_empty());
        edits.set(1, b'x');
        edits.set(9, b'z');
        edits.set(2, b'y');
        edits.set(0, b'w');
        let mut payload = *b"abcd";
        edits.apply(&mut payload);
        assert_eq!(&payload, b"axyd");
    }
}
