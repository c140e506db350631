//! Which worker a room lives on, and so where the shard's commands go. A policy: no thread, no channel.
//!
//! A room is with one worker for as long as it has participants. A new room goes to the worker that holds
//! the fewest.

use proto::id::{ParticipantSid, RoomSid, TrackSid};
use proto::media::NodeCommand;
use std::collections::HashMap;

/// A worker, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u16);

/// Questions to the shard are numbered from here on by each worker: its place is in the upper bits, so
/// that the answer finds it.
const NONCE_BITS: u32 = 48;

impl WorkerId {
    /// The worker's first nonce.
    pub(crate) fn first_nonce(self) -> u64 {
        u64::from(self.0) << NONCE_BITS
    }

    fn of_nonce(nonce: u64) -> Self {
        // 16 bits are left.
        Self((nonce >> NONCE_BITS) as u16)
    }
}

#[derive(Debug)]
struct Home {
    worker: WorkerId,
    participants: usize,
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Participants of each worker.
    loads: Vec<usize>,
    rooms: HashMap<RoomSid, Home>,
    participants: HashMap<ParticipantSid, (RoomSid, Vec<TrackSid>)>,
    tracks: HashMap<TrackSid, ParticipantSid>,
}

impl Routing {
    /// For so many workers, at least one.
    pub(crate) fn new(workers: u16) -> Self {
        Self {
            loads: vec![0; usize::from(workers.max(1))],
            rooms: HashMap::new(),
            participants: HashMap::new(),
            tracks: HashMap::new(),
        }
    }

    /// The worker that a command is for; the books are kept. A command about nothing goes to the first
    /// worker, who knows how to answer it.
    pub(crate) fn route(&mut self, command: &NodeCommand) -> WorkerId {
        let known = match command {
            NodeCommand::AddParticipant(new) => Some(self.enter(&new.room, &new.participant)),
            NodeCommand::Adopt { participant, .. } => {
                Some(self.enter(&participant.room, &participant.participant))
            }
            NodeCommand::RemoveParticipant { participant } => self.leave(participant),
            NodeCommand::Publish(track) => self.publish(&track.participant, &track.track),
            NodeCommand::Unpublish { track } => self.unpublish(track),
            NodeCommand::SetMuted { track, .. } => self.of_track(track),
            NodeCommand::Export { room } | NodeCommand::Deliver { room, .. } => self.of_room(room),
            NodeCommand::Owned { nonce, .. } => {
                let worker = WorkerId::of_nonce(*nonce);
                (usize::from(worker.0) < self.loads.len()).then_some(worker)
            }
            NodeCommand::Offer { participant, .. }
            | NodeCommand::Answer { participant, .. }
            | NodeCommand::Candidate { participant, .. }
            | NodeCommand::PrepareResume { participant }
            | NodeCommand::Subscribe { participant, .. }
            | NodeCommand::Unsubscribe { participant, .. }
            | NodeCommand::SetTrackSettings { participant, .. }
            | NodeCommand::SetPermission { participant, .. }
            | NodeCommand::Detach { participant } => self.of_participant(participant),
        };
        known.unwrap_or(WorkerId(0))
    }

    fn enter(&mut self, room: &RoomSid, who: &ParticipantSid) -> WorkerId {
        if let Some((known, _)) = self.participants.get(who)
            && known != room
        {
            self.leave(who);
        }
        let emptiest = self.loads.iter().enumerate().min_by_key(|(_, load)| **load);
        // No more workers than 16 bits count.
        let emptiest = WorkerId(emptiest.map_or(0, |(place, _)| place as u16));
        let home = self.rooms.entry(room.clone()).or_insert(Home {
            worker: emptiest,
            participants: 0,
        });
        let worker = home.worker;
        if !self.participants.contains_key(who) {
            home.participants += 1;
            if let Some(load) = self.loads.get_mut(usize::from(worker.0)) {
                *load += 1;
            }
            let entry = (room.clone(), Vec::new());
            self.participants.insert(who.clone(), entry);
        }
        worker
    }

    fn leave(&mut self, who: &ParticipantSid) -> Option<WorkerId> {
        let (room, tracks) = self.participants.remove(who)?;
        for track in tracks {
            self.tracks.remove(&track);
        }
        let home = self.rooms.get_mut(&room)?;
        let worker = home.worker;
        home.participants -= 1;
        if home.participants == 0 {
            self.rooms.remove(&room);
        }
        if let Some(load) = self.loads.get_mut(usize::from(worker.0)) {
            *load -= 1;
        }
        Some(worker)
    }

    fn publish(&mut self, who: &ParticipantSid, track: &TrackSid) -> Option<WorkerId> {
        let (_, tracks) = self.participants.get_mut(who)?;
        if self.tracks.insert(track.clone(), who.clone()).is_none() {
            tracks.push(track.clone());
        }
        self.of_participant(who)
    }

    fn unpublish(&mut self, track: &TrackSid) -> Option<WorkerId> {
        let who = self.tracks.remove(track)?;
        let (_, tracks) = self.participants.get_mut(&who)?;
        tracks.retain(|other| other != track);
        self.of_participant(&who)
    }

