//! One UDP socket of the node. Knows no participants.
//!
//! One system call takes many datagrams, those that wait one behind the other (`recvmmsg`) and those
//! that the system has put together (UDP GRO); and one sends all equal datagrams that go to the same
//! client (UDP GSO).

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;

/// Longest datagram taken. WebRTC keeps below the internet's 1500; longer ones are dropped unread,
/// since no parser behind us should ever see them.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2000;
/// Bursts or single datagrams of one call.
const BATCH_MAX: usize = 16;
/// Longest burst: what the system puts together has the length of one IP packet at most.
const BURST_BYTES_MAX: usize = 65_536;

/// Where received datagrams lie. Memory that was never needed is never touched.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_MAX],
    count: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_MAX * BURST_BYTES_MAX],
            metas: [RecvMeta::default(); BATCH_MAX],
            count: 0,
        }
    }

    /// Datagrams with their senders.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let bursts = self.bytes.chunks_exact(BURST_BYTES_MAX).zip(&self.metas);
        bursts.take(self.count).flat_map(|(burst, meta)| {
            let burst = burst.get(..meta.len).unwrap_or_default();
            let datagrams = burst.chunks(meta.stride.max(1));
            datagrams.map(|datagram| (meta.addr, datagram))
        })
    }
}

/// A socket, registered with the media thread's runtime.
#[derive(Debug)]
pub(crate) struct UdpPort {
    /// Where it is bound.
    pub(crate) base: SocketAddr,
    receive: tokio::net::UdpSocket,
    /// The same socket without the runtime: a send is tried at once, whatever epoll last said.
    send: UdpSocket,
    state: UdpSocketState,
}

impl UdpPort {
    /// Takes a bound, non-blocking socket. Must be called inside the runtime that polls it.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        Ok(Self {
            base: socket.local_addr()?,
            send: socket.try_clone()?,
            state: UdpSocketState::new((&socket).into())?,
            receive: tokio::net::UdpSocket::from_std(socket)?,
        })
    }

    /// The next datagrams into `batch`: how many bursts; an error concerns only one datagram that was
    /// sent (an ICMP answer, for example).
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
    ) -> Poll<io::Result<usize>> {
        batch.count = 0;
        loop {
            ready!(self.receive.poll_recv_ready(cx))?;
            let mut places = batch.bytes.chunks_exact_mut(BURST_BYTES_MAX);
            let mut bursts: [IoSliceMut<'_>; BATCH_MAX] =
                std::array::from_fn(|_| IoSliceMut::new(places.next().unwrap_or_default()));
            let received = self.receive.try_io(Interest::READABLE, || {
                let socket = (&self.receive).into();
                self.state.recv(socket, &mut bursts, &mut batch.metas)
            });
            match received {
                Ok(count) => {
                    batch.count = count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends one datagram, or several of `segment` bytes each, or drops them: false if the kernel did
    /// not take them. Media does not wait, and what is lost is asked for again.
    pub(crate) fn send(&self, remote: SocketAddr, contents: &[u8], segment: Option<usize>) -> bool {
        let segment = segment.unwrap_or(contents.len()).max(1);
        // A system without GSO takes one at a time.
        let at_once = segment.saturating_mul(self.state.max_gso_segments());
        let mut taken = true;
        for contents in contents.chunks(at_once) {
            let transmit = Transmit {
                destination: remote,
                ecn: None,
                contents,
                segment_size: (contents.len() > segment).then_some(segment),
                src_ip: None,
            };
            taken &= self.state.try_send((&self.send).into(), &transmit).is_ok();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn port() -> UdpPort {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        UdpPort::new(socket).unwrap()
    }

    async fn receive(port: &UdpPort, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut batch = Batch::new();
        let mut received = Vec::new();
        while received.len() < count {
            poll_fn(|cx| port.poll_receive(cx, &mut batch))
                .await
                .unwrap();
            let datagrams = batch.datagrams();
            received.extend(datagrams.map(|(from, contents)| (from, contents.to_vec())));
        }
        received
    }

    #[tokio::test]
    async fn a_run_arrives_as_the_datagrams_it_was_made_of() {
        let (here, there) = (port(), port());
        let run: Vec<u8> = [[1; 100].as_slice(), &[2; 100], &[3; 40]].concat();
        assert!(here.send(there.base, &run, Some(100)));
        assert!(here.send(there.base, b"alone", None));
        let received = receive(&there, 4).await;
        let lengths: Vec<usize> = received
            .iter()
            .map(|(_, contents)| contents.len())
            .collect();
        assert_eq!(lengths, [100, 100, 40, 5]);
        assert_eq!(received[2].1, [3; 40]);
        assert!(received.iter().all(|(from, _)| *from == here.base));
    }
}
