use super::*;
use crate::directory::{Drain, Holder, Incarnation, Renewal, Roster};
use crate::{RoomCase, Shard, ShardState};

const D1: DirectoryIncarnation = DirectoryIncarnation(101);
const D2: DirectoryIncarnation = DirectoryIncarnation(102);

struct Script {
    directory: MemoryDirectory,
    start: Instant,
    now: Instant,
    seq: u64,
}

fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

fn holder(shard: &str, life: u64) -> Holder {
    Holder {
        shard: shard.into(),
        incarnation: Incarnation(life),
        directory: Some(D1),
    }
}

fn granted(epoch: u64) -> Reply {
    Reply::Granted {
        epoch: Epoch(epoch),
        options: None,
    }
}

fn mine(epoch: u64) -> Reply {
    Reply::Mine {
        epoch: Epoch(epoch),
        from: None,
        options: None,
    }
}

fn owned_by(shard: &str, epoch: u64) -> Reply {
    Reply::Owned {
        shard: shard.into(),
        epoch: Epoch(epoch),
    }
}

impl Script {
    fn new(grace: bool) -> Self {
        Self::with_limits(grace, DirectoryLimits::default())
    }

    fn with_limits(grace: bool, limits: DirectoryLimits) -> Self {
        let now = Instant::now();
        let directory = MemoryDirectory::new(D1, Epoch(0), grace, limits, now);
        let mut script = Self {
            directory,
            start: now,
            now,
            seq: 0,
        };
        script.topology(["a", "b", "c"].map(|id| (id, ShardState::Active)));
        script
    }

    fn topology<const N: usize>(&mut self, shards: [(&str, ShardState); N]) {
        let topology = shards.map(|(id, state)| Shard {
            id: id.into(),
            url: format!("http://{id}:1"),
            weight: 1,
            state,
        });
        self.send(Request::Announce {
            gateway: "g".to_owned(),
            topology: topology.to_vec(),
        });
    }

    /// Time passes under the eyes of the witness.
    fn at(&mut self, ms: u64) -> &mut Self {
        let then = self.start + Duration::from_millis(ms);
        while self.now < then {
            self.now = then.min(self.now + Duration::from_millis(250));
            self.directory.expire(self.now);
        }
        self
    }

    fn send(&mut self, request: Request) -> Reply {
        self.directory.handle_request(request, self.now)
    }

    fn renew(&mut self, holder: Holder) -> Reply {
        self.renew_saying(holder, Renewal::default())
    }

    fn renew_saying(&mut self, holder: Holder, mut renewal: Renewal) -> Reply {
        self.seq += 1;
        renewal.seq = self.seq;
        self.send(Request::Renew { holder, renewal })
    }

    fn leased(&mut self, holder: &Holder) -> &mut Self {
        let reply = self.renew(holder.clone());
        assert!(matches!(reply, Reply::Leased { .. }), "{reply:?}");
        self
    }

    fn claim(&mut self, holder: &Holder, name: &str) -> Reply {
        self.send(Request::Claim {
            holder: holder.clone(),
            room: room(name),
            knows: 0,
        })
    }

    fn reassert(&mut self, holder: &Holder, name: &str, epoch: u64) -> Reply {
        let (holder, room, epoch) = (holder.clone(), room(name), Epoch(epoch));
        self.send(Request::Reassert {
            holder,
            room,
            epoch,
        })
    }

    fn release(&mut self, holder: &Holder, name: &str, epoch: u64) -> Reply {
        let (holder, room, epoch) = (holder.clone(), room(name), Epoch(epoch));
        self.send(Request::Release {
            holder,
            room,
            epoch,
        })
    }

    fn owner(&self, name: &str) -> Option<(&str, u64)> {
        let binding = self.directory.owner(&room(name))?;
        Some((binding.shard.as_str(), binding.epoch.0))
    }
}

#[test]
fn a_claim_needs_a_lease_and_the_second_claimer_learns_the_owner() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    assert_eq!(script.claim(&a, "standup"), Reply::NoLease);
    script.leased(&a).leased(&b);
    assert_eq!(script.claim(&a, "standup"), granted(1));
    assert_eq!(script.claim(&a, "standup"), mine(1));
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 1));
    assert_eq!(script.claim(&b, "retro"), granted(2));
    assert_eq!(script.owner("standup"), Some(("a", 1)));
}

