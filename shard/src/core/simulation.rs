//! Faults that a client asks for, to try how it takes them (LiveKit's `SimulateScenario`). They meet nobody
//! but itself.
//!
//! Ignored are `switch_candidate_protocol`, before which clients join anew by themselves, and
//! `subscriber_bandwidth`: the impairment of a real line shows more.

use super::leave::Farewell;
use super::room::Room;
use super::turn::{Due, Subject, Turn};
use livekit_protocol as lk;
use lk::DisconnectReason;
use lk::simulate_scenario::Scenario;
use proto::id::ParticipantSid;
use proto::media::Speaker;
use std::time::Duration;

/// Longest simulated speech, seconds.
const SPEECH_MAX: i32 = 60;
/// As loud as LiveKit's server has it.
const LEVEL: f32 = 0.9;

/// When the next resume of a client is interrupted, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interruption {
    /// Before the client hears anything.
    AtOnce,
    /// When it has been told all.
    AfterMessages,
}

impl Room {
    /// What a client wants to try on itself.
    pub(super) fn simulate(
        &mut self,
        who: &ParticipantSid,
        simulation: &lk::SimulateScenario,
        turn: &mut Turn<'_>,
    ) {
        let reason = DisconnectReason::ServerShutdown;
        match simulation.scenario {
            Some(Scenario::ServerLeave(true)) => {
                self.remove(who, reason, Farewell::Disconnect, turn);
            }
            Some(Scenario::LeaveRequestFullReconnect(true)) => {
                self.remove(who, reason, Farewell::Reconnect, turn);
            }
            // Nobody can say farewell any more.
            Some(Scenario::NodeFailure(true)) => self.remove(who, reason, Farewell::Silent, turn),
            Some(Scenario::Migration(true)) => self.cut(who, turn),
            Some(Scenario::DisconnectSignalOnResume(true)) => {
                self.interrupt_next(who, Interruption::AfterMessages);
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(true)) => {
                self.interrupt_next(who, Interruption::AtOnce);
            }
            Some(Scenario::SpeakerUpdate(seconds @ 1..=SPEECH_MAX)) => {
                let speech = Duration::from_secs(seconds.unsigned_abs().into());
                self.let_speak(who, speech, turn);
            }
            _ => {}
        }
    }

    fn interrupt_next(&mut self, who: &ParticipantSid, interruption: Interruption) {
        if let Some(participant) = self.participants.get_mut(who) {
            participant.interruption = Some(interruption);
        }
    }

    /// The client resumes. True: it was interrupted, because it wanted to be.
    pub(super) fn interrupts(
        &mut self,
        who: &ParticipantSid,
        now: Interruption,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(participant) = self.participants.get_mut(who) else {
            return false;
        };
        let wanted = participant.interruption == Some(now);
        if wanted {
            participant.interruption = None;
            self.cut(who, turn);
        }
        wanted
    }

    /// Its signalling connection breaks; the participant stays, and may resume.
    fn cut(&mut self, who: &ParticipantSid, turn: &mut Turn<'_>) {
        let session = self.participants.get(who).and_then(|it| it.session);
        if let Some(session) = session {
            turn.close(session, "simulated fault");
            self.handle_session_closed(who, session, turn);
        }
    }

    fn let_speak(&mut self, who: &ParticipantSid, speech: Duration, turn: &mut Turn<'_>) {
        let speaks = Speaker {
            participant: who.clone(),
            level: LEVEL,
            active: true,
        };
        self.handle_speakers(vec![speaks], turn);
        // As one who spoke at another shard, and is not heard any more.
        self.carried_speakers.insert(who.clone());
        let at = turn.now + speech;
        self.speakers_at = Some(at);
        turn.arm(at, Due::Speakers, Subject::Room(self.sid.clone()));
    }
}
