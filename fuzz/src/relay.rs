//! What comes in at a node's relay: from strangers a hello, from other nodes datagrams.

use relay::{DATAGRAM_MAX, NODE_ID_BYTES_MAX, fuzzing};
use sfu::engine::RelayMessage;

/// Two names with their lengths, and the proof.
const HELLO_BYTES_MAX: usize = 2 * (1 + NODE_ID_BYTES_MAX) + 32;

/// A hello without its length: what is read is written the same.
pub fn relay_hello(data: &[u8]) {
    if let Some(written) = fuzzing::rewrite_hello(data) {
        assert_eq!(written, data, "a hello has one form");
        assert!(data.len() <= HELLO_BYTES_MAX);
    }
}

/// Records of one peer: each byte that comes out came in, and no more than once.
pub fn relay_datagrams(data: &[u8]) {
    let records = crate::records(data);
    let datagrams = records.iter().map(|(_, contents)| *contents);
    let whole = fuzzing::assemble(datagrams.clone());
    assert!(whole.len() <= records.len());
    assert!(whole.iter().all(|payload| payload.len() <= DATAGRAM_MAX));
    let bytes_in: usize = datagrams.map(<[u8]>::len).sum();
    let bytes_out: usize = whole.iter().map(|payload| payload.len()).sum();
    // Each has a byte of header at least.
    assert!(bytes_out + whole.len() <= bytes_in);
}

/// A message of a member of a room: what is read is written the same by meaning.
pub fn relay_message(data: &[u8]) {
    let Ok(message) = RelayMessage::decode(data) else {
        return;
    };
    let mut written = Vec::new();
    message.encode(&mut written);
    let again = RelayMessage::decode(&written).expect("our own words");
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(written, twice);
}
