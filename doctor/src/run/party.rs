//! A participant whose media goes over one way.

use super::carrier::{Carrier, Way};
use super::guest::{Guest, leave};
use super::tls::Trust;
use crate::core::sdp;
use crate::core::turn::Login;
use crate::core::verdict::ways::{WayFailure, way};
use client::{Agent, ConnectOptions, Connection, Session, Signalling, lk};
use lk::signal_response::Message;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// When nothing is to be done for long, the loop looks around all the same.
const IDLE_MAX: Duration = Duration::from_millis(200);

/// What a participant is there for; it is over when it says so.
pub(super) trait Task: Agent {
    fn is_done(&self) -> bool;
}

/// A participant whose media goes over one way.
pub(super) struct Party {
    session: Session,
    signalling: Signalling,
    carrier: Carrier,
    way: Way,
}

impl Party {
    /// Joins, opens the way, and lets media begin.
    pub(super) async fn join(
        options: &ConnectOptions,
        way: &Way,
        trust: &Result<Trust, String>,
        within: Duration,
    ) -> Result<Self, String> {
        let mut guest = Guest::join(options, local(way.node)).await?;
        let login = login(&guest, way);
        let opened = Carrier::open(way, &login, trust, within).await;
        let carrier = opened.map_err(|failure| words(way, &failure))?;
        let mut answer = guest.answer;
        answer.sdp = sdp::only(&answer.sdp, way.node);
        let response = lk::SignalResponse {
            message: Some(Message::Answer(answer)),
        };
        guest.session.handle_signal(response, Instant::now());
        Ok(Self {
            session: guest.session,
            signalling: guest.signalling,
            carrier,
            way: way.clone(),
        })
    }

    /// Goes on until the task is done; false: the time is over.
    pub(super) async fn drive<T: Task>(
        &mut self,
        task: &mut T,
        until: Instant,
    ) -> Result<bool, String> {
        loop {
            self.flush(task).await?;
            if task.is_done() {
                return Ok(true);
            }
            if let Some(end) = self.session.end() {
                return Err(end.to_string());
            }
            let now = Instant::now();
            if now >= until {
                return Ok(false);
            }
            let due = [
                self.session.poll_timeout(),
                task.poll_timeout(),
                Some(until),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(until);
            self.wait(due.min(now + IDLE_MAX)).await?;
            let now = Instant::now();
            self.session.handle_timeout(now);
            if task.poll_timeout().is_some_and(|at| at <= now) {
                task.handle_timeout(&mut self.session, now);
            }
        }
    }

    async fn wait(&mut self, due: Instant) -> Result<(), String> {
        tokio::select! {
            datagram = self.carrier.next() => {
                let datagram = datagram.map_err(|failure| words(&self.way, &failure))?;
                let (from, now) = (self.way.node, Instant::now());
                self.session.handle_datagram(Connection::Publisher, from, &datagram, now);
            }
            message = self.signalling.next() => {
                self.session.handle_signal(message?, Instant::now());
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        Ok(())
    }

    /// Everything that the session has to say, to the task first: it may add something.
    async fn flush(&mut self, task: &mut impl Task) -> Result<(), String> {
        loop {
            while let Some(event) = self.session.poll_event() {
                task.handle_event(event, &mut self.session, Instant::now());
            }
            while let Some(transmit) = self.session.poll_transmit() {
                let sent = self.carrier.send(&transmit.contents).await;
                sent.map_err(|failure| words(&self.way, &failure))?;
            }
            let Some(request) = self.session.poll_signal() else {
                return Ok(());
            };
            if let Some(message) = request.message {
                self.signalling.send(message).await?;
            }
        }
    }

    pub(super) async fn leave(self) {
        leave(self.session, self.signalling).await;
    }
}

/// Credentials are each participant's own.
fn login(guest: &Guest, way: &Way) -> Login {
    let servers = guest.turn_servers();
    let mut ours = servers
        .into_iter()
        .filter(|(url, _)| Some(url) == way.turn.as_ref());
    ours.next().map(|(_, login)| login).unwrap_or_default()
}

fn words(on: &Way, failure: &WayFailure) -> String {
    way(on.hop, &on.subject(), on.port(), &Err(failure.clone())).says
}

/// An address of this machine's in the node's family. Nobody sends to it: the way is another.
fn local(node: SocketAddr) -> SocketAddr {
    if node.is_ipv4() {
        (Ipv4Addr::LOCALHOST, 9).into()
    } else {
        (Ipv6Addr::LOCALHOST, 9).into()
    }
}
