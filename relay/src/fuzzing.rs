//! Doors for the fuzz harness: the parsers of foreign bytes, which are private otherwise.

use crate::fragments::Assembler;
use crate::hello::{Hello, LENGTH_BYTES};
use bytes::Bytes;

/// A hello without its length: what it is written as again, if it is one.
pub fn rewrite_hello(bytes: &[u8]) -> Option<Vec<u8>> {
    let hello = Hello::decode(bytes).ok()?;
    let written = hello.encode().ok()?;
    written.get(LENGTH_BYTES..).map(<[u8]>::to_vec)
}

/// Datagrams of one peer: the payloads that come out of them.
pub fn assemble<'a>(datagrams: impl IntoIterator<Item = &'a [u8]>) -> Vec<Bytes> {
    let mut assembler = Assembler::default();
    let datagrams = datagrams.into_iter().map(Bytes::copy_from_slice);
    datagrams
        .filter_map(|datagram| assembler.take(datagram).ok().flatten())
        .collect()
}
