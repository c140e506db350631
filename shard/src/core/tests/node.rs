//! A node that believes nothing: it knows what it was told and trips over what it was not.

use crate::core::Core;
use crate::core::room::Room;
use livekit_protocol as lk;
use proto::id::{Member, ParticipantSid, RoomSid, TrackSid};
use proto::media::{CarriedData, CarriedMedia, NodeCommand, NodeEvent, PeerMode};
use std::collections::{BTreeMap, BTreeSet};

/// What a node has of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Transport(PeerMode),
    /// Only what another node knew.
    Carried,
}

#[derive(Debug, Default)]
pub(super) struct FakeNode {
    pub(super) participants: BTreeMap<ParticipantSid, Holds>,
    pub(super) tracks: BTreeMap<TrackSid, ParticipantSid>,
    pub(super) subscriptions: BTreeSet<(ParticipantSid, TrackSid)>,
    /// Tracks of other members, and where they come from.
    pub(super) imports: BTreeMap<TrackSid, Member>,
    /// The room's other members, as far as it was told.
    pub(super) others: BTreeSet<Member>,
    /// The last data packet taken from each.
    pub(super) sequences: BTreeMap<ParticipantSid, u32>,
    /// The same when the room was exported.
    exported: BTreeMap<ParticipantSid, u32>,
    /// Those who resume elsewhere.
    pub(super) detached: BTreeSet<ParticipantSid>,
    /// Packets handed on for somebody else.
    pub(super) delivered: Vec<(ParticipantSid, u32)>,
    /// Questions that are not answered.
    pub(super) exports: Vec<RoomSid>,
    pub(super) detaches: Vec<ParticipantSid>,
}

impl FakeNode {
    pub(super) fn lose_everything(&mut self) {
        *self = Self::default();
    }

    /// The participant sends a data packet. False: nobody takes it.
    pub(super) fn send_data(&mut self, who: &ParticipantSid) -> bool {
        let has_transport = matches!(self.participants.get(who), Some(Holds::Transport(_)));
        if has_transport {
            *self.sequences.entry(who.clone()).or_default() += 1;
        }
        has_transport
    }

    fn media(&self, who: &ParticipantSid) -> CarriedMedia {
        CarriedMedia {
            participant: who.clone(),
            sections: Vec::new(),
            streams: Vec::new(),
            channels: Vec::new(),
            last_data_sequence: self.sequences.get(who).copied().unwrap_or_default(),
            joined_after: BTreeMap::new(),
        }
    }

    /// The answer to the oldest export.
    pub(super) fn answer_export(&mut self) -> Option<NodeEvent> {
        if self.exports.is_empty() {
            return None;
        }
        let single = |holds: &Holds| *holds != Holds::Transport(PeerMode::Dual);
        let movable = self.participants.iter().filter(|(_, holds)| single(holds));
        let media = movable.map(|(who, _)| self.media(who)).collect();
        self.exported = self.sequences.clone();
        Some(NodeEvent::Exported {
            room: self.exports.remove(0),
            worker: 0,
            media,
            data: Vec::new(),
        })
    }

    /// The answer to the oldest detach.
    pub(super) fn answer_detach(&mut self) -> Option<NodeEvent> {
        if self.detaches.is_empty() {
            return None;
        }
        let participant = self.detaches.remove(0);
        let before = self.exported.get(&participant).copied().unwrap_or_default();
        let last = self.sequences.get(&participant).copied();
        let packet = |sequence| CarriedData {
            from: participant.clone(),
            sequence,
            age_ms: 0,
            packet: vec![1],
        };
        let data = (before + 1..=last.unwrap_or_default())
            .map(packet)
            .collect();
        Some(NodeEvent::Detached {
            media: Box::new(self.media(&participant)),
            participant,
            data,
        })
    }

