//! The server's offers and our answers, on the connection on which a client with two of them receives.

use super::Session;
use super::negotiation::one_line;
use super::peer::text;
use crate::event::EndReason;
use crate::options::Connection;
use crate::sdp;
use crate::timeline::Timeline;
use livekit_protocol as lk;
use lk::signal_request::Message;
use std::time::Instant;
use str0m::change::SdpOffer;

/// Which of the server's offers was answered last.
#[derive(Default)]
pub(super) struct Answering {
    last_id: u32,
}

impl Session {
    /// The server's offer. One that comes behind a newer one is dropped.
    pub(super) fn handle_offer(&mut self, offer: &lk::SessionDescription, now: Instant) {
        let stale = offer.id != 0 && offer.id < self.answering.last_id;
        let Some(subscriber) = self.subscriber.as_mut().filter(|_| !stale) else {
            tracing::debug!(id = offer.id, "an offer that nobody waits for is dropped");
            return;
        };
        self.answering.last_id = offer.id;
        let answer = subscriber.call(|rtc| {
            let offer = SdpOffer::from_sdp_string(&offer.sdp).map_err(|e| e.to_string())?;
            let answer = rtc.sdp_api().accept_offer(offer).map_err(text)?;
            Ok(answer.to_sdp_string())
        });
        let answer = answer.and_then(|sdp| subscriber.kick(now).map(|()| sdp));
        match answer {
            Ok(sdp) => {
                subscriber.handle_described(sdp::fingerprint(&offer.sdp));
                self.say(Message::Answer(lk::SessionDescription {
                    r#type: "answer".to_owned(),
                    sdp,
                    id: offer.id,
                    ..lk::SessionDescription::default()
                }));
            }
            Err(cause) => {
                let cause = format!("the server's offer cannot be used: {}", one_line(&cause));
                self.finish(EndReason::MediaFailed(cause), now);
                return;
            }
        }
        if self.primary() == Connection::Subscriber {
            Timeline::mark(&mut self.timeline.answered, now);
        }
        self.bind(&sdp::read(&offer.sdp), &offer.mid_to_track_id);
        self.drain(Connection::Subscriber, now);
        let waits = self.subscriber.as_ref().is_some_and(|peer| peer.checks);
        self.handle_restarted(Connection::Subscriber, waits, now);
    }
}
