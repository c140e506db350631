//! Bytes of a payload that differ from receiver to receiver, such as a VP8 picture id: the payload
//! itself is shared by all.

/// Most bytes that differ.
const BYTES_MAX: usize = 4;

/// Bytes to overwrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    bytes: [(u8, u8); BYTES_MAX],
    count: u8,
}

impl Patch {
    /// One more byte. Beyond the fourth, or the 255th of a payload: ignored.
    pub fn set(&mut self, offset: usize, value: u8) {
        if let (Ok(offset), Some(slot)) = (
            u8::try_from(offset),
            self.bytes.get_mut(usize::from(self.count)),
        ) {
            *slot = (offset, value);
            self.count += 1;
        }
    }

    /// Makes it so.
    pub fn apply(&self, payload: &mut [u8]) {
        for (offset, value) in self.bytes.iter().take(usize::from(self.count)) {
            if let Some(byte) = payload.get_mut(usize::from(*offset)) {
                *byte = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_changes_and_nothing_behind_the_end() {
        let mut patch = Patch::default();
        let mut payload = *b"abcd";
        patch.apply(&mut payload);
        assert_eq!(&payload, b"abcd");
        patch.set(1, b'x');
        patch.set(3, b'y');
        patch.set(9, b'z');
        patch.set(300, b'z');
        patch.apply(&mut payload);
        assert_eq!(&payload, b"axcy");
    }
}
