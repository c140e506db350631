//! A room on its way from one node to another: told, let go, taken up.
//!
//! A participant that is taken up is one whose transport was lost: its resume is the same as any
//! other. What was carried comes from another program and is checked before str0m sees it.

use super::channels::Channels;
use super::resume::usable_channels;
use super::room::{Detaching, Kept, Participant};
use super::sdp::{self, Direction, MAX_MID, MAX_SECTIONS};
use super::timers::Timer;
use super::transport::{KeptStream, MAX_INBOUND, Role, Section};
use super::{Engine, ParticipantKey, recent};
use proto::id::{ParticipantSid, RoomSid};
use proto::media::{
    CarriedMedia, CarriedRole, CarriedSection, CarriedStream, Kind, NewParticipant, NodeEvent,
    PeerMode, SectionKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use str0m::media::{Mid, Rid};
use str0m::rtp::Ssrc;

/// How long the answer waits for the data that a leaving client has on its way. The client stopped
/// sending when its signalling ended, some round trips ago, and keeps no copy of what has left it.
/// What is lost on the way and repeated comes later still: it is taken, and asked for once more.
const DETACH_LINGER: Duration = Duration::from_millis(100);
/// Most media sections of an exported room: the message must stay below what a link carries
/// (16 MiB), at some 100 bytes each. Participants that do not fit are left out.
const MAX_EXPORTED_SECTIONS: usize = 80_000;
/// Longest RID that str0m takes.
const MAX_RID: usize = 8;

impl Engine {
    /// Says what another node must know to take the room over.
    pub(super) fn export(&mut self, sid: RoomSid, now: Instant) {
        let room = self.rooms_by_sid.get(&sid).copied();
        let participants = room
            .and_then(|room| self.rooms.get(room))
            .map_or_else(Vec::new, |room| room.participants.clone());
        let mut media = Vec::new();
        let mut sections = 0;
        for key in participants {
            let single = |found: &Participant| found.mode == PeerMode::Single && !found.guest;
            if !self.participants.get(key).is_some_and(single) {
                continue;
            }
            if let Some(carried) = self.carried(key, now)
                && sections + carried.sections.len() <= MAX_EXPORTED_SECTIONS
            {
                sections += carried.sections.len();
                media.push(carried);
            }
        }
        let data = room
            .and_then(|room| self.rooms.get_mut(room))
            .map_or_else(Vec::new, |room| room.recent.export(now));
        self.outbox.events.push_back(NodeEvent::Exported {
            room: sid,
            worker: self.worker,
            media,
            data,
        });
    }

    /// A participant leaves for another node.
    pub(super) fn begin_detach(&mut self, sid: &ParticipantSid, now: Instant) {
        let Some(key) = self.participants_by_sid.get(sid).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(key) else {
            return;
        };
        let connected = participant.publisher.is_some() || participant.subscriber.is_some();
        match participant.detaching {
            Detaching::No if connected => {
                participant.detaching = Detaching::Soon;
                let at = now + DETACH_LINGER;
                self.timers.set(Timer::Detach(key), Some(at));
            }
            Detaching::No | Detaching::Done => self.conclude_detach(key, now),
            Detaching::Soon => {}
        }
    }

    /// What was on its way is here.
    pub(super) fn conclude_detach(&mut self, key: ParticipantKey, now: Instant) {
        let Some(participant) = self.participants.get_mut(key) else {
            return;
        };
        participant.detaching = Detaching::Done;
        let (sid, room) = (participant.sid.clone(), participant.room);
        let Some(media) = self.carried(key, now) else {
            return;
        };
        let room = self.rooms.get(room);
        self.outbox.events.push_back(NodeEvent::Detached {
            data: room.map_or_else(Vec::new, |room| room.recent.since_export(&sid, now)),
            participant: sid,
            media: Box::new(media),
        });
    }

    /// Takes up a participant from another node.
    pub(super) fn adopt(&mut self, new: NewParticipant, media: CarriedMedia, now: Instant) {
        let sid = new.participant.clone();
        if new.mode != PeerMode::Single {
            let reason = "two peer connections cannot be taken over: join again".to_owned();
            self.refuse_if_failed(sid, 0, Err(reason));
            return;
        }
        let Some(key) = self.adoptee(new, now) else {
            let reason = "the node is full: use another one".to_owned();
            self.refuse_if_failed(sid, 0, Err(reason));
            return;
        };
        let Some(participant) = self.participants.get_mut(key) else {
            return;
        };
        participant.last_data_sequence =
            participant.last_data_sequence.max(media.last_data_sequence);
        participant.joined_after = bounded(media.joined_after);
        // Packets that waited here already go on waiting.
        let waiting = std::mem::take(&mut participant.kept.channels);
        let mut channels = Channels::carried(usable_channels(&media.channels));
        channels.take_backlog(waiting);
        participant.kept = Kept {
            sections: Vec::new(),
            carried: usable_sections(media.sections),
            streams: usable_streams(&media.streams),
            channels,
        };
    }

    /// The participant, without a transport.
    fn adoptee(&mut self, new: NewParticipant, now: Instant) -> Option<ParticipantKey> {
        let sid = new.participant.clone();
        let room = self.rooms_by_sid.get(&new.room).copied();
        if let Some(key) = self.participants_by_sid.get(&sid).copied() {
            let waits = self
                .participants
                .get(key)
                .is_some_and(|known| known.publisher.is_none() && Some(known.room) == room);
            if waits {
                self.set_permission(&sid, new.permission, now);
                return Some(key);
            }
            // The room was here before and comes back before its traces are gone.
            self.remove_participant(&sid, now);
        }
        self.admit_participant(new, now)
    }

    /// What another node must know of a participant.
    fn carried(&mut self, key: ParticipantKey, now: Instant) -> Option<CarriedMedia> {
        let publisher = self.participants.get(key)?.publisher;
        let streams = publisher
            .and_then(|key| self.transports.get_mut(key))
            .map(|transport| transport.kept_streams());
        let participant = self.participants.get(key)?;
        let kept = &participant.kept;
        let transport = publisher.and_then(|key| self.transports.get(key));
        let sections = transport.map_or(&kept.sections, |transport| &transport.sections);
        let carried = sections.iter().map(|section| self.carry(section));
        let channels = transport.map_or(&kept.channels, |transport| &transport.channels);
        let recent = self.rooms.get(participant.room).map(|room| &room.recent);
        let matters = |(sender, last): &(&ParticipantSid, &u32)| {
            let before =
                |packet: &recent::Packet| packet.from == **sender && packet.sequence <= **last;
            recent.is_some_and(|recent| recent.young(now).any(before))
        };
        let joined_after = participant.joined_after.iter().filter(matters);
        Some(CarriedMedia {
            participant: participant.sid.clone(),
            sections: carried
                .chain(kept.carried.iter().cloned())
                .filter(|section| section.stale || section.role != CarriedRole::Idle)
                .collect(),
            streams: streams
                .as_ref()
                .unwrap_or(&kept.streams)
                .iter()
                .map(carry_stream)
                .collect(),
            channels: channels.open_channels(),
            last_data_sequence: participant.last_data_sequence,
            joined_after: joined_after
                .map(|(sender, last)| (sender.clone(), *last))
                .collect(),
        })
    }

    fn carry(&self, section: &Section) -> CarriedSection {
        let track = match section.role {
            Role::Idle => None,
            Role::Carries(track) => Some(track),
            Role::Sends(subscription) => self
                .subscriptions
                .get(subscription)
                .map(|subscription| subscription.track),
        };
        let sid = track.and_then(|track| Some(self.tracks.get(track)?.sid.clone()));
        let sends = matches!(section.role, Role::Sends(_));
        CarriedSection {
            mid: section.mid.clone(),
            kind: match section.kind {
                sdp::SectionKind::Media(Kind::Audio) => SectionKind::Audio,
                sdp::SectionKind::Media(Kind::Video) => SectionKind::Video,
                sdp::SectionKind::Other => SectionKind::Data,
            },
            stale: section.stale || (sends && sid.is_none()),
            role: match sid {
                None => CarriedRole::Idle,
                Some(sid) if sends => CarriedRole::Sends(sid),
                Some(sid) => CarriedRole::Carries(sid),
            },
        }
    }

    /// The section as it would be, had its transport been here.
    pub(super) fn uncarried(&self, owner: &ParticipantSid, carried: &CarriedSection) -> Section {
        let sends = matches!(carried.role, CarriedRole::Sends(_));
        let role = match &carried.role {
            CarriedRole::Idle => None,
            CarriedRole::Carries(track) => {
                self.tracks_by_sid.get(track).copied().map(Role::Carries)
            }
            CarriedRole::Sends(track) => self
                .subscription_of(owner, track)
                .map(|(_, subscription)| Role::Sends(subscription)),
        };
        Section {
            mid: carried.mid.clone(),
            kind: match carried.kind {
                SectionKind::Audio => sdp::SectionKind::Media(Kind::Audio),
                SectionKind::Video => sdp::SectionKind::Media(Kind::Video),
                SectionKind::Data => sdp::SectionKind::Other,
            },
            direction: Direction::Inactive,
            cid: None,
            payload_types: Vec::new(),
            stale: carried.stale || (sends && role.is_none()),
            role: role.unwrap_or(Role::Idle),
            used: false,
        }
    }
}

fn carry_stream(stream: &KeptStream) -> CarriedStream {
    CarriedStream {
        ssrc: *stream.ssrc,
        rtx: stream.rtx.map(|rtx| *rtx),
        mid: stream.mid.to_string(),
        rid: stream.rid.map(|rid| rid.to_string()),
    }
}

fn bounded(joined_after: BTreeMap<ParticipantSid, u32>) -> BTreeMap<ParticipantSid, u32> {
    joined_after.into_iter().take(recent::MAX_PACKETS).collect()
}

/// The sections with a usable mid, each mid once.
fn usable_sections(sections: Vec<CarriedSection>) -> Vec<CarriedSection> {
    let mut mids = BTreeSet::new();
    let mut usable = sections;
    usable.truncate(MAX_SECTIONS);
    usable.retain(|section| is_name(&section.mid, MAX_MID) && mids.insert(section.mid.clone()));
    usable
}

/// The streams with usable names, each SSRC for one purpose.
fn usable_streams(streams: &[CarriedStream]) -> Vec<KeptStream> {
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    let mut usable = Vec::new();
    for stream in streams.iter().take(MAX_INBOUND) {
        let rid = stream.rid.as_deref();
        let named = is_name(&stream.mid, MAX_MID) && rid.is_none_or(|rid| is_name(rid, MAX_RID));
        if !named || !taken.insert(stream.ssrc) {
            continue;
        }
        usable.push(KeptStream {
            ssrc: Ssrc::from(stream.ssrc),
            rtx: stream.rtx.filter(|rtx| taken.insert(*rtx)).map(Ssrc::from),
            mid: Mid::from(stream.mid.as_str()),
            rid: rid.map(Rid::from),
        });
    }
    usable
}

/// str0m keeps names in a few bytes and expects them to be ASCII.
fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(ssrc: u32, rtx: Option<u32>, mid: &str, rid: Option<&str>) -> CarriedStream {
        CarriedStream {
            ssrc,
            rtx,
            mid: mid.to_owned(),
            rid: rid.map(str::to_owned),
        }
    }

    #[test]
    fn streams_that_str0m_would_stumble_over_are_left_out() {
        let streams = [
            stream(1, Some(2), "3", Some("q")),
            stream(1, None, "3", Some("h")),
            stream(2, None, "3", None),
            stream(4, Some(4), "3", None),
            stream(5, None, "", None),
            stream(6, None, "\u{e4}", None),
            stream(7, None, "longer than 16 ch", None),
            stream(8, None, "3", Some("ninechars")),
        ];
        let usable = usable_streams(&streams);
        let ssrcs: Vec<u32> = usable.iter().map(|stream| *stream.ssrc).collect();
        assert_eq!(ssrcs, [1, 4]);
        assert_eq!(usable[0].rtx, Some(Ssrc::from(2)));
        assert_eq!(usable[1].rtx, None);
        let many: Vec<_> = (0..5000)
            .map(|ssrc| stream(ssrc, None, "1", None))
            .collect();
        assert_eq!(usable_streams(&many).len(), MAX_INBOUND);
    }

    #[test]
    fn sections_are_bounded_and_each_mid_counts_once() {
        let section = |mid: String| CarriedSection {
            mid,
            kind: SectionKind::Audio,
            role: CarriedRole::Idle,
            stale: false,
        };
        let doubled = ["a", "a", "", "b"].map(|mid| section(mid.to_owned()));
        assert_eq!(usable_sections(doubled.to_vec()).len(), 2);
        let many = (0..5000).map(|mid| section(mid.to_string())).collect();
        assert_eq!(usable_sections(many).len(), MAX_SECTIONS);
    }
}
