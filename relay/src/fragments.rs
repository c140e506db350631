//! Datagrams on the wire: whole, or cut in two where the path's MTU is too small.
//!
//! A byte of kind is in front: 0 whole; 1 and 2 a half, first and second, with four bytes of number
//! (big-endian) that both have.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use thiserror::Error;

/// Longest datagram, bytes. Its halves fit on every path that QUIC works on.
pub const DATAGRAM_MAX: usize = 2_048;
/// Halves that wait for the other one. A full table drops its oldest: it is lost, or too late.
pub(crate) const HALVES_MAX: usize = 64;
/// Taken for many datagrams at once.
const CHUNK_BYTES: usize = 64 * 1024;

const WHOLE: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
/// Bytes in front of a whole datagram.
pub(crate) const WHOLE_HEADER: usize = 1;
/// Bytes in front of a half.
pub(crate) const HALF_HEADER: usize = 5;

/// A datagram as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    /// In one piece.
    Whole(Bytes),
    /// In two.
    Halves([Bytes; 2]),
}

/// Writes datagrams. One for each connection.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    next: u32,
    chunk: BytesMut,
}

impl Packer {
    /// Puts a header in front; in two pieces if it would be longer than `fits` bytes with it. Halves
    /// may still be too long.
    pub(crate) fn pack(&mut self, payload: &[u8], fits: usize) -> Packed {
        if payload.len() + WHOLE_HEADER <= fits {
            return Packed::Whole(self.piece(WHOLE, None, payload));
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        // Of one length: the kernel takes packets of one length together.
        let (first, second) = payload.split_at(payload.len().div_ceil(2));
        Packed::Halves([
            self.piece(FIRST, Some(number), first),
            self.piece(SECOND, Some(number), second),
        ])
    }

    fn piece(&mut self, kind: u8, number: Option<u32>, payload: &[u8]) -> Bytes {
        let length = HALF_HEADER + payload.len();
        if self.chunk.capacity() < length {
            self.chunk = BytesMut::with_capacity(length.max(CHUNK_BYTES));
        }
        self.chunk.put_u8(kind);
        if let Some(number) = number {
            self.chunk.put_u32(number);
        }
        self.chunk.put_slice(payload);
        self.chunk.split().freeze()
    }
}

/// A datagram that nobody of ours wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no datagram of a relay")]
pub(crate) struct Malformed;

#[derive(Debug)]
struct Half {
    number: u32,
    kind: u8,
    payload: Bytes,
}

/// Puts halves together. One for each connection.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    halves: VecDeque<Half>,
    dropped: u64,
}

impl Assembler {
    /// A datagram from the wire; gives the payload that is whole with it.
    pub(crate) fn take(&mut self, mut datagram: Bytes) -> Result<Option<Bytes>, Malformed> {
        let kind = datagram.try_get_u8().map_err(|_| Malformed)?;
        match kind {
            WHOLE if datagram.len() <= DATAGRAM_MAX => Ok(Some(datagram)),
            FIRST | SECOND => {
                let number = datagram.try_get_u32().map_err(|_| Malformed)?;
                if datagram.len() > DATAGRAM_MAX / 2 {
                    return Err(Malformed);
                }
                Ok(self.join(Half {
                    number,
                    kind,
                    payload: datagram,
                }))
            }
            _ => Err(Malformed),
        }
    }

    /// Halves dropped since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn join(&mut self, half: Half) -> Option<Bytes> {
        let other = self.halves.iter().position(|h| h.number == half.number);
        let Some(other) = other else {
            if self.halves.len() == HALVES_MAX {
                self.halves.pop_front();
                self.dropped += 1;
            }
            self.halves.push_back(half);
            return None;
        };
        if self.halves.get(other).is_some_and(|h| h.kind == half.kind) {
            // The same half again: QUIC does not repeat datagrams, a faulty peer may.
            self.dropped += 1;
            return None;
        }
        let other = self.halves.remove(other)?;
        let (first, second) = match half.kind {
            FIRST => (half, other),
            _ => (other, half),
        };
        let mut whole = BytesMut::with_capacity(first.payload.len() + second.payload.len());
        whole.put(first.payload);
        whole.put(second.payload);
        Some(whole.freeze())
    }
}

#[cfg(test)]
mod tests;
