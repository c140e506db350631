//! TURN over TCP and TLS: one task for each connection.

use crate::core::Client;
use crate::driver::{ERROR_PAUSE, Shared, handle_client, handle_gone};
use crate::framing::Decoder;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections of the server, all listeners together. One more is closed at once.
const CONNECTIONS_MAX: usize = 2_000;
/// Messages that wait for a slow connection: half a second of 2 Mbit/s. A new one is dropped then, as
/// a full router queue would.
const OUT_MESSAGES_MAX: usize = 128;
/// Messages written by one system call.
const WRITE_MESSAGES: usize = 32;
/// Read at once, bytes.
const READ_BYTES: usize = 8 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection may be without an allocation. A client makes one in two round trips.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How long one write may take before the client is given up.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// The open connections of all listeners.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Rc<RefCell<Counts>>);

#[derive(Debug)]
struct Counts {
    per_ip_max: usize,
    open: usize,
    per_ip: HashMap<IpAddr, usize>,
    last_id: u64,
}

/// One of them, counted until it is dropped.
struct Place {
    counts: Connections,
    id: u64,
    ip: IpAddr,
}

impl Connections {
    /// At most `per_ip_max` from one address: as many as it may have allocations. One more is closed at
    /// once.
    pub(crate) fn new(per_ip_max: u32) -> Self {
        Self(Rc::new(RefCell::new(Counts {
            per_ip_max: usize::try_from(per_ip_max).unwrap_or(usize::MAX),
            open: 0,
            per_ip: HashMap::new(),
            last_id: 0,
        })))
    }

    fn enter(&self, ip: IpAddr) -> Option<Place> {
        let mut counts = self.0.borrow_mut();
        let from_ip = counts.per_ip.get(&ip).copied().unwrap_or(0);
        if counts.open >= CONNECTIONS_MAX || from_ip >= counts.per_ip_max {
            return None;
        }
        counts.open += 1;
        counts.per_ip.insert(ip, from_ip + 1);
        counts.last_id += 1;
        let (id, counts) = (counts.last_id, self.clone());
        Some(Place { counts, id, ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.borrow_mut();
        counts.open = counts.open.saturating_sub(1);
        let left = counts.per_ip.get(&self.ip).copied().unwrap_or(0);
        if left <= 1 {
            counts.per_ip.remove(&self.ip);
        } else {
            counts.per_ip.insert(self.ip, left - 1);
        }
    }
}

/// Accepts connections for ever.
pub(crate) async fn accept(
    shared: Shared,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Connections,
) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors, most likely: some will be closed.
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        };
        let Some(place) = connections.enter(remote.ip()) else {
            continue;
        };
        tokio::task::spawn_local(admit(shared.clone(), stream, remote, tls.clone(), place));
    }
}

async fn admit(
    shared: Shared,
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    place: Place,
) {
    // Without it small messages wait for the answer to the previous one; failing is bearable.
    let _ = stream.set_nodelay(true);
    let client = Client::Stream {
        id: place.id,
        remote,
    };
    match tls {
        None => serve(shared, stream, client, place.id).await,
        Some(tls) => match timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(shared, stream, client, place.id).await,
            Ok(Err(error)) => tracing::debug!(%remote, %error, "TURN: no TLS connection"),
            Err(_) => tracing::debug!(%remote, "TURN: the TLS handshake took too long"),
        },
    }
}

async fn serve(shared: Shared, stream: impl AsyncRead + AsyncWrite, client: Client, id: u64) {
    let (sender, messages) = mpsc::channel(OUT_MESSAGES_MAX);
    shared.borrow_mut().streams.insert(id, sender);
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        () = read(reader, &shared, client) => {}
        _ = write(writer, messages) => {}
    }
    shared.borrow_mut().streams.remove(&id);
    handle_gone(&shared, client);
}

async fn read(mut reader: impl AsyncRead + Unpin, shared: &Shared, client: Client) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut useful_at = Instant::now();
    loop {
        let read = timeout(IDLE_LIMIT, reader.read(&mut buffer)).await;
        if shared.borrow().relay.has_allocation(client) {
            useful_at = Instant::now();
        } else if useful_at.elapsed() >= IDLE_LIMIT {
            return;
        }
        let length = match read {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(length)) => length,
            Err(_) => continue,
        };
        decoder.push(buffer.get(..length).unwrap_or_default());
        loop {
            match decoder.poll_message() {
                Ok(Some(message)) => handle_client(shared, client, &message),
                Ok(None) => break,
                Err(error) => {
                    let remote = client.remote();
                    tracing::debug!(%remote, %error, "TURN: closing a connection");
                    return;
                }
            }
        }
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(WRITE_MESSAGES);
    let mut bytes = Vec::new();
    while messages.recv_many(&mut batch, WRITE_MESSAGES).await > 0 {
        bytes.clear();
        batch.drain(..).for_each(|message| bytes.extend(message));
        let writing = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        timeout(WRITE_LIMIT, writing).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_until_they_end() {
        let connections = Connections::new(3);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let places: Vec<Place> = std::iter::repeat_with(|| connections.enter(ip))
            .take_while(Option::is_some)
            .flatten()
            .collect();
        assert_eq!(places.len(), 3);
        let other = connections.enter("192.0.2.2".parse().unwrap());
        assert!(other.is_some_and(|other| other.id == places.len() as u64 + 1));
        drop(places);
        assert!(connections.0.borrow().per_ip.is_empty());
        assert_eq!(connections.0.borrow().open, 0);
    }
}
