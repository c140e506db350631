//! Takes the media ports: one number for UDP on every address, and one for TCP.
//!
//! The sockets are bound here, before anything else starts, so that what is wrong is said at start.

use crate::node::NodeError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// How far to look for a free port. More nodes than this on one machine are a mistake.
pub(crate) const PORT_TRIES: u16 = 100;
/// How often to ask the system for "any port" until one is free everywhere.
const ANY_PORT_TRIES: u32 = 20;
/// Kernel buffers of a UDP socket, in bytes: 25 ms at 1 Gbit/s. A wish: the system may cap it.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Connections that the kernel holds until we accept them.
const TCP_BACKLOG: i32 = 256;

/// The bound sockets of a node, non-blocking.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

impl Sockets {
    /// The same sockets once more: each media thread registers its own handles with its runtime.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let udp: io::Result<_> = self.udp.iter().map(UdpSocket::try_clone).collect();
        let tcp: io::Result<_> = self.tcp.iter().map(TcpListener::try_clone).collect();
        Ok(Self {
            udp: udp?,
            tcp: tcp?,
        })
    }
}

/// Where the TCP port comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TcpPort {
    /// No TCP.
    Off,
    /// The UDP port's number.
    Same,
    /// A number of its own, or the next free one.
    From(u16),
}

/// Binds `udp_port` and `tcp_port` (see [`crate::Config`]) on all `addresses`.
pub(crate) fn bind(
    addresses: &[IpAddr],
    udp_port: u16,
    tcp_port: Option<u16>,
) -> Result<Sockets, NodeError> {
    let tcp_port = match tcp_port {
        None => TcpPort::Same,
        Some(0) => TcpPort::Off,
        Some(port) if port == udp_port => TcpPort::Same,
        Some(port) => TcpPort::From(port),
    };
    let mut sockets = first_free(udp_port, |port| {
        let udp = bind_all(addresses, port, bind_udp, UdpSocket::local_addr)?;
        let port = udp.first().map_or(Ok(port), |socket| {
            socket.local_addr().map(|address| address.port())
        });
        let port = port.map_err(|source| BindFailed::at(addresses, 0, source))?;
        let tcp = match tcp_port {
            TcpPort::Same => bind_all(addresses, port, bind_tcp, TcpListener::local_addr)?,
            TcpPort::Off | TcpPort::From(_) => Vec::new(),
        };
        Ok(Sockets { udp, tcp })
    })?;
    if let TcpPort::From(first) = tcp_port {
        sockets.tcp = bind_tcp_only(addresses, first)?;
    }
    Ok(sockets)
}

/// Binds `port`, or the next free one, for TCP alone.
pub(crate) fn bind_tcp_only(
    addresses: &[IpAddr],
    port: u16,
) -> Result<Vec<TcpListener>, NodeError> {
    first_free(port, |port| {
        bind_all(addresses, port, bind_tcp, TcpListener::local_addr)
    })
}

/// A socket that could not be bound.
struct BindFailed {
    address: SocketAddr,
    source: io::Error,
}

impl BindFailed {
    fn at(addresses: &[IpAddr], port: u16, source: io::Error) -> Self {
        let ip = addresses.first().copied().unwrap_or(IpAddr::from([0; 4]));
        Self {
            address: SocketAddr::new(ip, port),
            source,
        }
    }
}

/// Tries port after port until `attempt` finds one that is free for everything it binds.
fn first_free<T>(
    first: u16,
    mut attempt: impl FnMut(u16) -> Result<T, BindFailed>,
) -> Result<T, NodeError> {
    let last = first.saturating_add(PORT_TRIES);
    let candidates: Box<dyn Iterator<Item = u16>> = if first == 0 {
        Box::new((0..ANY_PORT_TRIES).map(|_| 0))
    } else {
        Box::new(first..=last)
    };
    for port in candidates {
        match attempt(port) {
            Ok(bound) => {
                if port != first {
                    tracing::info!(
                        wanted = first,
                        port,
                        "media port taken, using the next free one"
                    );
                }
                return Ok(bound);
            }
            Err(failed) if failed.source.kind() == ErrorKind::AddrInUse => {}
            Err(BindFailed { address, source }) => return Err(NodeError::Bind { address, source }),
        }
    }
    Err(NodeError::NoFreePort { first, last })
}

/// Binds the same port on every address; `port` 0 takes any for the first and that one for the rest.
fn bind_all<T>(
    addresses: &[IpAddr],
    port: u16,
    bind_one: fn(SocketAddr) -> io::Result<T>,
    local: fn(&T) -> io::Result<SocketAddr>,
) -> Result<Vec<T>, BindFailed> {
    let mut port = port;
    let mut bound = Vec::with_capacity(addresses.len());
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        let failed = |source| BindFailed { address, source };
        let socket = bind_one(address).map_err(failed)?;
        port = local(&socket).map_err(failed)?.port();
        bound.push(socket);
    }
    Ok(bound)
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    // Best effort: a smaller buffer only drops earlier under a burst.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    // A restarted node must get its port back while old connections linger in TIME_WAIT. On Windows
    // the same option would let two nodes share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

    fn ports(sockets: &Sockets) -> (Vec<u16>, Vec<u16>) {
        let udp = sockets
            .udp
            .iter()
            .map(|socket| socket.local_addr().unwrap().port());
        let tcp = sockets
            .tcp
            .iter()
            .map(|socket| socket.local_addr().unwrap().port());
        (udp.collect(), tcp.collect())
    }

    #[test]
    fn udp_and_tcp_get_the_same_number_on_every_address() {
        let addresses = [LOOPBACK[0], IpAddr::from([127, 0, 0, 2])];
        let (udp, tcp) = ports(&bind(&addresses, 0, None).unwrap());
        assert_eq!(udp, tcp);
        assert_eq!(udp.len(), 2);
        assert_eq!(udp[0], udp[1]);
    }

    #[test]
    fn a_port_that_is_taken_on_one_address_for_tcp_alone_is_passed_over() {
        let addresses = [LOOPBACK[0], IpAddr::from([127, 0, 0, 3])];
        let taken = TcpListener::bind(SocketAddr::new(addresses[1], 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let (udp, tcp) = ports(&bind(&addresses, port, None).unwrap());
        assert_eq!(udp, tcp);
        assert!(udp[0] > port, "{udp:?} after {port}");
    }

    #[test]
    fn tcp_can_be_off_or_elsewhere() {
        let (_, tcp) = ports(&bind(&LOOPBACK, 0, Some(0)).unwrap());
        assert!(tcp.is_empty());

        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (udp, tcp) = ports(&bind(&LOOPBACK, 0, Some(free)).unwrap());
        assert_eq!(udp.len(), 1);
        assert!(tcp[0] >= free);
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = bind(&[IpAddr::from([198, 51, 100, 200])], 0, None).unwrap_err();
        assert!(error.to_string().contains("198.51.100.200"), "{error}");
    }
}
