//! One UDP socket of the node. Knows no participants.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// Longest datagram taken. WebRTC keeps below the internet's 1500; longer ones are dropped unread,
/// since no parser behind us should ever see them.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2000;
/// One more than [`DATAGRAM_BYTES_MAX`], so that a datagram cut off by the buffer is recognised.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = DATAGRAM_BYTES_MAX + 1;

/// A socket, registered with the media thread's runtime.
#[derive(Debug)]
pub(crate) struct UdpPort {
    /// Where it is bound.
    pub(crate) base: SocketAddr,
    receive: tokio::net::UdpSocket,
    /// The same socket without the runtime: a send is tried at once, whatever epoll last said.
    send: UdpSocket,
}

impl UdpPort {
    /// Takes a bound, non-blocking socket. Must be called inside the runtime that polls it.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self {
            base: socket.local_addr()?,
            send: socket.try_clone()?,
            receive: tokio::net::UdpSocket::from_std(socket)?,
        })
    }

    /// The next datagram into `buffer`, with its sender and length; an error concerns only one
    /// datagram (an ICMP answer, for example).
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8; RECEIVE_BUFFER_BYTES],
    ) -> Poll<io::Result<(SocketAddr, usize)>> {
        let mut buffer = ReadBuf::new(buffer);
        self.receive
            .poll_recv_from(cx, &mut buffer)
            .map_ok(|remote| (remote, buffer.filled().len()))
    }

    /// Sends, or drops: false if the kernel did not take it. Media does not wait, and what is lost
    /// is asked for again.
    pub(crate) fn send(&self, remote: SocketAddr, contents: &[u8]) -> bool {
        self.send.send_to(contents, remote).is_ok()
    }
}
