//! ICE-TCP, passive (RFC 6544): clients connect, each connection carries frames (RFC 4571).
//!
//! Every connection is a task on the media thread's runtime; [`Connections`] is the media loop's view
//! of all of them. Holds no participant: whether a frame means anything is the engine's to say.

use crate::framing::{Decoder, encode};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Connections of a node; each holds a descriptor and up to [`OUT_FRAMES_MAX`] frames. One more is
/// closed at once.
const CONNECTIONS_MAX: usize = 1000;
/// Connections from one address. A company behind one address is the typical user of ICE-TCP, so
/// this only keeps one source from taking all. One more is closed at once.
const CONNECTIONS_PER_IP_MAX: usize = 200;
/// Frames that wait for a slow connection: half a second of 2 Mbit/s. A new one is dropped then, as
/// a full router queue would.
const OUT_FRAMES_MAX: usize = 128;
/// Frames of all connections that wait for the media loop. When full, connections stop reading, so
/// that TCP slows their senders down.
const IN_FRAMES_MAX: usize = 256;
/// Frames written by one system call.
const WRITE_FRAMES: usize = 32;
/// Accepted per pass and listener, so that a flood of connections cannot starve media.
const ACCEPT_BUDGET: usize = 8;
/// How long a connection may stay without us having answered it. We answer only binding requests
/// with a valid password (RFC 8445 section 7.3), so this ends whatever is no client of ours.
const UNANSWERED_LIMIT: Duration = Duration::from_secs(5);
/// How long an answered connection may be silent: twice the consent expiry (RFC 7675 section 5.1).
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long one write may take before the peer is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// What connections bring.
#[derive(Debug)]
pub(crate) enum TcpInput {
    /// A frame arrived.
    Frame {
        /// The other side.
        remote: SocketAddr,
        /// The listener it came in at.
        local: SocketAddr,
        /// Never empty.
        contents: Bytes,
    },
    /// The connection is gone.
    Closed {
        /// The other side.
        remote: SocketAddr,
    },
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpFigures {
    /// Connections refused, timed out unanswered, or closed for broken framing.
    pub(crate) strays: u64,
    /// Frames dropped because their connection was too slow or gone.
    pub(crate) dropped: u64,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct TcpPort {
    base: SocketAddr,
    listener: TcpListener,
}

impl TcpPort {
    /// Takes a bound, non-blocking listener. Must be called inside the runtime that polls it.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            base: listener.local_addr()?,
            listener: TcpListener::from_std(listener)?,
        })
    }
}

/// All open connections, by the client's address: the engine names them that way.
#[derive(Debug)]
pub(crate) struct Connections {
    open: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    per_ip: HashMap<IpAddr, usize>,
    input_tx: mpsc::Sender<Ending>,
    input_rx: mpsc::Receiver<Ending>,
    figures: TcpFigures,
}

/// A [`TcpInput`], and for an end whether it was one that counts as stray.
type Ending = (TcpInput, Stray);

/// Whether something belongs to no client of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stray {
    Yes,
    No,
}

impl Connections {
    pub(crate) fn new() -> Self {
        let (input_tx, input_rx) = mpsc::channel(IN_FRAMES_MAX);
        Self {
            open: HashMap::new(),
            per_ip: HashMap::new(),
            input_tx,
            input_rx,
            figures: TcpFigures::default(),
        }
    }

    /// Connections open now.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn figures(&self) -> TcpFigures {
        self.figures
    }

    /// Accepts what waits; true if there may be more. An error (out of descriptors) is not retried
    /// before the next wake-up, so that it cannot spin.
    pub(crate) fn accept(&mut self, port: &TcpPort, cx: &mut Context<'_>) -> bool {
        for _ in 0..ACCEPT_BUDGET {
            match port.listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, remote))) => self.admit(stream, remote, port.base),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "accepting a media connection failed");
                    return false;
                }
                Poll::Pending => return false,
            }
        }
        true
    }

    /// The next frame or end of a connection.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<TcpInput> {
        match self.input_rx.poll_recv(cx) {
            Poll::Ready(Some((input, stray))) => {
                if stray == Stray::Yes {
                    self.figures.strays += 1;
                }
                if let TcpInput::Closed { remote } = input {
                    self.forget(remote);
                }
                Poll::Ready(input)
            }
            // We hold a sender: the channel never ends.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Queues a frame, or drops and counts it.
    pub(crate) fn send(&mut self, remote: SocketAddr, contents: Vec<u8>) {
        let sent = match self.open.get(&remote) {
            Some(output) => output.try_send(contents).is_ok(),
            None => false,
        };
        if !sent {
            self.figures.dropped += 1;
        }
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr, local: SocketAddr) {
        let from_ip = self.per_ip.get(&remote.ip()).copied().unwrap_or(0);
        // The same client port at two of our addresses is possible, but the engine could not tell
        // such connections apart.
        let refused = self.open.len() >= CONNECTIONS_MAX
            || from_ip >= CONNECTIONS_PER_IP_MAX
            || self.open.contains_key(&remote);
        if refused {
            self.figures.strays += 1;
            return;
        }
        // Without it small frames wait for the answer to the previous one; failing is bearable.
        let _ = stream.set_nodelay(true);
        let (output_tx, output_rx) = mpsc::channel(OUT_FRAMES_MAX);
        self.open.insert(remote, output_tx);
        self.per_ip.insert(remote.ip(), from_ip + 1);
        tokio::spawn(serve(
            stream,
            remote,
            local,
            self.input_tx.clone(),
            output_rx,
        ));
    }

    fn forget(&mut self, remote: SocketAddr) {
        self.open.remove(&remote);
        let left = self
            .per_ip
            .get(&remote.ip())
            .map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.per_ip.remove(&remote.ip());
        } else {
            self.per_ip.insert(remote.ip(), left);
        }
    }
}

