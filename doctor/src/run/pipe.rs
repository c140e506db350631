//! Datagrams over UDP, or as frames of a stream.

use super::line::Stream;
use crate::core::turn::frame_bytes;
use bytes::{Buf as _, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

/// Longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// How datagrams stand in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// Behind their length (RFC 4571).
    Ice,
    /// As they are: they tell their length (RFC 8656).
    Turn,
}

/// What carries datagrams to one address.
pub(super) enum Pipe {
    Datagrams(UdpSocket),
    Stream {
        io: Stream,
        frames: Frames,
        read: BytesMut,
    },
}

impl Pipe {
    pub(super) fn stream(io: Stream, frames: Frames) -> Self {
        Self::Stream {
            io,
            frames,
            read: BytesMut::new(),
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    pub(super) async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(datagram).await.map(drop),
            Self::Stream { io, frames, .. } => {
                if *frames == Frames::Ice {
                    let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
                    let mut frame = length.to_be_bytes().to_vec();
                    frame.extend_from_slice(datagram);
                    io.write_all(&frame).await?;
                } else {
                    io.write_all(datagram).await?;
                }
                io.flush().await
            }
        }
    }

    /// The next datagram. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Datagrams(socket) => {
                let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
                let length = socket.recv(&mut buffer).await?;
                buffer.truncate(length);
                Ok(buffer)
            }
            Self::Stream { io, frames, read } => loop {
                if let Some(datagram) = take(read, *frames) {
                    return Ok(datagram);
                }
                if io.read_buf(read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            },
        }
    }
}

/// The first whole frame.
fn take(read: &mut BytesMut, frames: Frames) -> Option<Vec<u8>> {
    let (header, length) = match frames {
        Frames::Ice => {
            let (length, _) = read.split_first_chunk::<2>()?;
            (2, usize::from(u16::from_be_bytes(*length)))
        }
        Frames::Turn => (0, frame_bytes(read)?),
    };
    if read.len() < header + length {
        return None;
    }
    read.advance(header);
    Some(read.split_to(length).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_put_together_again() {
        for (frames, datagram) in [
            (Frames::Ice, &b"hello"[..]),
            (Frames::Turn, &[0x40, 0, 0, 4, 1, 2, 3, 4][..]),
        ] {
            let (near, far) = tokio::io::duplex(3);
            let mut sender = Pipe::stream(Box::new(near), frames);
            let mut receiver = Pipe::stream(Box::new(far), frames);
            let sending = async {
                sender.send(datagram).await.unwrap();
                sender.send(datagram).await.unwrap();
            };
            let receiving = async {
                assert_eq!(receiver.next().await.unwrap(), datagram);
                assert_eq!(receiver.next().await.unwrap(), datagram);
            };
            tokio::join!(sending, receiving);
            drop(sender);
            assert!(receiver.next().await.is_err());
        }
    }
}
