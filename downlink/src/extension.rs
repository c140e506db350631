//! Header extensions of a packet (RFC 8285).

use crate::patch::Patch;
use std::fmt;
use std::sync::Arc;

/// Bytes of all extensions of a packet, with their heads.
const BYTES_MAX: usize = 48;
/// One-byte heads name extensions up to here (section 4.2), of 1 to 16 bytes.
const SHORT_ID_MAX: u8 = 14;
const SHORT_BYTES_MAX: usize = 16;
const SHORT_FORM: u16 = 0xbede;
const LONG_FORM: u16 = 0x1000;

/// An extension that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormError;

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header extensions do not fit")
    }
}

impl std::error::Error for FormError {}

/// An extension that all receivers of a packet share, such as AV1's dependency descriptor: it may be long,
/// and goes along when the packet is sent once more.
#[derive(Clone, Debug)]
pub struct SharedExtension {
    /// The receiver's id for it: 1 to 255, but not 15.
    pub id: u8,
    /// At most 255 bytes (section 4.3); longer ones are left out.
    pub bytes: Arc<[u8]>,
    /// What of that is different for this receiver.
    pub patch: Patch,
}

impl SharedExtension {
    fn is_long(&self) -> bool {
        is_long(self.id, self.bytes.len())
    }

    fn write(&self, long: bool, packet: &mut Vec<u8>) {
        let Ok(length) = u8::try_from(self.bytes.len()) else {
            return;
        };
        push_head(self.id, length, long, packet);
        let begin = packet.len();
        packet.extend_from_slice(&self.bytes);
        if let Some(value) = packet.get_mut(begin..) {
            self.patch.apply(value);
        }
    }
}

/// It needs a head of two bytes.
fn is_long(id: u8, length: usize) -> bool {
    id > SHORT_ID_MAX || length == 0 || length > SHORT_BYTES_MAX
}

fn push_head(id: u8, length: u8, long: bool, packet: &mut Vec<u8>) {
    if long {
        packet.extend_from_slice(&[id, length]);
    } else {
        packet.push((id << 4) | length.wrapping_sub(1));
    }
}

/// The extensions of a packet. Those of most packets are empty.
#[derive(Clone, Copy, Debug)]
pub struct Extensions {
    /// `id, length, value` one after the other.
    items: [u8; BYTES_MAX],
    length: u8,
    long: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            items: [0; BYTES_MAX],
            length: 0,
            long: false,
        }
    }
}

impl Extensions {
    /// Adds one.
    ///
    /// # Errors
    /// Its id is none (section 4.2: 1 to 255, but not 15), it is too long, or there are too many.
    pub fn push(&mut self, id: u8, value: &[u8]) -> Result<(), FormError> {
        let begin = usize::from(self.length);
        let end = begin + 2 + value.len();
        let length = u8::try_from(value.len()).map_err(|_| FormError)?;
        if id == 0 || id == 15 {
            return Err(FormError);
        }
        let place = self.items.get_mut(begin..end).ok_or(FormError)?;
        let (head, body) = place.split_first_chunk_mut::<2>().ok_or(FormError)?;
        *head = [id, length];
        body.copy_from_slice(value);
        self.length = u8::try_from(end).map_err(|_| FormError)?;
        self.long |= is_long(id, value.len());
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes them behind a packet's fixed header, the shared one last.
    pub(crate) fn write(&self, shared: Option<&SharedExtension>, packet: &mut Vec<u8>) {
        let begin = packet.len();
        let long = self.long || shared.is_some_and(SharedExtension::is_long);
        let form = if long { LONG_FORM } else { SHORT_FORM };
        packet.extend_from_slice(&form.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        let mut rest = self
            .items
            .get(..usize::from(self.length))
            .unwrap_or_default();
        while let Some(([id, length], behind)) = rest.split_first_chunk::<2>() {
            let (value, behind) = behind
                .split_at_checked(usize::from(*length))
                .unwrap_or_default();
            rest = behind;
            push_head(*id, *length, long, packet);
            packet.extend_from_slice(value);
        }
        if let Some(shared) = shared {
            shared.write(long, packet);
        }
        while !(packet.len() - begin).is_multiple_of(4) {
            packet.push(0);
        }
        let words = (packet.len() - begin) / 4 - 1;
        // At most 96 bytes and 257 of the shared one: 89 words.
        if let Some(low) = packet.get_mut(begin + 3) {
            *low = words as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(items: &[(u8, &[u8])]) -> Vec<u8> {
        let mut extensions = Extensions::default();
        for (id, value) in items {
            extensions.push(*id, value).unwrap();
        }
        let mut packet = vec![9; 12];
        extensions.write(None, &mut packet);
        packet.split_off(12)
    }

    #[test]
    fn short_ones_have_heads_of_one_byte() {
        assert_eq!(
            written(&[(1, &[0x85]), (4, b"0")]),
            [0xbe, 0xde, 0, 1, 0x10, 0x85, 0x40, b'0']
        );
        assert_eq!(
            written(&[(14, b"abc")]),
            [0xbe, 0xde, 0, 1, 0xe2, b'a', b'b', b'c']
        );
        assert_eq!(
            written(&[(3, b"ab")]),
            [0xbe, 0xde, 0, 1, 0x31, b'a', b'b', 0]
        );
    }

    #[test]
    fn one_that_is_long_gives_all_of_them_longer_heads() {
        let value = [7; 17];
        let packet = written(&[(1, &[0x85]), (2, &value)]);
        assert_eq!(packet[..8], [0x10, 0, 0, 6, 1, 1, 0x85, 2]);
        assert_eq!(packet.len(), 4 + 24);
        assert_eq!(written(&[(16, &[1])])[..7], [0x10, 0, 0, 1, 16, 1, 1]);
    }

    #[test]
    fn what_has_no_place_is_refused_and_leaves_the_rest_alone() {
        let mut extensions = Extensions::default();
        extensions.push(1, &[5]).unwrap();
        for (id, value) in [
            (0, [1].as_slice()),
            (15, &[1]),
            (2, &[0; 46]),
            (2, &[0; 300]),
        ] {
            assert_eq!(extensions.push(id, value), Err(FormError));
        }
        let mut packet = Vec::new();
        extensions.write(None, &mut packet);
        assert_eq!(packet, [0xbe, 0xde, 0, 1, 0x10, 5, 0, 0]);
    }

    fn with_shared(id: u8, bytes: &[u8]) -> Vec<u8> {
        let mut extensions = Extensions::default();
        extensions.push(1, &[5]).unwrap();
        let mut patch = Patch::default();
        patch.set(1, 0x77);
        let shared = SharedExtension {
            id,
            bytes: bytes.into(),
            patch,
        };
        let mut packet = Vec::new();
        extensions.write(Some(&shared), &mut packet);
        packet
    }

    #[test]
    fn a_shared_one_comes_last_with_its_own_bytes_and_those_that_differ() {
        assert_eq!(
            with_shared(2, &[1, 2, 3]),
            [0xbe, 0xde, 0, 2, 0x10, 5, 0x22, 1, 0x77, 3, 0, 0]
        );
        let long = with_shared(2, &[9; 255]);
        assert_eq!(long[..10], [0x10, 0, 0, 65, 1, 1, 5, 2, 255, 9]);
        assert_eq!((long.len(), long[10]), (4 + 260, 0x77));
        assert_eq!(with_shared(16, &[1])[..8], [0x10, 0, 0, 2, 1, 1, 5, 16]);
        assert_eq!(with_shared(2, &[9; 256])[..4], [0x10, 0, 0, 1], "left out");
    }
}