/// Life of a connection. Always ends with a [`TcpInput::Closed`].
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
    input: mpsc::Sender<Ending>,
    output: mpsc::Receiver<Vec<u8>>,
) {
    let (reader, writer) = stream.into_split();
    let answered = Arc::new(AtomicBool::new(false));
    let stray = tokio::select! {
        stray = read_frames(reader, remote, local, &input, &answered) => stray,
        () = write_frames(writer, output, &answered) => Stray::No,
    };
    // The loop is gone with the runtime if this fails.
    let _ = input.send((TcpInput::Closed { remote }, stray)).await;
}

async fn read_frames(
    mut reader: OwnedReadHalf,
    remote: SocketAddr,
    local: SocketAddr,
    input: &mpsc::Sender<Ending>,
    answered: &AtomicBool,
) -> Stray {
    let mut decoder = Decoder::default();
    let unanswered_until = Instant::now() + UNANSWERED_LIMIT;
    let mut idle_until = Instant::now() + IDLE_LIMIT;
    loop {
        let was_answered = answered.load(Ordering::Relaxed);
        let until = if was_answered {
            idle_until
        } else {
            unanswered_until
        };
        match timeout_at(until, reader.read_buf(decoder.buffer())).await {
            Ok(Ok(0) | Err(_)) => return Stray::No,
            Ok(Ok(_)) => idle_until = Instant::now() + IDLE_LIMIT,
            Err(_) if was_answered => return Stray::No,
            // The first answer may have gone out while we waited: look again.
            Err(_) if answered.load(Ordering::Relaxed) => continue,
            Err(_) => return Stray::Yes,
        }
        loop {
            let contents = match decoder.poll_frame() {
                Ok(Some(contents)) => contents,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%remote, %error, "closing a media connection");
                    return Stray::Yes;
                }
            };
            let frame = TcpInput::Frame {
                remote,
                local,
                contents,
            };
            if input.send((frame, Stray::No)).await.is_err() {
                return Stray::No;
            }
        }
    }
}

async fn write_frames(
    mut writer: OwnedWriteHalf,
    mut output: mpsc::Receiver<Vec<u8>>,
    answered: &AtomicBool,
) {
    let mut batch = Vec::with_capacity(WRITE_FRAMES);
    let mut bytes = BytesMut::new();
    while output.recv_many(&mut batch, WRITE_FRAMES).await > 0 {
        answered.store(true, Ordering::Relaxed);
        for contents in batch.drain(..) {
            // The engine sends nothing near 64 KiB.
            encode(&contents, &mut bytes);
        }
        match timeout(WRITE_LIMIT, writer.write_all(&bytes)).await {
            Ok(Ok(())) => bytes.clear(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    struct Server {
        port: TcpPort,
        connections: Connections,
    }

    impl Server {
        fn new() -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            Self {
                port: TcpPort::new(listener).unwrap(),
                connections: Connections::new(),
            }
        }

        async fn connect(&mut self) -> TcpStream {
            let client = TcpStream::connect(self.port.base).await.unwrap();
            let refused = self.connections.figures.strays;
            let open = self.connections.len();
            poll_fn(|cx| {
                self.connections.accept(&self.port, cx);
                let seen =
                    self.connections.len() > open || self.connections.figures.strays > refused;
                if seen { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            client
        }

        async fn input(&mut self) -> TcpInput {
            poll_fn(|cx| self.connections.poll_input(cx)).await
        }
    }

    #[tokio::test]
    async fn frames_go_both_ways_and_the_end_is_told() {
        let mut server = Server::new();
        let mut client = server.connect().await;
        let address = client.local_addr().unwrap();

        client.write_all(&[0, 2, 7, 8]).await.unwrap();
        let TcpInput::Frame {
            remote,
            local,
            contents,
        } = server.input().await
        else {
            panic!("a frame was expected");
        };
        assert_eq!((remote, local), (address, server.port.base));
        assert_eq!(contents.as_ref(), [7, 8]);

        server.connections.send(address, vec![9]);
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0, 1, 9]);

        drop(client);
        assert!(matches!(server.input().await, TcpInput::Closed { remote } if remote == address));
        assert_eq!(server.connections.len(), 0);
        assert!(server.connections.per_ip.is_empty());
        assert_eq!(server.connections.figures.strays, 0);
    }

    #[tokio::test]
    async fn broken_framing_closes_the_connection_and_is_counted() {
        let mut server = Server::new();
        let mut client = server.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(matches!(server.input().await, TcpInput::Closed { .. }));
        assert_eq!(server.connections.figures.strays, 1);
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_connections() {
        let mut server = Server::new();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS_PER_IP_MAX {
            clients.push(server.connect().await);
        }
        let mut refused = server.connect().await;
        assert_eq!(server.connections.len(), CONNECTIONS_PER_IP_MAX);
        assert_eq!(server.connections.figures.strays, 1);
        // Closed at once: the end of the stream, or a reset.
        assert!(matches!(refused.read(&mut [0]).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_slow_connection_loses_frames_instead_of_holding_memory() {
        let mut server = Server::new();
        let client = server.connect().await;
        let address = client.local_addr().unwrap();
        // Without an await the connection's task never runs, as if its peer took nothing.
        for _ in 0..OUT_FRAMES_MAX + 5 {
            server.connections.send(address, vec![0; 1200]);
        }
        assert_eq!(server.connections.figures.dropped, 5);
        server
            .connections
            .send("192.0.2.1:9".parse().unwrap(), vec![0]);
        assert_eq!(server.connections.figures.dropped, 6);
    }
}
