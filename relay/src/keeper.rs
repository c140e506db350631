//! Keeps the connection to one peer, for as long as it is a peer: up, down, up again.
//!
//! One task for each peer, so that what the user hears of a peer has an order: after `Up` its traffic,
//! then `Down`, and never two connections at once.

use crate::backoff::Backoff;
use crate::close::Close;
use crate::handshake::{self, HandshakeError};
use crate::link::{Ended, Link, Traffic};
use crate::relay::{Deliver, Incoming};
use crate::shared::Shared;
use crate::{tls, transport};
use proto::id::NodeId;
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections of a peer that have proved themselves and wait for their turn: the newest counts, but
/// it comes after the end of the older one.
pub(crate) const ACCEPTED_MAX: usize = 2;

/// One peer's.
pub(crate) struct Keeper {
    pub(crate) peer: NodeId,
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) deliver: Deliver,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: ClientConfig,
    /// The peer is none any more.
    pub(crate) gone: CancellationToken,
    /// Connections that this peer has opened and proved. None comes if it is us who connect.
    pub(crate) accepted: mpsc::Receiver<Connection>,
}

/// In the table of those who are up, for as long as this lives: the connection is closed and the
/// table right even if the loop is dropped in its midst.
struct Listed<'a> {
    keeper: &'a Keeper,
    link: Arc<Link>,
}

impl<'a> Listed<'a> {
    fn new(keeper: &'a Keeper, link: Arc<Link>) -> Self {
        keeper.shared.list(&keeper.peer, &link);
        Self { keeper, link }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let shared = &self.keeper.shared;
        shared.unlist(&self.keeper.peer);
        let unsent = self.link.datagrams.clear();
        shared.counters.datagrams_dropped.add(unsent);
        Close::Done.close(&self.link.connection);
    }
}

impl Keeper {
    /// Until the peer is gone.
    pub(crate) async fn run(mut self) {
        let gone = self.gone.clone();
        // The smaller name connects: so there is one connection.
        let connects = self.shared.node < self.peer;
        let mut backoff = Backoff::default();
        let mut next = None;
        while !gone.is_cancelled() {
            let connection = match next.take() {
                Some(connection) => Some(connection),
                None if connects => self.dial(&mut backoff).await,
                None => tokio::select! {
                    () = gone.cancelled() => None,
                    connection = self.accepted.recv() => connection,
                },
            };
            let Some(connection) = connection else { return };
            next = self.serve(connection).await;
        }
    }

    /// Until it is connected, or gone.
    async fn dial(&self, backoff: &mut Backoff) -> Option<Connection> {
        loop {
            let attempt = tokio::select! {
                () = self.gone.cancelled() => return None,
                attempt = handshake::in_time(self.attempt()) => attempt,
            };
            match attempt {
                Ok(connection) => {
                    backoff.reset();
                    return Some(connection);
                }
                Err(error) => self.report(&error),
            }
            tokio::select! {
                () = self.gone.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn attempt(&self) -> Result<Connection, HandshakeError> {
        let client = self.client.clone();
        let connecting = self
            .endpoint
            .connect_with(client, self.address, tls::SERVER_NAME)?;
        let connection = connecting.await?;
        let outcome = handshake::connect(&connection, &self.shared, &self.peer).await;
        if outcome.is_err() {
            Close::Refused.close(&connection);
        }
        outcome.map(|()| connection)
    }

    fn report(&self, error: &HandshakeError) {
        let (peer, address) = (&self.peer, self.address);
        if error.is_refusal() {
            self.shared.refuse(address, error);
        } else if let Some(more) = self.shared.failures.admit(Instant::now()) {
            tracing::warn!(%peer, %address, %error, more, "relay: a peer cannot be reached");
        }
    }

    /// From up to down. Gives the connection that comes in place of this one, if there is one.
    async fn serve(&mut self, connection: Connection) -> Option<Connection> {
        transport::open_up(&connection);
        let (peer, gone) = (self.peer.clone(), self.gone.clone());
        // Borrowed apart from the rest of the keeper, which the link needs.
        let (_closed, none) = mpsc::channel(1);
        let mut accepted = std::mem::replace(&mut self.accepted, none);
        let listed = Listed::new(self, Arc::new(Link::new(connection.clone())));
        self.shared.counters.connected.add(1);
        tracing::info!(%peer, address = %connection.remote_address(), "relay: a peer is up");
        (self.deliver)(Incoming::Up(peer.clone()));

        let mut traffic = self.traffic(&listed.link);
        let (why, next) = tokio::select! {
            () = gone.cancelled() => (Close::Done, None),
            () = listed.link.overflowed.cancelled() => (Close::Overflow, None),
            Some(next) = accepted.recv() => (Close::Replaced, Some(next)),
            ended = traffic.join_next() => match ended {
                Some(Ok(Ended::Violation)) => (Close::Violation, None),
                _ => (Close::Done, None),
            },
        };
        let reason = connection.close_reason();
        why.close(&connection);
        // None of them delivers anything after `Down`.
        traffic.shutdown().await;
        drop(listed);
        self.accepted = accepted;
        tracing::info!(%peer, ?why, ?reason, "relay: a peer is down");
        (self.deliver)(Incoming::Down(peer));
        next
    }

    fn traffic(&self, link: &Arc<Link>) -> JoinSet<Ended> {
        let traffic = Traffic {
            peer: self.peer.clone(),
            link: link.clone(),
            shared: self.shared.clone(),
            deliver: self.deliver.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(traffic.clone().send_datagrams());
        tasks.spawn(traffic.clone().receive_datagrams());
        tasks.spawn(traffic.clone().send_messages());
        tasks.spawn(traffic.receive_messages());
        tasks
    }
}
