//! The sockets of one client: one a peer connection, because servers tell connections apart by the
//! addresses that packets come from.
//!
//! One system call brings many datagrams: those that wait one behind the other (`recvmmsg`), and those
//! that the system has put together because they came from one sender in one burst (UDP GRO).

use crate::error::ConnectError;
use crate::options::{Connection, LocalAddresses, PeerMode};
use crate::session::{Session, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use std::cell::RefCell;
use std::future::pending;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Bursts or single datagrams that are read at once, before something else has its turn: at the rate of
/// a large room some milliseconds' worth.
const BATCH_MAX: usize = 16;
/// Longest burst, bytes: what the system puts together has the length of one IP packet at most.
const BURST_BYTES_MAX: usize = 65_536;
/// Asked of the system for each socket, bytes: a key frame of every track of a room comes as one
/// burst. The system may give less.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

thread_local! {
    /// What one call brings. Of a thread and not of a client: there are thousands of those. Memory that
    /// was never needed is never touched.
    static BATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH_MAX * BURST_BYTES_MAX]);
}

struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

pub(crate) struct Sockets {
    publisher: Socket,
    subscriber: Option<Socket>,
    addresses: LocalAddresses,
}

impl Sockets {
    /// Binds them to the address from which `server` is reached.
    pub(crate) fn bind(server: SocketAddr, mode: PeerMode) -> Result<Self, ConnectError> {
        let ip = local_ip(server).map_err(|source| ConnectError::Socket {
            address: server,
            source,
        })?;
        let (publisher, publisher_address) = bind(ip)?;
        let (subscriber, subscriber_address) = match mode {
            PeerMode::Single => (None, None),
            PeerMode::Dual => {
                let (socket, address) = bind(ip)?;
                (Some(socket), Some(address))
            }
        };
        Ok(Self {
            publisher,
            subscriber,
            addresses: LocalAddresses {
                publisher: publisher_address,
                subscriber: subscriber_address,
            },
        })
    }

    pub(crate) fn addresses(&self) -> LocalAddresses {
        self.addresses
    }

    /// Waits until there is something to read, and says where.
    pub(crate) async fn readable(&self) -> Connection {
        let publisher = async {
            if self.publisher.socket.readable().await.is_err() {
                pending::<()>().await;
            }
        };
        let subscriber = async {
            match &self.subscriber {
                Some(it) if it.socket.readable().await.is_ok() => {}
                _ => pending::<()>().await,
            }
        };
        tokio::select! {
            () = publisher => Connection::Publisher,
            () = subscriber => Connection::Subscriber,
        }
    }

    /// Hands a batch of datagrams to the session.
    pub(crate) fn read_into(&self, connection: Connection, session: &mut Session) {
        let Some(socket) = self.socket(connection) else {
            return;
        };
        BATCH.with_borrow_mut(|batch| {
            socket.read(batch, |from, datagram, now| {
                session.handle_datagram(connection, from, datagram, now);
            });
        });
    }

    /// Sends; false: it is lost, as on a network.
    pub(crate) fn send(&self, transmit: &Transmit) -> bool {
        let sent = self
            .socket(transmit.connection)
            .map(|it| it.socket.try_send_to(&transmit.contents, transmit.to));
        matches!(sent, Some(Ok(_)))
    }

    fn socket(&self, connection: Connection) -> Option<&Socket> {
        match connection {
            Connection::Publisher => Some(&self.publisher),
            Connection::Subscriber => self.subscriber.as_ref(),
        }
    }
}

