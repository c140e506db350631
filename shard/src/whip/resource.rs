//! One session: the task that stands where other clients have a WebSocket.
//!
//! Owns: the offer and its answer, the ICE session's tag, what is asked of the session afterwards, and
//! that its participant leaves when it ends. Must not: know HTTP.

use super::entity::{Tag, Unmet, Verdict, judge};
use super::registry::Registration;
use super::{Credentials, Fragment, MEDIA, Offer, fragment};
use crate::core::SessionId;
use crate::driver::{Input, Outbound};
use crate::entry::Entry;
use livekit_protocol::signal_response::Message;
use livekit_protocol::{
    DisconnectReason, IceServer, LeaveRequest, SessionDescription, leave_request, signal_request,
};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a node may take for an answer: some milliseconds are usual.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Requests to one session that may wait. Beyond: they wait at the sender.
pub(crate) const ASKS_MAX: usize = 4;

/// A request to a session.
#[derive(Debug)]
pub(crate) enum Ask {
    /// PATCH.
    Patch {
        if_match: Option<String>,
        fragment: Fragment,
        answer: oneshot::Sender<Result<Patched, Unpatched>>,
    },
    /// DELETE. The answer comes when the participant is told to leave.
    Delete(oneshot::Sender<()>),
}

/// A fragment was taken.
#[derive(Debug)]
pub(crate) enum Patched {
    Trickled,
    /// ICE restarts.
    Restarted {
        tag: Tag,
        fragment: String,
    },
}

/// A fragment was not taken.
#[derive(Debug)]
pub(crate) enum Unpatched {
    Unmet(Unmet),
    /// The session ended over it.
    Ended(Ended),
}

/// The session is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) answer: String,
    pub(crate) tag: Tag,
    pub(crate) ice_servers: Vec<IceServer>,
}

/// The session ended, or never began.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The node cannot use the offer.
    Refused(String),
    /// It has no codec of the offer.
    NoCodec,
    /// The token does not allow a track.
    NotAllowed(String),
    /// The core has closed it. `retry`: another try may succeed.
    Closed { reason: &'static str, retry: bool },
    /// The node did not answer in time.
    TimedOut,
}

/// What a session is made of.
pub(crate) struct Start {
    pub(crate) session: SessionId,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) outbound: mpsc::Receiver<Outbound>,
    /// Cancelled when `outbound` is full.
    pub(crate) overflow: CancellationToken,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) offer: Offer,
    pub(crate) entry: Entry,
    /// The session's URL is good for as long as this is there.
    pub(crate) registration: Option<Registration>,
    /// Held for the life of the session.
    pub(crate) _permits: [OwnedSemaphorePermit; 2],
}

/// A running session.
pub(crate) struct Resource {
    of: Start,
    tag: Tag,
    offers: u32,
    /// As the join was answered.
    ice_servers: Vec<IceServer>,
}

impl Resource {
    /// The id of the first offer.
    pub(crate) const FIRST_OFFER: u32 = 1;

    /// A session whose participant is on its way to the core, with its offer.
    pub(crate) fn new(of: Start) -> Self {
        Self {
            of,
            tag: Tag::new(""),
            offers: Self::FIRST_OFFER,
            ice_servers: Vec::new(),
        }
    }

    /// Runs until the session ends. What came of the offer is told by `opened`.
    pub(crate) async fn run(mut self, opened: oneshot::Sender<Result<Opened, Ended>>) {
        let answer = self.answer().await;
        if let Ok(answer) = &answer {
            self.tag = tag_of(answer);
        }
        let is_open = answer.is_ok();
        let told = opened.send(answer.map(|answer| Opened {
            answer,
            tag: self.tag.clone(),
            ice_servers: self.ice_servers.clone(),
        }));
        // Whoever asked may be gone; it can never say that it leaves.
        if told.is_ok() && is_open {
            self.serve().await;
        }
        self.leave().await;
    }

    async fn serve(&mut self) {
        loop {
            tokio::select! {
                outbound = self.of.outbound.recv() => {
                    if let None | Some(Outbound::Close(_)) = outbound {
                        return;
                    }
                }
                ask = self.of.asks.recv() => match ask {
                    Some(Ask::Patch { if_match, fragment, answer }) => {
                        let patched = self.patch(if_match.as_deref(), &fragment).await;
                        let over = matches!(patched, Err(Unpatched::Ended(_)));
                        let _ = answer.send(patched);
                        if over {
                            return;
                        }
                    }
                    Some(Ask::Delete(answer)) => {
                        self.leave().await;
                        let _ = answer.send(());
                        return;
                    }
                    None => return,
                },
                () = self.of.overflow.cancelled() => return,
            }
        }
    }

