//! The sockets of one client: one a peer connection, because servers tell connections apart by the
//! addresses that packets come from.

use crate::error::ConnectError;
use crate::options::{Connection, LocalAddresses, PeerMode};
use crate::session::{Session, Transmit};
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;
use tokio::net::UdpSocket;

/// Datagrams that are read at once before something else has its turn: at the rate of a large room
/// some milliseconds' worth.
const BATCH_MAX: usize = 64;
/// Longest datagram that is read, bytes. Media is below 1,500; longer ones are cut and then dropped
/// as invalid.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Asked of the system for each socket, bytes: a key frame of every track of a room comes as one
/// burst. The system may give less.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

pub(crate) struct Sockets {
    publisher: UdpSocket,
    subscriber: Option<UdpSocket>,
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
            if self.publisher.readable().await.is_err() {
                pending::<()>().await;
            }
        };
        let subscriber = async {
            match &self.subscriber {
                Some(socket) if socket.readable().await.is_ok() => {}
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
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for _ in 0..BATCH_MAX {
            let Ok((length, from)) = socket.try_recv_from(&mut buffer) else {
                return;
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            session.handle_datagram(connection, from, datagram, Instant::now());
        }
    }

    /// Sends; false: it is lost, as on a network.
    pub(crate) fn send(&self, transmit: &Transmit) -> bool {
        let sent = self
            .socket(transmit.connection)
            .map(|socket| socket.try_send_to(&transmit.contents, transmit.to));
        matches!(sent, Some(Ok(_)))
    }

    fn socket(&self, connection: Connection) -> Option<&UdpSocket> {
        match connection {
            Connection::Publisher => Some(&self.publisher),
            Connection::Subscriber => self.subscriber.as_ref(),
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

fn bind(ip: IpAddr) -> Result<(UdpSocket, SocketAddr), ConnectError> {
    let address = SocketAddr::new(ip, 0);
    let refused = |source| ConnectError::Socket { address, source };
    let socket = std::net::UdpSocket::bind(address).map_err(refused)?;
    socket.set_nonblocking(true).map_err(refused)?;
    // Less is no reason not to go on.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let bound = socket.local_addr().map_err(refused)?;
    let socket = UdpSocket::from_std(socket).map_err(refused)?;
    Ok((socket, bound))
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
}