#[test]
fn a_lease_says_its_length_the_topology_and_the_grace() {
    let mut script = Script::new(true);
    script.at(1_000);
    let reply = script.renew(Holder {
        directory: None,
        ..holder("a", 1)
    });
    let leased = Reply::Leased {
        directory: D1,
        ttl_ms: 3_000,
        hold_ms: 0,
        shards: 3,
        generation: 1,
        epoch: Epoch(0),
        grace: true,
        drain: None,
        roster: Some(Roster {
            version: 2,
            lives: vec![],
        }),
    };
    assert_eq!(reply, leased);
    let left = script.directory.lease_remaining(&"a".into(), script.now);
    assert_eq!(left, Some(Duration::from_secs(3)));
    assert_eq!(
        script.directory.lease_remaining(&"b".into(), script.now),
        None
    );
}

#[test]
fn a_room_is_free_when_the_lease_of_its_owner_ends_and_not_before() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a);
    assert_eq!(script.claim(&a, "standup"), granted(1));
    script.at(2_999).leased(&b);
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 1));
    script.at(3_000);
    assert_eq!(script.owner("standup"), None);
    assert_eq!(script.claim(&b, "standup"), granted(2));
    assert_eq!(script.claim(&a, "standup"), Reply::NoLease);
}

#[test]
fn a_life_whose_lease_lapsed_gets_no_other_and_its_successor_does() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a);
    script.claim(&a, "standup");
    script.at(2_999).leased(&b);
    script.at(3_000);
    assert_eq!(script.renew(a.clone()), Reply::NoLease);
    assert_eq!(script.owner("standup"), None);
    assert_eq!(script.claim(&b, "standup"), granted(2));
    assert_eq!(script.renew(a.clone()), Reply::NoLease);
    script.leased(&holder("a", 3));
    // Not even after its successor is gone.
    script.at(20_000);
    assert_eq!(script.renew(a), Reply::NoLease);
    assert_eq!(script.renew(holder("a", 3)), Reply::NoLease);
}

#[test]
fn a_late_renewal_of_a_resigned_life_takes_no_lease() {
    let mut script = Script::new(false);
    let a = holder("a", 1);
    script.leased(&a);
    script.send(Request::Resign { holder: a.clone() });
    assert_eq!(script.renew(a.clone()), Reply::NoLease);
    let first = Holder {
        directory: None,
        ..a
    };
    assert_eq!(script.renew(first), Reply::NoLease);
    script.leased(&holder("a", 2));
}

#[test]
fn a_new_life_of_a_shard_waits_for_the_lease_of_the_old_one() {
    let mut script = Script::new(false);
    let (old, new) = (holder("a", 1), holder("a", 2));
    script.leased(&old);
    script.claim(&old, "standup");
    script.at(2_000);
    assert!(matches!(script.renew(new.clone()), Reply::Refused { .. }));
    assert_eq!(script.claim(&new, "standup"), Reply::NoLease);
    script.at(3_000).leased(&new);
    assert_eq!(script.claim(&new, "standup"), granted(2));
}

#[test]
fn a_release_frees_only_the_claim_it_names() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a).leased(&b);
    script.claim(&a, "standup");
    assert_eq!(script.release(&b, "standup", 1), Reply::Released);
    assert_eq!(script.release(&a, "standup", 9), Reply::Released);
    assert_eq!(script.owner("standup"), Some(("a", 1)));
    assert_eq!(script.release(&a, "standup", 1), Reply::Released);
    assert_eq!(script.owner("standup"), None);
    assert_eq!(script.claim(&b, "standup"), granted(2));
}

#[test]
fn a_resigned_shard_leaves_nothing_behind() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a).leased(&b);
    script.claim(&a, "standup");
    let stranger = holder("a", 99);
    assert_eq!(
        script.send(Request::Resign { holder: stranger }),
        Reply::Released
    );
    assert_eq!(script.owner("standup"), Some(("a", 1)));
    assert_eq!(
        script.send(Request::Resign { holder: a.clone() }),
        Reply::Released
    );
    assert_eq!(
        script.directory.lease_remaining(&"a".into(), script.now),
        None
    );
    assert_eq!(script.claim(&b, "standup"), granted(2));
    script.leased(&holder("a", 3));
}

