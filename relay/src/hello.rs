//! The first thing said on a connection, by each end: who speaks to whom, and the proof.
//!
//! Two bytes of length (big-endian), then for each of the two names a byte of length and its text,
//! then the proof.

use bytes::{BufMut, BytesMut};
use proto::id::NodeId;
use thiserror::Error;

/// Longest name of a node, bytes of UTF-8.
pub const NODE_ID_BYTES_MAX: usize = 200;
/// Longest hello, bytes without those of its length.
pub(crate) const HELLO_MAX: usize = 512;
/// Bytes of the length in front.
pub(crate) const LENGTH_BYTES: usize = 2;
/// HMAC-SHA-256.
const PROOF_BYTES: usize = 32;

/// Who speaks to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) proof: [u8; PROOF_BYTES],
}

/// Why it is no hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum HelloError {
    #[error("a hello of more than {HELLO_MAX} bytes")]
    Long,
    #[error("no hello")]
    Malformed,
    #[error("a node's name is empty, or longer than {NODE_ID_BYTES_MAX} bytes")]
    Name,
}

/// Reads the length in front.
pub(crate) fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, HelloError> {
    let length = usize::from(u16::from_be_bytes(bytes));
    if length > HELLO_MAX {
        return Err(HelloError::Long);
    }
    Ok(length)
}

/// Whether a node of this name can take part.
pub(crate) fn is_name(node: &NodeId) -> bool {
    (1..=NODE_ID_BYTES_MAX).contains(&node.as_str().len())
}

impl Hello {
    /// With its length in front. Both names must be possible, see [`is_name`].
    pub(crate) fn encode(&self) -> Result<BytesMut, HelloError> {
        let names = [&self.from, &self.to].map(NodeId::as_str);
        let length = 2 + names[0].len() + names[1].len() + PROOF_BYTES;
        let mut bytes = BytesMut::with_capacity(LENGTH_BYTES + length);
        bytes.put_u16(u16::try_from(length).map_err(|_| HelloError::Name)?);
        for name in names {
            bytes.put_u8(u8::try_from(name.len()).map_err(|_| HelloError::Name)?);
            bytes.put_slice(name.as_bytes());
        }
        bytes.put_slice(&self.proof);
        Ok(bytes)
    }

    /// Reads one without the length in front. Nothing may follow it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        if bytes.len() > HELLO_MAX {
            return Err(HelloError::Long);
        }
        let (from, rest) = name(bytes)?;
        let (to, rest) = name(rest)?;
        let proof = rest.try_into().map_err(|_| HelloError::Malformed)?;
        Ok(Self { from, to, proof })
    }
}

fn name(bytes: &[u8]) -> Result<(NodeId, &[u8]), HelloError> {
    let (&length, rest) = bytes.split_first().ok_or(HelloError::Malformed)?;
    let split = rest.split_at_checked(usize::from(length));
    let (name, rest) = split.ok_or(HelloError::Malformed)?;
    let name = std::str::from_utf8(name).map_err(|_| HelloError::Malformed)?;
    let node = NodeId::new(name);
    if !is_name(&node) {
        return Err(HelloError::Name);
    }
    Ok((node, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello(from: &str, to: &str) -> Hello {
        let [from, to] = [from, to].map(NodeId::new);
        let proof = [9; PROOF_BYTES];
        Hello { from, to, proof }
    }

    #[test]
    fn a_hello_is_read_back_and_the_longest_is_not_too_long() {
        let longest = "ä".repeat(NODE_ID_BYTES_MAX / 2);
        for (from, to) in [("a", "b"), (&longest, &longest)] {
            let bytes = hello(from, to).encode().unwrap();
            let (front, body) = bytes.split_at(LENGTH_BYTES);
            assert_eq!(length(front.try_into().unwrap()), Ok(body.len()));
            assert_eq!(Hello::decode(body), Ok(hello(from, to)));
        }
    }

    #[test]
    fn what_is_cut_off_too_long_or_nameless_is_refused() {
        let body = hello("a", "b").encode().unwrap().split_off(LENGTH_BYTES);
        for end in 0..body.len() {
            assert!(Hello::decode(&body[..end]).is_err(), "{end} bytes");
        }
        let more = [&body[..], &[0]].concat();
        assert_eq!(Hello::decode(&more), Err(HelloError::Malformed));
        let nameless = hello("", "b").encode().unwrap().split_off(LENGTH_BYTES);
        assert_eq!(Hello::decode(&nameless), Err(HelloError::Name));
        let long = hello(&"x".repeat(NODE_ID_BYTES_MAX + 1), "b")
            .encode()
            .unwrap();
        assert_eq!(Hello::decode(&long[LENGTH_BYTES..]), Err(HelloError::Name));
        assert_eq!(length([0x02, 0x01]), Err(HelloError::Long));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..HELLO_MAX)) {
            if let Ok(hello) = Hello::decode(&bytes) {
                let written = hello.encode().unwrap();
                prop_assert_eq!(&written[LENGTH_BYTES..], &bytes[..]);
            }
        }
    }
}
