use super::*;
use crate::directory::Renewal;
use crate::{RoomCase, ShardState};

const D: DirectoryIncarnation = DirectoryIncarnation(7);
const HOLD_MS: u64 = 60_000;

fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

fn holder(shard: &str) -> Holder {
    Holder {
        shard: shard.into(),
        incarnation: Incarnation(u64::from(shard.as_bytes()[0])),
        directory: Some(D),
    }
}

/// A directory with hold, driven by hand.
struct Script {
    state: DirectoryState,
    seq: u64,
}

impl Script {
    fn new(shards: &[&str]) -> Self {
        let limits = DirectoryLimits::default();
        let state = DirectoryState::new(D, Epoch(0), false, HOLD_MS, limits);
        let mut script = Self { state, seq: 0 };
        script.announce(shards);
        script
    }

    fn announce(&mut self, shards: &[&str]) {
        let shard = |id: &&str| Shard {
            id: (*id).into(),
            url: String::new(),
            weight: 1,
            state: ShardState::Active,
        };
        let (gateway, topology) = (String::new(), shards.iter().map(shard).collect());
        self.state.handle(Request::Announce { gateway, topology });
    }

    /// What the answer allows without a lease, and the version it brings.
    fn renew(&mut self, shard: &str, knows: u64) -> (u64, Option<u64>) {
        self.seq += 1;
        let renewal = Renewal {
            seq: self.seq,
            knows,
            ..Renewal::default()
        };
        let holder = holder(shard);
        match self.state.handle(Request::Renew { holder, renewal }) {
            Reply::Leased {
                hold_ms, roster, ..
            } => (hold_ms, roster.map(|roster| roster.version)),
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, shard: &str) -> Reply {
        self.claim_knowing(shard, u64::MAX)
    }

    /// A claim that was sent when its sender knew this version of the roster.
    fn claim_knowing(&mut self, shard: &str, knows: u64) -> Reply {
        let (holder, room) = (holder(shard), room("standup"));
        self.state.handle(Request::Claim {
            holder,
            room,
            knows,
        })
    }

    /// The shard's lease ends.
    fn lapse(&mut self, shard: &str) {
        let view = self.state.view();
        let lease = view.leases.iter().find(|lease| lease.shard == shard.into());
        let LeaseView {
            shard,
            incarnation,
            seq,
            ..
        } = lease.unwrap().clone();
        self.state.handle(Request::Lapse {
            directory: D,
            shard,
            incarnation,
            seq,
        });
    }
}

fn held(shard: &str) -> Reply {
    let shard = shard.into();
    Reply::Held { shard }
}

#[test]
fn only_who_was_known_takes_over_from_a_life_that_may_go_on() {
    let mut script = Script::new(&["a", "b", "c"]);
    script.renew("b", 0);
    let (_, version) = script.renew("a", 0);
    script.renew("a", version.unwrap());
    script.claim("a");
    script.lapse("a");
    script.renew("c", 0);
    let owned = Reply::Owned {
        shard: "b".into(),
        epoch: Epoch(1),
    };
    assert_eq!(script.claim("c"), owned, "c came later; b may");
    script.lapse("b");
    assert_eq!(script.claim("c"), held("a"), "nobody is left who may");
}

#[test]
fn a_shard_that_is_removed_while_it_serves_is_told_not_to_go_on_and_is_waited_for_until_then() {
    let mut script = Script::new(&["a", "b"]);
    assert_eq!(script.renew("a", 0).0, HOLD_MS);
    script.claim("a");
    script.announce(&["b"]);
    script.renew("b", 0);
    // It has not heard of it.
    script.lapse("a");
    assert_eq!(script.claim("b"), held("a"));
    script.announce(&["b", "c"]);
    assert_eq!(script.claim("b"), held("a"), "removed earlier");

    let mut script = Script::new(&["a", "b"]);
    script.announce(&["b"]);
    assert_eq!(script.renew("a", 0).0, 0);

    // Nor does anybody while the topology is lost.
    let limits = DirectoryLimits::default();
    script.state = DirectoryState::new(D, Epoch(0), true, HOLD_MS, limits);
    assert_eq!(script.renew("a", 0).0, 0);
}

#[test]
fn a_shard_that_is_removed_after_its_lease_has_ended_does_not_exist_any_more() {
    let mut script = Script::new(&["a", "b"]);
    script.renew("a", 0);
    script.claim("a");
    script.lapse("a");
    script.renew("b", 0);
    assert_eq!(script.claim("b"), held("a"));
    script.announce(&["b"]);
    assert!(matches!(script.claim("b"), Reply::Granted { .. }));
}

#[test]
fn a_claim_that_was_sent_before_its_sender_knew_of_the_end_does_not_inherit() {
    let mut script = Script::new(&["a", "b"]);
    script.renew("b", 0);
    let (_, version) = script.renew("a", 0);
    let before = version.unwrap();
    script.renew("a", before);
    script.claim("a");
    script.lapse("a");
    assert_eq!(script.claim_knowing("b", 0), held("a"));
    assert_eq!(script.claim_knowing("b", before), held("a"));
    let (_, version) = script.renew("b", before);
    let after = version.unwrap();
    assert_eq!(after, before + 1);
    assert!(matches!(
        script.claim_knowing("b", after),
        Reply::Granted { .. }
    ));
}

#[test]
fn a_new_life_of_the_same_shard_inherits_whatever_it_knew() {
    let mut script = Script::new(&["a", "b"]);
    script.renew("a", 0);
    script.claim("a");
    script.lapse("a");
    let again = Holder {
        incarnation: Incarnation(1),
        ..holder("a")
    };
    let (renewal, knows) = (Renewal::default(), 0);
    let (holder, room) = (again.clone(), room("standup"));
    script.state.handle(Request::Renew {
        holder: again,
        renewal,
    });
    let claim = Request::Claim {
        holder,
        room,
        knows,
    };
    assert!(matches!(script.state.handle(claim), Reply::Granted { .. }));
}