#[test]
fn in_grace_only_rooms_that_are_held_now_come_back() {
    let mut script = Script::new(true);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a).leased(&b);
    assert_eq!(script.claim(&b, "standup"), Reply::Grace);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Reasserted);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Reasserted);
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 40));
    assert_eq!(script.reassert(&b, "standup", 40), owned_by("a", 40));
    assert_eq!(script.reassert(&b, "standup", 41), owned_by("a", 40));
    script.at(1_000).leased(&a).leased(&b);
    assert_eq!(script.claim(&a, "standup"), Reply::Grace);
    script.at(2_999);
    assert_eq!(script.claim(&b, "retro"), Reply::Grace);
    script.at(3_000);
    assert_eq!(script.claim(&a, "standup"), mine(40));
    assert_eq!(script.claim(&b, "retro"), granted(41));
}

#[test]
fn a_re_assertion_after_grace_or_after_its_release_changes_nothing() {
    let mut script = Script::new(true);
    let a = holder("a", 1);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::NoLease);
    script.leased(&a);
    assert_eq!(script.release(&a, "standup", 40), Reply::Released);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Released);
    assert_eq!(script.owner("standup"), None);
    script.at(2_500).leased(&a);
    script.at(3_000);
    assert_eq!(script.reassert(&a, "retro", 41), Reply::Released);
    assert_eq!(script.owner("retro"), None);
}

#[test]
fn a_request_under_an_earlier_directory_life_writes_nothing() {
    let mut script = Script::new(true);
    let a = holder("a", 1);
    script.leased(&a);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Reasserted);
    for directory in [Some(D2), None] {
        let stale = Holder {
            directory,
            ..a.clone()
        };
        let answer = Reply::StaleDirectory { current: D1 };
        assert_eq!(script.claim(&stale, "standup"), answer);
        assert_eq!(script.reassert(&stale, "retro", 9), answer);
        assert_eq!(script.release(&stale, "standup", 40), answer);
        assert_eq!(
            script.send(Request::Resign {
                holder: stale.clone()
            }),
            answer
        );
    }
    let stale = Holder {
        directory: Some(D2),
        ..holder("b", 2)
    };
    assert_eq!(script.renew(stale), Reply::StaleDirectory { current: D1 });
    assert_eq!(
        script.directory.lease_remaining(&"b".into(), script.now),
        None
    );
    assert_eq!(script.owner("standup"), Some(("a", 40)));
    assert_eq!(script.owner("retro"), None);
}

#[test]
fn a_draining_or_unknown_shard_keeps_its_rooms_and_gets_no_new_ones() {
    let mut script = Script::new(false);
    let (a, stranger) = (holder("a", 1), holder("x", 9));
    script.leased(&a).leased(&stranger);
    script.claim(&a, "standup");
    script.topology([("a", ShardState::Draining)]);
    assert_eq!(script.claim(&a, "standup"), mine(1));
    assert_eq!(script.claim(&a, "retro"), Reply::Draining);
    assert_eq!(script.claim(&stranger, "retro"), Reply::Draining);
    assert_eq!(script.claim(&stranger, "standup"), owned_by("a", 1));
    script.at(2_000).leased(&a);
    script.topology([("a", ShardState::Active)]);
    assert_eq!(script.claim(&a, "retro"), granted(2));
}

#[test]
fn limits_refuse_with_a_reason_and_keep_what_is_there() {
    let mut script = Script::with_limits(
        false,
        DirectoryLimits {
            bindings_max: 1,
            shards_max: 1,
        },
    );
    let a = holder("a", 1);
    script.leased(&a);
    assert_eq!(script.claim(&a, "standup"), granted(1));
    assert!(matches!(script.claim(&a, "retro"), Reply::Refused { .. }));
    assert!(matches!(
        script.renew(holder("b", 2)),
        Reply::Refused { .. }
    ));
    script.leased(&a);
    assert_eq!(script.claim(&a, "standup"), mine(1));
    assert_eq!(script.release(&a, "standup", 1), Reply::Released);
    assert_eq!(script.claim(&a, "retro"), granted(2));
}

