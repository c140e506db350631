//! A room that stands still while it goes to another shard.
//!
//! Owns: what comes for it meanwhile, in order and bounded. Must not: handle any of it.

use super::api::SessionId;
use super::limits::{KEPT_BYTES_MAX, KEPT_SIGNALS_MAX};
use super::turn::{Due, Subject};
use livekit_protocol::signal_request;
use proto::id::{Member, NodeId, ParticipantSid};
use proto::media::{CarriedData, CarriedMedia, NodeEvent, Speaker, TransportLoss};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Something that came for a frozen room.
#[derive(Debug)]
pub(super) enum Kept {
    /// From a client.
    Signal {
        session: SessionId,
        message: Box<signal_request::Message>,
    },
    /// The end of a connection.
    Closed(SessionId),
    /// From a node.
    Event { node: NodeId, event: NodeEvent },
}

/// How far a move has come, and what has to wait for its end.
#[derive(Debug)]
pub(super) struct Frozen {
    /// It must be sealed until then.
    pub(super) until: Instant,
    /// Signals are bounded by `limits::KEPT_*`. A client closes at most one connection, and a node
    /// says little of a participant that asks for nothing.
    kept: VecDeque<Kept>,
    signals: usize,
    bytes: usize,
    /// The latest of each: at most the room's participants.
    speakers: BTreeMap<ParticipantSid, Speaker>,
    /// Deadlines that have passed: a handful for each participant.
    pub(super) due: BTreeSet<(Due, Subject)>,
    /// Connections closed because more came on them than is kept.
    pub(super) overflowed: BTreeSet<SessionId>,
    /// Whom the new shard has asked for already.
    pub(super) pulls: BTreeSet<ParticipantSid>,
    /// Those who move, once that is known.
    pub(super) carried: Option<BTreeSet<ParticipantSid>>,
    /// The directory may have given the room away: there is no way back before it has said no.
    pub(super) is_sealed: bool,
    /// Nodes that were lost after that.
    pub(super) lost_nodes: BTreeSet<NodeId>,
    /// What the members have answered, the latest of each.
    pub(super) exports: BTreeMap<Member, (Vec<CarriedMedia>, Vec<CarriedData>)>,
}

impl Frozen {
    pub(super) fn until(until: Instant) -> Self {
        Self {
            until,
            kept: VecDeque::new(),
            signals: 0,
            bytes: 0,
            speakers: BTreeMap::new(),
            due: BTreeSet::new(),
            overflowed: BTreeSet::new(),
            pulls: BTreeSet::new(),
            carried: None,
            is_sealed: false,
            lost_nodes: BTreeSet::new(),
            exports: BTreeMap::new(),
        }
    }

    /// Keeps something for later. Gives back a signal that is one too many.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<(), Kept> {
        match kept {
            Kept::Signal {
                session,
                ref message,
            } => {
                if self.overflowed.contains(&session) {
                    return Ok(());
                }
                let bytes = self.bytes + message.encoded_len();
                if self.signals >= KEPT_SIGNALS_MAX || bytes > KEPT_BYTES_MAX {
                    return Err(kept);
                }
                self.signals += 1;
                self.bytes = bytes;
            }
            Kept::Event {
                event: NodeEvent::Speakers { speakers, .. },
                ..
            } => {
                let latest = speakers.into_iter().map(|s| (s.participant.clone(), s));
                self.speakers.extend(latest);
                return Ok(());
            }
            Kept::Closed(_) | Kept::Event { .. } => {}
        }
        self.kept.push_back(kept);
        Ok(())
    }

    /// All that was kept but speakers, in order.
    pub(super) fn take_kept(&mut self) -> VecDeque<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Whose transports were closed by their clients meanwhile.
    pub(super) fn hung_up(&self) -> Vec<(NodeId, ParticipantSid)> {
        let closed = self.kept.iter().filter_map(|kept| match kept {
            Kept::Event {
                node,
                event:
                    NodeEvent::Disconnected {
                        participant,
                        reason: TransportLoss::PeerClosed,
                    },
            } => Some((node.clone(), participant.clone())),
            _ => None,
        });
        closed.collect()
    }

    /// What all members have answered, as if it were one: each says what it has of its own participants,
    /// and all of them have heard the same data packets.
    pub(super) fn take_exports(&mut self) -> (Vec<CarriedMedia>, Vec<CarriedData>) {
        let (mut media, mut data) = (Vec::new(), Vec::new());
        for (of_member, heard) in std::mem::take(&mut self.exports).into_values() {
            media.extend(of_member);
            data.extend(heard);
        }
        let mut seen = BTreeSet::new();
        data.retain(|packet: &CarriedData| seen.insert((packet.from.clone(), packet.sequence)));
        // Of one sender all have the same order; the oldest first.
        data.sort_by_key(|packet| std::cmp::Reverse(packet.age_ms));
        (media, data)
    }

    /// What became of speakers.
    pub(super) fn take_speakers(&mut self) -> Vec<Speaker> {
        std::mem::take(&mut self.speakers).into_values().collect()
    }
}
