//! One UDP socket of a participant. The same for every server that is measured: GRO, several
//! datagrams a system call, and the kernel's own times of arrival.

use anyhow::Context as _;
use quinn_udp::{RecvMeta, UdpSocketState};
use std::cell::RefCell;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Buffers of one system call; each takes one datagram, or a run of them (GRO).
const BUFFERS: usize = 8;
/// Longest run of datagrams, bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// System calls in a row before others have their turn.
const CALLS_MAX: usize = 4;
/// Asked of the system for each socket, bytes. It may give less.
const SOCKET_BUFFER_BYTES: usize = 1024 * 1024;

/// What has come.
pub(crate) struct Datagram<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) contents: &'a [u8],
    /// When the kernel had it, since 1970.
    pub(crate) at: Duration,
}

/// A bound socket.
pub(crate) struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BUFFERS],
}

thread_local! {
    // One set is enough: what is read is worked off before the next socket is read.
    static SHARED: RefCell<Buffers> = RefCell::new(Buffers {
        bytes: vec![0; BUFFERS * BUFFER_BYTES],
        metas: [RecvMeta::default(); BUFFERS],
    });
}

impl Wire {
    /// Binds it to a free port of `ip`.
    pub(crate) fn bind(ip: IpAddr) -> anyhow::Result<Self> {
        let socket = std::net::UdpSocket::bind((ip, 0)).with_context(|| format!("bind to {ip}"))?;
        socket
            .set_nonblocking(true)
            .context("a socket that does not block")?;
        let state = UdpSocketState::new((&socket).into()).context("set up a socket")?;
        // Less is no reason not to go on.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
        let local = socket.local_addr().context("ask for a socket's address")?;
        let socket = UdpSocket::from_std(socket).context("register a socket")?;
        Ok(Self {
            socket,
            state,
            local,
        })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits until there is something to read.
    pub(crate) async fn readable(&self) {
        if self.socket.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Hands on what is there, but not more than a few system calls' worth.
    pub(crate) fn receive(&self, mut take: impl FnMut(Datagram<'_>)) {
        SHARED.with_borrow_mut(|Buffers { bytes, metas }| {
            for _ in 0..CALLS_MAX {
                let Ok(count) = self.read(bytes, metas) else {
                    return;
                };
                let runs = bytes.chunks_exact(BUFFER_BYTES).zip(metas.iter());
                for (bytes, meta) in runs.take(count) {
                    split(bytes, meta, &mut take);
                }
                if count < BUFFERS {
                    return;
                }
            }
        });
    }

    fn read(&self, bytes: &mut [u8], metas: &mut [RecvMeta]) -> std::io::Result<usize> {
        let mut chunks = bytes.chunks_exact_mut(BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.socket.try_io(Interest::READABLE, || {
            self.state.recv((&self.socket).into(), &mut slices, metas)
        })
    }

    /// Sends, or loses, as on a network.
    pub(crate) fn send(&self, to: SocketAddr, contents: &[u8]) {
        let _ = self.socket.try_send_to(contents, to);
    }
}

/// The datagrams of a run.
fn split(bytes: &[u8], meta: &RecvMeta, take: &mut impl FnMut(Datagram<'_>)) {
    let run = bytes.get(..meta.len).unwrap_or_default();
    for contents in run.chunks(meta.stride.max(1)) {
        take(Datagram {
            from: meta.addr,
            contents,
            at: meta.timestamp.unwrap_or_default(),
        });
    }
}