    pub(super) fn obey(&mut self, command: NodeCommand) {
        match command {
            NodeCommand::AddParticipant(new) => {
                let holds = Holds::Transport(new.mode);
                let before = self.participants.insert(new.participant, holds);
                assert_eq!(before, None, "added twice");
            }
            NodeCommand::Adopt { participant, media } => {
                assert_eq!(
                    participant.mode,
                    PeerMode::Single,
                    "only those can be carried"
                );
                assert_eq!(participant.participant, media.participant);
                let who = participant.participant;
                let before = self.participants.insert(who.clone(), Holds::Carried);
                assert!(
                    matches!(before, None | Some(Holds::Carried)),
                    "transport lost"
                );
                self.detached.remove(&who);
                self.sequences.insert(who, media.last_data_sequence);
            }
            NodeCommand::RemoveParticipant { participant } => self.remove(&participant),
            NodeCommand::Publish(track) => {
                self.knows(&track.participant);
                let before = self.tracks.insert(track.track, track.participant);
                assert_eq!(before, None, "published twice");
            }
            NodeCommand::Import(import) => {
                assert!(!self.participants.is_empty(), "nobody is here");
                let track = import.track.track;
                assert!(!self.has(&track), "it is here already");
                self.imports.insert(track, import.from);
            }
            NodeCommand::SetMembers { members, .. } => {
                assert!(!self.participants.is_empty(), "nobody is here");
                self.others = members.into_iter().collect();
            }
            NodeCommand::SetPeers(_) => {}
            NodeCommand::Unpublish { track } => {
                let own = self.tracks.remove(&track).is_some();
                let foreign = self.imports.remove(&track).is_some();
                assert!(own || foreign, "unknown track");
                self.subscriptions.retain(|(_, other)| *other != track);
            }
            NodeCommand::SetMuted { track, .. } => {
                assert!(self.has(&track), "unknown track");
            }
            NodeCommand::Subscribe {
                participant, track, ..
            } => {
                self.knows(&participant);
                assert!(self.has(&track), "unknown track");
                let fresh = self.subscriptions.insert((participant, track));
                assert!(fresh, "subscribed twice");
            }
            NodeCommand::Unsubscribe { participant, track } => {
                let known = self.subscriptions.remove(&(participant, track));
                assert!(known, "unsubscribed from nothing");
            }
            NodeCommand::SetTrackSettings {
                participant, track, ..
            } => assert!(self.subscriptions.contains(&(participant, track))),
            NodeCommand::Offer {
                participant,
                resume,
                ..
            } => self.take_offer(&participant, resume.is_some()),
            NodeCommand::Export { room } => self.exports.push(room),
            NodeCommand::Detach { participant } => {
                self.knows(&participant);
                self.detached.insert(participant.clone());
                self.detaches.push(participant);
            }
            NodeCommand::Deliver { data, .. } => {
                for packet in data {
                    let packet = (packet.from, packet.sequence);
                    // As nodes do.
                    if !self.delivered.contains(&packet) {
                        self.delivered.push(packet);
                    }
                }
            }
            NodeCommand::Answer { participant, .. }
            | NodeCommand::Candidate { participant, .. }
            | NodeCommand::PrepareResume { participant }
            | NodeCommand::SetPermission { participant, .. } => self.knows(&participant),
            NodeCommand::Owned { .. } => {}
        }
    }

    fn remove(&mut self, who: &ParticipantSid) {
        assert!(self.participants.remove(who).is_some(), "removed twice");
        self.tracks.retain(|_, owner| owner != who);
        let (tracks, imports) = (&self.tracks, &self.imports);
        let has = |track: &TrackSid| tracks.contains_key(track) || imports.contains_key(track);
        self.subscriptions
            .retain(|(other, track)| other != who && has(track));
        if self.participants.is_empty() {
            assert_eq!(self.imports, BTreeMap::new(), "for nobody");
            self.others.clear();
        }
        self.sequences.remove(who);
        self.detached.remove(who);
        self.detaches.retain(|other| other != who);
    }

    fn take_offer(&mut self, who: &ParticipantSid, resumes: bool) {
        self.knows(who);
        if self.participants[who] == Holds::Carried {
            assert!(resumes, "a carried transport goes on by a resume only");
            let holds = Holds::Transport(PeerMode::Single);
            self.participants.insert(who.clone(), holds);
        }
    }

