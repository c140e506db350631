//! What must happen now and then without an input: lost peers, speakers, layers, retries.

use super::timers::Timer;
use super::{Engine, TransportKey};
use proto::media::{Kind, NodeEvent, Speaker, TransportLoss};
use std::time::{Duration, Instant};
use str0m::rtp::Ssrc;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Time between two choices of simulcast layers, and between two requests for an awaited key frame.
const CHOOSE_LAYERS: Duration = Duration::from_millis(500);
/// How long a peer may be unreachable after str0m noticed, which takes 15 s without a check:
/// together the 30 s of RFC 7675, after which nothing may be sent any more.
const ICE_GRACE: Duration = Duration::from_secs(15);

impl Engine {
    /// One round.
    pub(super) fn keep_house(&mut self, now: Instant) {
        if self.participants.len() > 0 {
            self.timers.set(Timer::Housekeeping, Some(now + ROUND));
        }
        self.check_transports(now);
        self.say_speakers(now);
        self.check_tracks(now);
        self.select_pictures(now);
        self.share_lines(now);
    }

    fn check_transports(&mut self, now: Instant) {
        let mut gone: Vec<TransportKey> = Vec::new();
        let mut waiting: Vec<TransportKey> = Vec::new();
        for (key, transport) in self.transports.iter() {
            let lost = transport
                .ice_lost_at
                .is_some_and(|at| now.saturating_duration_since(at) >= ICE_GRACE);
            if lost {
                gone.push(key);
            } else if transport.channels.has_backlog() {
                waiting.push(key);
            }
        }
        for key in gone {
            self.lose(key, TransportLoss::IceTimeout);
        }
        for key in waiting {
            self.flush_backlog(key, now);
        }
    }

    fn say_speakers(&mut self, now: Instant) {
        for key in self.rooms.keys() {
            let Some(room) = self.rooms.get_mut(key) else {
                continue;
            };
            let changes = room.speakers.handle_timeout(now);
            for change in changes.iter().filter(|change| change.active) {
                room.selected.spoke(change.participant);
            }
            let speakers: Vec<Speaker> = changes
                .into_iter()
                .filter_map(|change| {
                    let participant = self.participants.get(change.participant)?;
                    // Its own member tells of it.
                    (!participant.guest).then(|| Speaker {
                        participant: participant.sid.clone(),
                        level: change.level,
                        active: change.active,
                    })
                })
                .collect();
            if !speakers.is_empty() {
                self.outbox.events.push_back(NodeEvent::Speakers {
                    room: room.sid.clone(),
                    speakers,
                });
            }
        }
    }

    /// Audio has one source, which is chosen when it appears.
    fn check_tracks(&mut self, now: Instant) {
        let choose = now >= self.layers_chosen_at + CHOOSE_LAYERS;
        if choose {
            self.layers_chosen_at = now;
        }
        for key in self.tracks.keys() {
            if choose {
                self.keep_copies(key, now);
            }
            let Some(track) = self.tracks.get_mut(key) else {
                continue;
            };
            for source in &mut track.sources {
                source.meter.handle_timeout(now);
                source.spatial.handle_timeout(now);
            }
            if track.kind == Kind::Audio {
                continue;
            }
            let wanted = track
                .sources
                .iter()
                .filter(|source| source.asks.is_waiting());
            let wanted: Vec<Ssrc> = wanted.map(|source| source.ssrc).collect();
            if choose {
                self.say_wanted(key, now);
                self.retarget(key, now);
            }
            for ssrc in wanted {
                self.ask_keyframe(key, ssrc, now);
            }
        }
    }
}