impl Socket {
    /// One call to the system, and everything that it brings.
    fn read(&self, batch: &mut [u8], mut take: impl FnMut(SocketAddr, &[u8], Instant)) {
        let mut places = batch.chunks_exact_mut(BURST_BYTES_MAX);
        let mut bursts: [IoSliceMut<'_>; BATCH_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(places.next().unwrap_or_default()));
        let mut metas = [RecvMeta::default(); BATCH_MAX];
        let mut count = 0;
        // Nothing, or an error that belongs to a datagram that was sent: both are passed over.
        let _ = self.socket.try_io(Interest::READABLE, || {
            let socket = (&self.socket).into();
            count = self.state.recv(socket, &mut bursts, &mut metas)?;
            // Fewer than there is room for: nothing is left, and asking again would only tell so.
            if count < BATCH_MAX {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        let now = Instant::now();
        for (burst, meta) in bursts.iter().zip(&metas).take(count) {
            let burst = burst.get(..meta.len).unwrap_or_default();
            for datagram in burst.chunks(meta.stride.max(1)) {
                take(meta.addr, datagram, now);
            }
        }
    }
}

/// The address of this machine from which `server` is reached. Nothing is sent.
fn local_ip(server: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect(server)?;
    Ok(probe.local_addr()?.ip())
}

fn bind(ip: IpAddr) -> Result<(Socket, SocketAddr), ConnectError> {
    let address = SocketAddr::new(ip, 0);
    let refused = |source| ConnectError::Socket { address, source };
    let socket = std::net::UdpSocket::bind(address).map_err(refused)?;
    socket.set_nonblocking(true).map_err(refused)?;
    // Less is no reason not to go on.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let bound = socket.local_addr().map_err(refused)?;
    // Where the system puts nothing together, each datagram comes by itself.
    let state = UdpSocketState::new((&socket).into()).map_err(refused)?;
    let socket = UdpSocket::from_std(socket).map_err(refused)?;
    Ok((Socket { socket, state }, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_on_loopback_is_reached_from_loopback() {
        let server = SocketAddr::from(([127, 0, 0, 1], 7880));
        let single = Sockets::bind(server, PeerMode::Single).unwrap().addresses();
        assert!(single.publisher.ip().is_loopback() && single.publisher.port() != 0);
        assert_eq!(single.subscriber, None);
        let dual = Sockets::bind(server, PeerMode::Dual).unwrap().addresses();
        assert_ne!(Some(dual.publisher), dual.subscriber);
    }

    /// What one call brings of what waits at the socket.
    fn read(socket: &Socket) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        BATCH.with_borrow_mut(|batch| {
            socket.read(batch, |_, datagram, _| got.push(datagram.to_vec()));
        });
        got
    }

    #[tokio::test]
    async fn one_call_brings_all_that_waits_and_then_nothing() {
        let (socket, address) = bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sent: Vec<Vec<u8>> = (1..=5).map(|n| vec![n; usize::from(n) * 100]).collect();
        for datagram in &sent {
            sender.send_to(datagram, address).unwrap();
        }
        socket.socket.readable().await.unwrap();
        assert_eq!(read(&socket), sent);
        assert_eq!(read(&socket), Vec::<Vec<u8>>::new());
        // Readiness is known again after it was given up.
        sender.send_to(b"more", address).unwrap();
        socket.socket.readable().await.unwrap();
        assert_eq!(read(&socket), [b"more"]);
    }

    #[tokio::test]
    async fn a_burst_that_the_system_put_together_is_taken_apart() {
        let (socket, address) = bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let state = UdpSocketState::new((&sender).into()).unwrap();
        if state.max_gso_segments() < 3 || socket.state.gro_segments() < 3 {
            // This system can do neither.
            return;
        }
        let contents: Vec<u8> = [[1; 700], [2; 700]]
            .concat()
            .into_iter()
            .chain([3; 90])
            .collect();
        let burst = quinn_udp::Transmit {
            destination: address,
            ecn: None,
            contents: &contents,
            segment_size: Some(700),
            src_ip: None,
        };
        state.try_send((&sender).into(), &burst).unwrap();
        socket.socket.readable().await.unwrap();
        let lengths: Vec<usize> = read(&socket).iter().map(Vec::len).collect();
        assert_eq!(lengths, [700, 700, 90]);
    }

    #[tokio::test]
    async fn more_than_one_call_brings_stays_readable() {
        let (socket, address) = bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for number in 0..=u8::try_from(BATCH_MAX).unwrap() {
            sender.send_to(&[number], address).unwrap();
        }
        socket.socket.readable().await.unwrap();
        assert_eq!(read(&socket).len(), BATCH_MAX);
        socket.socket.readable().await.unwrap();
        assert_eq!(read(&socket), [[u8::try_from(BATCH_MAX).unwrap()]]);
    }
}