    async fn patch(
        &mut self,
        if_match: Option<&str>,
        fragment: &Fragment,
    ) -> Result<Patched, Unpatched> {
        let known = &self.of.offer.credentials;
        match judge(if_match, &self.tag, known, fragment).map_err(Unpatched::Unmet)? {
            // The node is ICE-lite: it learns addresses from the checks that it gets.
            Verdict::Trickle => Ok(Patched::Trickled),
            Verdict::Restart(credentials) => self.restart(credentials).await,
        }
    }

    async fn restart(&mut self, credentials: Credentials) -> Result<Patched, Unpatched> {
        self.of.offer = self.of.offer.restarted(credentials);
        self.offers += 1;
        let offer = signal_request::Message::Offer(SessionDescription {
            r#type: "offer".to_owned(),
            sdp: self.of.offer.sdp.clone(),
            id: self.offers,
            ..SessionDescription::default()
        });
        self.say(offer).await;
        let answer = self.answer().await.map_err(Unpatched::Ended)?;
        self.tag = tag_of(&answer);
        Ok(Patched::Restarted {
            tag: self.tag.clone(),
            fragment: fragment::of_answer(&answer),
        })
    }

    /// The answer to the newest offer.
    async fn answer(&mut self) -> Result<String, Ended> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut retry = true;
        loop {
            let outbound = tokio::time::timeout_at(deadline, self.of.outbound.recv());
            let outbound = outbound.await.map_err(|_| Ended::TimedOut)?;
            match outbound {
                Some(Outbound::Message(message)) => {
                    self.of.entry.said(&message);
                    match *message {
                        Message::Answer(answer) if answer.id == self.offers => {
                            return usable(answer.sdp);
                        }
                        Message::Join(join) => self.ice_servers = join.ice_servers,
                        Message::RequestResponse(refusal) => {
                            return Err(Ended::NotAllowed(refusal.message));
                        }
                        Message::Leave(leave) => {
                            retry = leave.action() != leave_request::Action::Disconnect;
                        }
                        _ => {}
                    }
                }
                Some(Outbound::Refused(reason)) => return Err(Ended::Refused(reason)),
                Some(Outbound::Close(reason)) => return Err(Ended::Closed { reason, retry }),
                None => {
                    let reason = "the shard is shutting down";
                    return Err(Ended::Closed { reason, retry });
                }
            }
        }
    }

    /// The participant leaves. Harmless if it has left already.
    async fn leave(&mut self) {
        self.of.registration = None;
        self.say(signal_request::Message::Leave(LeaveRequest {
            reason: DisconnectReason::ClientInitiated.into(),
            ..LeaveRequest::default()
        }))
        .await;
        let session = self.of.session;
        let _ = self.of.inputs.send(Input::Closed { session }).await;
    }

    async fn say(&self, message: signal_request::Message) {
        let signal = Input::Signal {
            session: self.of.session,
            message: Box::new(message),
        };
        // A driver that is gone has told everybody.
        let _ = self.of.inputs.send(signal).await;
    }
}

/// The server's side of the ICE session is what names it.
fn tag_of(answer: &str) -> Tag {
    let credentials = fragment::credentials(answer);
    Tag::new(credentials.as_ref().map_or("", |c| c.ufrag.as_str()))
}

/// An answer that rejects all sections would leave the client waiting.
fn usable(answer: String) -> Result<String, Ended> {
    let mut sections = answer.lines().filter(|line| line.starts_with(MEDIA));
    let is_rejected = |section: &str| section.split(' ').nth(1) == Some("0");
    if sections.all(is_rejected) {
        return Err(Ended::NoCodec);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_takes_nothing_is_none() {
        assert_eq!(usable("v=0\r\n".into()), Err(Ended::NoCodec));
        let rejected = "v=0\r\nm=video 0 UDP/TLS/RTP/SAVPF 0\r\n";
        assert_eq!(usable(rejected.into()), Err(Ended::NoCodec));
        let half = format!("{rejected}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n");
        assert_eq!(usable(half.clone()), Ok(half));
    }
}
