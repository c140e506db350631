//! When the owner of a track is told that it was taken.
//!
//! Owns: that this waits for a connection that is being made. Must not: decide what is taken; `tracks`
//! does.
//!
//! livekit-client publishes again while it joins again, and shows nobody before that is done. If its
//! connection stands when its tracks are confirmed, it goes on at once; if not, it pauses for 2 s, and
//! a killed shard would be felt for so much longer.

use super::participant::Participant;
use super::room::Room;
use super::tracks::published;
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::participant_info::State;
use proto::id::ParticipantSid;
use proto::media::PeerMode;
use std::time::Duration;

/// So long at most: clients wait 10 s for a confirmation, and a connection that takes more than this has
/// trouble that waiting does not mend.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

impl Participant {
    /// Its only connection is being made. One that it would make for its tracks alone must not wait for
    /// itself: the client has offered something, without them.
    fn is_connecting(&self) -> bool {
        self.mode == PeerMode::Single && self.state == State::Joined && self.negotiation.has_begun()
    }
}

impl Room {
    /// Tells the owner of new tracks that they were taken, now or when it is connected.
    pub(super) fn confirm(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        if !participant.is_connecting() {
            self.confirm_now(who, turn);
        } else if participant.deadlines.confirm.is_none() {
            let at = turn.now + CONFIRM_WITHIN;
            participant.deadlines.confirm = Some(at);
            turn.arm(at, Due::Confirm, Subject::Participant(who.clone()));
        }
    }

    /// Tells it now.
    pub(super) fn confirm_now(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let Some(participant) = self.participants.get_mut(who) else {
            return;
        };
        participant.deadlines.confirm = None;
        let untold = participant.tracks.values_mut().filter(|t| !t.is_confirmed);
        let messages: Vec<_> = untold
            .map(|track| {
                track.is_confirmed = true;
                published(track)
            })
            .collect();
        for message in messages {
            turn.signal(participant, message);
        }
    }
}