#[test]
fn a_witness_that_slept_gives_everybody_a_whole_lease_to_come_back() {
    let mut script = Script::new(false);
    let a = holder("a", 1);
    script.leased(&a);
    script.claim(&a, "standup");
    script.now += Duration::from_secs(20);
    script.directory.expire(script.now);
    assert_eq!(script.owner("standup"), Some(("a", 1)));
    script.leased(&a);
}

#[test]
fn a_life_that_says_it_is_the_successor_of_its_own_process_need_not_wait() {
    let mut script = Script::new(false);
    let (old, new, b) = (holder("a", 1), holder("a", 2), holder("b", 3));
    script.leased(&old).leased(&b);
    script.claim(&old, "standup");
    let renewal = Renewal {
        replaces: Some(Incarnation(1)),
        ..Renewal::default()
    };
    let reply = script.renew_saying(new, renewal);
    assert!(matches!(reply, Reply::Leased { .. }), "{reply:?}");
    assert_eq!(script.owner("standup"), None);
    assert_eq!(script.claim(&b, "standup"), granted(2));
    assert_eq!(script.renew(old), Reply::NoLease);
}

#[test]
fn a_room_goes_to_another_shard_in_one_step_with_what_was_left_for_it() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a).leased(&b);
    script.claim(&a, "standup");
    let put = |epoch| Request::PutOptions {
        holder: a.clone(),
        room: room("standup"),
        epoch: Epoch(epoch),
        options: "{}".to_owned(),
    };
    assert_eq!(script.send(put(9)), Reply::Released);
    assert_eq!(script.send(put(1)), Reply::Done);
    let transfer = |epoch, life| Request::Transfer {
        holder: a.clone(),
        room: room("standup"),
        epoch: Epoch(epoch),
        to: "b".into(),
        to_incarnation: Incarnation(life),
    };
    assert_eq!(script.send(transfer(9, 2)), Reply::Released);
    assert_eq!(script.send(transfer(1, 9)), Reply::Draining);
    assert_eq!(script.owner("standup"), Some(("a", 1)));
    let moved = Reply::Transferred { epoch: Epoch(2) };
    assert_eq!(script.send(transfer(1, 2)), moved);
    assert_eq!(script.send(transfer(1, 2)), moved, "asked again");
    assert_eq!(script.owner("standup"), Some(("b", 2)));
    assert_eq!(script.release(&a, "standup", 1), Reply::Released);
    assert_eq!(script.claim(&a, "standup"), owned_by("b", 2));
    let mine = Reply::Mine {
        epoch: Epoch(2),
        from: Some(Epoch(1)),
        options: Some("{}".to_owned()),
    };
    assert_eq!(script.claim(&b, "standup"), mine);
    // They stay with the room when its shard dies, and go when the room ends.
    script.at(1_000).leased(&a);
    script.at(3_500).leased(&a);
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Granted {
            epoch: Epoch(3),
            options: Some("{}".to_owned())
        }
    );
    script.release(&a, "standup", 3);
    assert_eq!(script.claim(&a, "standup"), granted(4));
}

#[test]
fn a_drained_shard_hears_of_it_and_gets_no_rooms_until_it_is_taken_back() {
    let mut script = Script::new(false);
    let a = holder("a", 1);
    script.leased(&a);
    let set = |drain: Option<Drain>| Request::SetDrain {
        shard: "a".into(),
        drain,
    };
    let by = Some(Drain {
        deadline_unix_ms: Some(5),
    });
    assert_eq!(script.send(set(by.clone())), Reply::Done);
    let Reply::Leased { drain, .. } = script.renew(a.clone()) else {
        panic!("no lease");
    };
    assert_eq!(drain, by);
    assert_eq!(script.claim(&a, "standup"), Reply::Draining);
    assert_eq!(script.send(set(None)), Reply::Done);
    assert_eq!(script.claim(&a, "standup"), granted(1));
    let unknown = Request::SetDrain {
        shard: "x".into(),
        drain: None,
    };
    assert!(matches!(script.send(unknown), Reply::Refused { .. }));
}
