//! The members of a room: the workers that its participants' media lives on.
//!
//! Owns: who is where, and which tracks each member must have from the others. A track is imported where
//! somebody subscribes to it and its publisher is elsewhere, once a member. Must not: choose members;
//! [`spread`](super::spread) does.

use super::room::Room;
use super::spread::Load;
use super::turn::Turn;
use proto::id::{Member, NodeId, ParticipantSid, RoomSid, TrackSid};
use proto::media::{ImportedTrack, NodeCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Where a room is.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Those with participants.
    loads: BTreeMap<Member, Load>,
    /// How many subscriptions there are to a track of another member.
    imports: BTreeMap<(Member, TrackSid), usize>,
    /// Who knows of whom: the members when they were told last, if they were several.
    told: BTreeSet<Member>,
}

impl Members {
    pub(super) fn loads(&self) -> impl Iterator<Item = (&Member, Load)> + Clone {
        self.loads.iter().map(|(member, load)| (member, *load))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Member> + Clone {
        self.loads.keys()
    }

    pub(super) fn imports(&self) -> impl Iterator<Item = &(Member, TrackSid)> {
        self.imports.keys()
    }

    /// Whether one of them is a worker of this node.
    pub(super) fn include(&self, node: &NodeId) -> bool {
        self.loads.keys().any(|member| member.node == *node)
    }

    /// Somebody is there from now on.
    pub(super) fn enter(&mut self, member: &Member) {
        self.loads.entry(member.clone()).or_default().participants += 1;
    }

    /// Somebody is not there any more, nor are its subscriptions.
    pub(super) fn leave(&mut self, member: &Member) {
        if let Some(load) = self.loads.get_mut(member) {
            load.participants -= 1;
            if load.participants == 0 {
                self.loads.remove(member);
            }
        }
    }

    fn importers(&self, track: &TrackSid) -> Vec<Member> {
        let of_track = self.imports.keys().filter(|(_, other)| other == track);
        of_track.map(|(member, _)| member.clone()).collect()
    }
}

impl Room {
    /// Whether anything of it is on this node, or would be if somebody came.
    pub(super) fn is_on(&self, node: &NodeId) -> bool {
        self.home.node == *node || self.members.include(node)
    }

    /// Where somebody's media is; the room's first place for one that is not here.
    pub(super) fn member_of(&self, who: &ParticipantSid) -> &Member {
        let participant = self.participants.get(who);
        participant.map_or(&self.home, |participant| &participant.member)
    }

    /// Commands the member that somebody's media is at.
    pub(super) fn command(&self, who: &ParticipantSid, command: NodeCommand, turn: &mut Turn<'_>) {
        turn.node(self.member_of(who), command);
    }

    /// A subscription is about to be made at `member`.
    pub(super) fn attach(&mut self, member: &Member, track: &TrackSid, turn: &mut Turn<'_>) {
        if let Some(load) = self.members.loads.get_mut(member) {
            load.subscriptions += 1;
        }
        let Some(owner) = self.owners.get(track) else {
            return;
        };
        let owner = self.participants.get(owner).filter(|o| o.member != *member);
        let Some((published, owner)) = owner.and_then(|it| Some((it.tracks.get(track)?, it)))
        else {
            return;
        };
        let key = (member.clone(), track.clone());
        let subscriptions = self.members.imports.entry(key).or_default();
        *subscriptions += 1;
        if *subscriptions == 1 {
            let mut published = published.to_node(&owner.sid);
            published.muted |= !owner.permission.publish;
            let import = ImportedTrack {
                room: self.sid.clone(),
                from: owner.member.clone(),
                track: published,
            };
            turn.node(member, NodeCommand::Import(import));
        }
    }

    /// A subscription at `member` has been ended.
    pub(super) fn detach(&mut self, member: &Member, track: &TrackSid, turn: &mut Turn<'_>) {
        if let Some(load) = self.members.loads.get_mut(member) {
            load.subscriptions = load.subscriptions.saturating_sub(1);
        }
        let key = (member.clone(), track.clone());
        let Some(subscriptions) = self.members.imports.get_mut(&key) else {
            return;
        };
        *subscriptions -= 1;
        if *subscriptions == 0 {
            self.members.imports.remove(&key);
            let track = track.clone();
            turn.node(member, NodeCommand::Unpublish { track });
        }
    }

    /// A track has ended: whoever has it from elsewhere drops it, with the subscriptions to it.
    pub(super) fn end_imports(&mut self, track: &TrackSid, turn: &mut Turn<'_>) {
        for member in self.members.importers(track) {
            self.members
                .imports
                .remove(&(member.clone(), track.clone()));
            let track = track.clone();
            turn.node(&member, NodeCommand::Unpublish { track });
        }
        for participant in self.participants.values() {
            if participant.subscriptions.contains(track)
                && let Some(load) = self.members.loads.get_mut(&participant.member)
            {
                load.subscriptions = load.subscriptions.saturating_sub(1);
            }
        }
    }

    /// Says something about a track to the member that it comes from and to those that have it from there.
    pub(super) fn command_track(
        &self,
        owner: &ParticipantSid,
        track: &TrackSid,
        command: &NodeCommand,
        turn: &mut Turn<'_>,
    ) {
        turn.node(self.member_of(owner), command.clone());
        for member in self.members.importers(track) {
            turn.node(&member, command.clone());
        }
    }

    /// Tells the members of each other, if there are others than before.
    pub(super) fn tell_members(&mut self, turn: &mut Turn<'_>) {
        let now: BTreeSet<Member> = self.members.all().cloned().collect();
        let now = if now.len() > 1 { now } else { BTreeSet::new() };
        if now == self.members.told {
            return;
        }
        // The last one left has no others any more.
        let left = self
            .members
            .all()
            .filter(|one| now.is_empty() && self.members.told.contains(one));
        for member in now.iter().chain(left) {
            let others = now.iter().filter(|other| *other != member);
            let command = set_members(&self.sid, others);
            turn.node(member, command);
        }
        self.members.told = now;
    }

    /// A node is gone: nobody who is left has anything there.
    pub(super) fn forget_member_node(&mut self, node: &NodeId) {
        let members = &mut self.members;
        members.loads.retain(|member, _| member.node != *node);
        members
            .imports
            .retain(|(member, _), _| member.node != *node);
        members.told.retain(|member| member.node != *node);
        if self.home.node == *node
            && let Some(other) = members.loads.keys().next()
        {
            self.home = other.clone();
        }
    }

    /// The room ends at all its members.
    pub(super) fn end_all_imports(&mut self, turn: &mut Turn<'_>) {
        for (member, track) in std::mem::take(&mut self.members.imports).into_keys() {
            turn.node(&member, NodeCommand::Unpublish { track });
        }
    }
}

fn set_members<'a>(room: &RoomSid, others: impl Iterator<Item = &'a Member>) -> NodeCommand {
    NodeCommand::SetMembers {
        room: room.clone(),
        members: others.cloned().collect(),
    }
}
