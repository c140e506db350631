//! The other members that this engine has to do with, by short keys.

use proto::id::Member;
use std::collections::HashMap;

/// Most members known. More than a shard has workers; those of further ones are ignored.
const MAX_PEERS: usize = 4_096;

/// Another member, for as long as the engine lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u16);

impl PeerId {
    /// Its place among those known, from 0 on without gaps.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// Who is known. Nobody is forgotten: a node that comes back has the same name.
#[derive(Debug, Default)]
pub(super) struct Peers {
    members: Vec<Member>,
    places: HashMap<Member, PeerId>,
}

impl Peers {
    /// The key of a member, new or known; `None` if there are too many.
    pub(super) fn know(&mut self, member: &Member) -> Option<PeerId> {
        if let Some(known) = self.places.get(member) {
            return Some(*known);
        }
        if self.members.len() >= MAX_PEERS {
            return None;
        }
        let place = PeerId(u16::try_from(self.members.len()).ok()?);
        self.members.push(member.clone());
        self.places.insert(member.clone(), place);
        Some(place)
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Member> {
        self.members.get(peer.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::id::NodeId;

    #[test]
    fn a_member_keeps_its_key_and_there_is_an_end_to_them() {
        let mut peers = Peers::default();
        let member = |worker| Member::new(NodeId::new("n1"), worker);
        let first = peers.know(&member(7)).unwrap();
        assert_ne!(peers.know(&member(8)), Some(first));
        assert_eq!(peers.know(&member(7)), Some(first));
        assert_eq!(peers.get(first), Some(&member(7)));
        for worker in 0..5_000 {
            peers.know(&member(worker));
        }
        assert_eq!(peers.members.len(), MAX_PEERS);
        assert_eq!(peers.know(&member(4_999)), None);
    }
}
