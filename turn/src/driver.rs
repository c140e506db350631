//! What gives the state machine its sockets and carries out what it wants: one thread, one task for
//! each socket, and no queue between them but the kernel's. The tasks share the [`Driver`]; nobody
//! holds it while waiting.

use crate::config::PortRange;
use crate::core::wire::MESSAGE_BYTES_MAX;
use crate::core::{AllocationId, Client, Figures, Now, Output, Relay};
use rand::Rng as _;
use socket2::SockRef;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Longest datagram of a peer that is relayed, in bytes: an Ethernet frame's, and something.
const PEER_BYTES_MAX: usize = 1_900;
/// Ports that are tried for an allocation. With half of the range taken, one in 2^32 fails.
const PORT_TRIES: usize = 32;
/// Pause after an error of a socket, which may be there to stay.
pub(crate) const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// How often figures are handed out.
const FIGURES_EVERY: Duration = Duration::from_secs(1);

pub(crate) type Shared = Rc<RefCell<Driver>>;

pub(crate) struct Driver {
    pub(crate) relay: Relay,
    /// By the address that they are bound to.
    udp: HashMap<SocketAddr, Rc<UdpSocket>>,
    pub(crate) streams: HashMap<u64, Sender<Vec<u8>>>,
    peers: HashMap<AllocationId, PeerSocket>,
    ports: PortRange,
    dropped: u64,
}

struct PeerSocket {
    socket: Rc<UdpSocket>,
    reading: AbortHandle,
}

impl Driver {
    pub(crate) fn new(relay: Relay, ports: PortRange) -> Self {
        Self {
            relay,
            udp: HashMap::new(),
            streams: HashMap::new(),
            peers: HashMap::new(),
            ports,
            dropped: 0,
        }
    }

    fn send_to_client(&mut self, client: Client, bytes: Vec<u8>) {
        let sent = match client {
            Client::Udp { local, remote } => match self.udp.get(&local) {
                Some(socket) => send(socket, &bytes, remote),
                None => false,
            },
            Client::Stream { id, .. } => match self.streams.get(&id) {
                Some(stream) => stream.try_send(bytes).is_ok(),
                None => false,
            },
        };
        self.dropped += u64::from(!sent);
    }

    fn send_to_peer(&mut self, allocation: AllocationId, peer: SocketAddr, bytes: &[u8]) {
        let sent = match self.peers.get(&allocation) {
            Some(peers) => send(&peers.socket, bytes, peer),
            None => false,
        };
        self.dropped += u64::from(!sent);
    }

    fn figures(&self) -> Figures {
        Figures {
            dropped: self.dropped,
            connections: self.streams.len() as u64,
            ..self.relay.figures()
        }
    }
}

/// False: the kernel did not take it. Asked directly, since the runtime refuses for a socket of which it
/// has not heard yet that it can be written, such as one that was just opened.
fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> bool {
    SockRef::from(socket).send_to(bytes, &to.into()).is_ok()
}

/// The time by both clocks.
pub(crate) fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Now {
        at: Instant::now(),
        unix_s: unix.map_or(0, |since| since.as_secs()),
    }
}

/// A message of a client.
pub(crate) fn handle_client(shared: &Shared, client: Client, bytes: &[u8]) {
    let now = now();
    shared.borrow_mut().relay.handle_client(client, bytes, now);
    flush(shared);
}

/// The end of a connection.
pub(crate) fn handle_gone(shared: &Shared, client: Client) {
    shared.borrow_mut().relay.handle_client_gone(client);
    flush(shared);
}

/// Carries out what the state machine wants.
fn flush(shared: &Shared) {
    loop {
        let output = shared.borrow_mut().relay.poll_output();
        match output {
            Some(Output::ToClient { client, bytes }) => {
                shared.borrow_mut().send_to_client(client, bytes);
            }
            Some(Output::ToPeer {
                allocation,
                peer,
                bytes,
            }) => shared.borrow_mut().send_to_peer(allocation, peer, &bytes),
            Some(Output::Open { allocation, ip }) => {
                let port = open(shared, allocation, ip);
                let now = now();
                let mut driver = shared.borrow_mut();
                driver.relay.handle_opened(allocation, port, now);
            }
            Some(Output::Close { allocation }) => {
                if let Some(closed) = shared.borrow_mut().peers.remove(&allocation) {
                    closed.reading.abort();
                }
            }
            None => return,
        }
    }
}

/// Opens a socket on a free port of the range. A random one, so that an earlier client's peers do not
/// find the next one there (RFC 8656 section 7.2).
fn open(shared: &Shared, allocation: AllocationId, ip: IpAddr) -> Option<u16> {
    let PortRange { first, last } = shared.borrow().ports;
    for _ in 0..PORT_TRIES {
        let port = rand::rng().random_range(first..=last);
        match bind(SocketAddr::new(ip, port)) {
            Ok(socket) => {
                let socket = Rc::new(socket);
                let serving = serve_peers(shared.clone(), allocation, Rc::clone(&socket));
                let reading = tokio::task::spawn_local(serving).abort_handle();
                let peers = PeerSocket { socket, reading };
                shared.borrow_mut().peers.insert(allocation, peers);
                return Some(port);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                tracing::warn!(%ip, port, %error, "a TURN relay port cannot be opened");
                return None;
            }
        }
    }
    tracing::warn!(
        first,
        last,
        "no TURN relay port is free: widen node.turn.relay_ports"
    );
    None
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn serve_peers(shared: Shared, allocation: AllocationId, socket: Rc<UdpSocket>) {
    let mut buffer = vec![0; PEER_BYTES_MAX + 1];
    loop {
        let Some((data, peer)) = receive(&socket, &mut buffer, PEER_BYTES_MAX).await else {
            continue;
        };
        let mut driver = shared.borrow_mut();
        let now = Instant::now();
        driver.relay.handle_peer(allocation, peer, data, now);
        drop(driver);
        flush(&shared);
    }
}

/// Serves the clients of one UDP socket for ever.
pub(crate) async fn serve_clients(shared: Shared, socket: UdpSocket, local: SocketAddr) {
    let socket = Rc::new(socket);
    shared.borrow_mut().udp.insert(local, Rc::clone(&socket));
    let mut buffer = vec![0; MESSAGE_BYTES_MAX + 1];
    loop {
        let Some((bytes, remote)) = receive(&socket, &mut buffer, MESSAGE_BYTES_MAX).await else {
            continue;
        };
        handle_client(&shared, Client::Udp { local, remote }, bytes);
    }
}

/// The next datagram, if it is not too long.
async fn receive<'a>(
    socket: &UdpSocket,
    buffer: &'a mut [u8],
    longest: usize,
) -> Option<(&'a [u8], SocketAddr)> {
    match socket.recv_from(buffer).await {
        Ok((length, from)) if length <= longest => Some((buffer.get(..length)?, from)),
        Ok(_) => None,
        Err(_) => {
            tokio::time::sleep(ERROR_PAUSE).await;
            None
        }
    }
}

/// Lets time pass for the state machine, and hands out figures.
pub(crate) async fn keep_time(shared: Shared, figures: watch::Sender<Figures>) {
    let mut figures_at = Instant::now();
    loop {
        let due = shared.borrow().relay.poll_timeout();
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        shared.borrow_mut().relay.handle_timeout(now);
        flush(&shared);
        if figures_at <= now {
            figures.send_replace(shared.borrow().figures());
            figures_at = now + FIGURES_EVERY;
        }
    }
}