    fn of_room(&self, room: &RoomSid) -> Option<WorkerId> {
        self.rooms.get(room).map(|home| home.worker)
    }

    fn of_participant(&self, who: &ParticipantSid) -> Option<WorkerId> {
        let (room, _) = self.participants.get(who)?;
        self.of_room(room)
    }

    fn of_track(&self, track: &TrackSid) -> Option<WorkerId> {
        self.of_participant(self.tracks.get(track)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::id::Identity;
    use proto::media::{Kind, MediaPermission, NewParticipant, PeerMode, PublishedTrack};

    fn add(room: &str, who: &str) -> NodeCommand {
        NodeCommand::AddParticipant(NewParticipant {
            room: RoomSid::new(room),
            participant: ParticipantSid::new(who),
            identity: Identity::new(who),
            mode: PeerMode::Single,
            permission: MediaPermission {
                publish: true,
                subscribe: true,
                publish_data: true,
            },
            hidden: false,
            fixed: false,
            selection: Default::default(),
        })
    }

    fn remove(who: &str) -> NodeCommand {
        NodeCommand::RemoveParticipant {
            participant: ParticipantSid::new(who),
        }
    }

    fn publish(who: &str, track: &str) -> NodeCommand {
        NodeCommand::Publish(PublishedTrack {
            participant: ParticipantSid::new(who),
            track: TrackSid::new(track),
            cid: String::new(),
            kind: Kind::Audio,
            layers: Vec::new(),
            codec: String::new(),
            muted: false,
            screen: false,
        })
    }

    fn mute(track: &str) -> NodeCommand {
        NodeCommand::SetMuted {
            track: TrackSid::new(track),
            muted: true,
        }
    }

    fn to(routing: &mut Routing, command: &NodeCommand) -> u16 {
        routing.route(command).0
    }

    #[test]
    fn a_room_stays_with_its_worker_and_new_ones_go_where_fewest_people_are() {
        let mut routing = Routing::new(2);
        assert_eq!(to(&mut routing, &add("a", "1")), 0);
        assert_eq!(to(&mut routing, &add("a", "2")), 0);
        assert_eq!(to(&mut routing, &add("b", "3")), 1);
        assert_eq!(to(&mut routing, &add("c", "4")), 1);
        assert_eq!(to(&mut routing, &add("a", "5")), 0, "however full it is");
        assert_eq!(to(&mut routing, &add("d", "6")), 1);
    }

    #[test]
    fn everything_about_a_participant_and_its_tracks_goes_to_its_room_s_worker() {
        let mut routing = Routing::new(2);
        to(&mut routing, &add("a", "1"));
        assert_eq!(to(&mut routing, &add("b", "2")), 1);
        assert_eq!(to(&mut routing, &publish("2", "t")), 1);
        assert_eq!(to(&mut routing, &mute("t")), 1);
        let room = RoomSid::new("b");
        assert_eq!(to(&mut routing, &NodeCommand::Export { room }), 1);
        let track = TrackSid::new("t");
        assert_eq!(to(&mut routing, &NodeCommand::Unpublish { track }), 1);
        assert_eq!(to(&mut routing, &mute("t")), 0, "it is not known any more");
        to(&mut routing, &publish("2", "u"));
        assert_eq!(to(&mut routing, &remove("2")), 1);
        assert_eq!(to(&mut routing, &mute("u")), 0);
        assert_eq!(
            to(&mut routing, &add("b", "3")),
            1,
            "the first has one already"
        );
    }

    #[test]
    fn an_answer_about_ownership_goes_to_the_worker_that_asked() {
        let mut routing = Routing::new(3);
        let owned = |nonce| NodeCommand::Owned { nonce, for_ms: 1 };
        assert_eq!(to(&mut routing, &owned(WorkerId(2).first_nonce() + 7)), 2);
        assert_eq!(to(&mut routing, &owned(5)), 0);
        assert_eq!(to(&mut routing, &owned(u64::MAX)), 0, "nobody asked that");
    }

    proptest! {
        #[test]
        fn nothing_is_left_of_those_who_left(steps in prop::collection::vec((0..6_u8, 0..4_u8, 0..3_u8), 0..200)) {
            let mut routing = Routing::new(3);
            for (who, room, what) in steps {
                let who = who.to_string();
                match what {
                    0 => drop(to(&mut routing, &add(&room.to_string(), &who))),
                    1 => drop(to(&mut routing, &publish(&who, &format!("{who}-{room}")))),
                    _ => drop(to(&mut routing, &remove(&who))),
                }
                let people: usize = routing.loads.iter().sum();
                prop_assert_eq!(people, routing.participants.len());
            }
            for who in 0..6 {
                to(&mut routing, &remove(&who.to_string()));
            }
            prop_assert!(routing.rooms.is_empty() && routing.tracks.is_empty());
            prop_assert_eq!(routing.loads, [0, 0, 0]);
        }
    }
}
