//! Somebody who has joined, and whose media is not connected yet.

use crate::core::sdp::IceSide;
use crate::core::turn::{Login, TurnUrl};
use crate::core::verdict::join::Welcome;
use client::{ConnectOptions, EndReason, LocalAddresses, Session, SessionEvent, Signalling, lk};
use lk::signal_response::Message;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The local address of somebody who sends no media.
pub(super) const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// Somebody who has joined. The server's answer is held back: nothing is sent to its node yet.
pub(super) struct Guest {
    pub(super) session: Session,
    pub(super) signalling: Signalling,
    pub(super) answer: lk::SessionDescription,
    /// The node's side of ICE.
    pub(super) node: IceSide,
    /// Our fragment.
    pub(super) ours: String,
    join: lk::JoinResponse,
}

impl Guest {
    /// Joins with a media socket at `local`.
    pub(super) async fn join(options: &ConnectOptions, local: SocketAddr) -> Result<Self, String> {
        let addresses = LocalAddresses {
            publisher: local,
            subscriber: None,
        };
        let session = Session::new(options.session.clone(), addresses, Instant::now());
        let mut session = session.map_err(|error| error.to_string())?;
        let offer = session.initial_offer().unwrap_or_default();
        let ours = IceSide::read(&offer.sdp).ufrag;
        let connecting = Signalling::connect(options, offer);
        let mut signalling = connecting.await.map_err(|error| error.to_string())?;
        let within = options.step_timeout;
        let greeting = greeting(&mut session, &mut signalling);
        let greeted = tokio::time::timeout(within, greeting).await;
        let (join, answer) = greeted.unwrap_or_else(|_| Err(late(&session, within)))?;
        Ok(Self {
            node: IceSide::read(&answer.sdp),
            ours,
            join,
            answer,
            session,
            signalling,
        })
    }

    pub(super) fn welcome(&self) -> Welcome {
        let info = self.join.server_info.clone().unwrap_or_default();
        let servers = self.join.ice_servers.iter();
        Welcome {
            node: info.node_id,
            version: info.version,
            candidates: self.node.candidates.clone(),
            servers: servers.flat_map(|server| server.urls.clone()).collect(),
        }
    }

    /// The TURN servers that this participant may use.
    pub(super) fn turn_servers(&self) -> Vec<(TurnUrl, Login)> {
        let mut found = Vec::new();
        for server in &self.join.ice_servers {
            let login = Login::new(&server.username, &server.credential);
            let urls = server.urls.iter().filter_map(|url| TurnUrl::parse(url));
            found.extend(urls.map(|url| (url, login.clone())));
        }
        found
    }

    /// Leaves the room.
    pub(super) async fn leave(self) {
        leave(self.session, self.signalling).await;
    }
}

/// Says goodbye; whether it is heard does not matter.
pub(super) async fn leave(mut session: Session, mut signalling: Signalling) {
    session.leave(Instant::now());
    while let Some(request) = session.poll_signal() {
        if let Some(message) = request.message {
            let _ = signalling.send(message).await;
        }
    }
    signalling.close().await;
}

fn late(session: &Session, within: Duration) -> String {
    let what = if session.is_joined() {
        "the node's answer to the offer"
    } else {
        "the join response"
    };
    format!("{what} did not come within {} s", within.as_secs_f32())
}

/// The first messages, up to the join response and the answer, in whatever order.
async fn greeting(
    session: &mut Session,
    signalling: &mut Signalling,
) -> Result<(lk::JoinResponse, lk::SessionDescription), String> {
    let (mut join, mut answer) = (None, None);
    loop {
        let response = signalling.next().await?;
        match response.message {
            Some(Message::Answer(description)) => answer = Some(description),
            _ => session.handle_signal(response, Instant::now()),
        }
        while let Some(event) = session.poll_event() {
            match event {
                SessionEvent::Joined(response) => join = Some(*response),
                SessionEvent::Ended(reason) => return Err(refused(&reason)),
                _ => {}
            }
        }
        if join.is_some() && answer.is_some() {
            return Ok((join.unwrap_or_default(), answer.unwrap_or_default()));
        }
    }
}

fn refused(reason: &EndReason) -> String {
    format!("the room does not let anybody in: {reason}")
}