    fn has(&self, track: &TrackSid) -> bool {
        self.tracks.contains_key(track) || self.imports.contains_key(track)
    }

    fn knows(&self, who: &ParticipantSid) {
        assert!(self.participants.contains_key(who), "unknown participant");
    }
}

/// The core's tables agree with each other and with the node's.
pub(super) fn check(core: &Core, node: &FakeNode) {
    let mut participants: BTreeSet<&ParticipantSid> = BTreeSet::new();
    let mut tracks = BTreeMap::new();
    let mut subscriptions = BTreeSet::new();
    for room in core.rooms.values() {
        assert_eq!(core.index.rooms.get(&room.sid), Some(&room.key));
        assert_eq!(room.identities.len(), room.participants.len());
        for (sid, participant) in &room.participants {
            participants.insert(sid);
            assert_eq!(core.index.participants.get(sid), Some(&room.key));
            assert_eq!(room.identities.get(&participant.identity), Some(sid));
            if let Some(session) = participant.session {
                assert_eq!(&core.index.sessions[&session].participant, sid);
            }
            for track in participant.tracks.keys() {
                tracks.insert(track.clone(), sid.clone());
                assert_eq!(room.owners.get(track), Some(sid));
            }
            for track in &participant.subscriptions {
                subscriptions.insert((sid.clone(), track.clone()));
            }
        }
        let published: usize = room.participants.values().map(|p| p.tracks.len()).sum();
        assert_eq!(room.owners.len(), published);
    }
    let seated = core.index.sessions.values().map(|seat| &seat.participant);
    assert!(seated.collect::<BTreeSet<_>>().is_subset(&participants));
    assert_eq!(core.index.participants.len(), participants.len());
    assert_eq!(core.index.rooms.len(), core.rooms.len());

    let waits = |room: &Room| {
        let frozen = room.frozen.as_ref();
        frozen.is_some_and(|frozen| !frozen.lost_nodes.is_empty())
    };
    if core.rooms.values().any(waits) {
        // The room waits for its verdict without a node.
        return;
    }
    // The node also holds what is on its way out.
    let leaving = core
        .tails
        .values()
        .flat_map(|tail| tail.participants.keys());
    let leaving: BTreeSet<&ParticipantSid> = leaving.collect();
    assert!(leaving.is_disjoint(&participants));
    let held: BTreeSet<&ParticipantSid> = node.participants.keys().collect();
    assert_eq!(held, participants.union(&leaving).copied().collect());
    let mut at_node = node.tracks.clone();
    at_node.retain(|_, owner| !leaving.contains(owner));
    assert_eq!(at_node, tracks);
    let mut at_node = node.subscriptions.clone();
    at_node.retain(|(who, _)| !leaving.contains(who));
    assert_eq!(at_node, subscriptions);
}

/// A client's answer to being told who is there, and who is not.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// By sid: the newest version and the names of its tracks.
    pub(super) others: BTreeMap<String, (u32, BTreeSet<String>)>,
    sids: BTreeMap<String, String>,
    /// Identities of those it saw leave.
    pub(super) gone: Vec<String>,
}

impl View {
    /// Older news than what is known would be ignored by a client: there must be none.
    pub(super) fn take(&mut self, infos: &[lk::ParticipantInfo]) {
        for info in infos {
            let known = self
                .others
                .get(&info.sid)
                .map_or(0, |(version, _)| *version);
            assert!(info.version >= known, "old news of {}", info.identity);
            if info.state() == lk::participant_info::State::Disconnected {
                if self.others.remove(&info.sid).is_some() {
                    self.gone.push(info.identity.clone());
                }
                continue;
            }
            // Clients know one session of each name.
            let before = self.sids.insert(info.identity.clone(), info.sid.clone());
            if let Some(before) = before.filter(|before| *before != info.sid) {
                self.others.remove(&before);
            }
            let tracks = info.tracks.iter().map(|track| track.sid.clone());
            self.others
                .insert(info.sid.clone(), (info.version, tracks.collect()));
        }
    }
}
