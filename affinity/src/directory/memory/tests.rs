use super::*;
use crate::RoomCase;

const D1: DirectoryIncarnation = DirectoryIncarnation(101);
const D2: DirectoryIncarnation = DirectoryIncarnation(102);

struct Script {
    directory: MemoryDirectory,
    start: Instant,
    now: Instant,
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

fn owned_by(shard: &str, epoch: u64) -> Reply {
    Reply::Owned {
        shard: shard.into(),
        epoch: Epoch(epoch),
    }
}

impl Script {
    fn new(grace: bool) -> Self {
        Self::with_limits(grace, MemoryLimits::default())
    }

    fn with_limits(grace: bool, limits: MemoryLimits) -> Self {
        let now = Instant::now();
        let mut directory = MemoryDirectory::new(D1, Epoch(0), grace, limits, now);
        let known = ["a", "b", "c"].map(|id| (ShardId::from(id), ShardState::Active));
        directory.set_topology(7, known);
        Self {
            directory,
            start: now,
            now,
        }
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(ms);
        self
    }

    fn send(&mut self, request: Request) -> Reply {
        self.directory.handle_request(request, self.now)
    }

    fn renew(&mut self, holder: Holder) -> Reply {
        self.send(Request::Renew { holder })
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
        let binding = self.directory.owner(&room(name), self.now)?;
        Some((binding.shard.as_str(), binding.epoch.0))
    }
}

#[test]
fn a_claim_needs_a_lease_and_the_second_claimer_learns_the_owner() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    assert_eq!(script.claim(&a, "standup"), Reply::NoLease);
    script.leased(&a).leased(&b);
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Granted { epoch: Epoch(1) }
    );
    assert_eq!(script.claim(&a, "standup"), Reply::Mine { epoch: Epoch(1) });
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 1));
    assert_eq!(
        script.claim(&b, "retro"),
        Reply::Granted { epoch: Epoch(2) }
    );
    assert_eq!(script.owner("standup"), Some(("a", 1)));
    assert_eq!(script.directory.live_bindings(script.now).count(), 2);
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
        ttl_ms: 6_000,
        generation: 7,
        grace_ms: 5_000,
    };
    assert_eq!(reply, leased);
    let left = script.directory.lease_remaining(&"a".into(), script.now);
    assert_eq!(left, Some(Duration::from_secs(6)));
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
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Granted { epoch: Epoch(1) }
    );
    script.at(5_999).leased(&b);
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 1));
    script.at(6_000);
    assert_eq!(script.owner("standup"), None);
    assert_eq!(
        script.claim(&b, "standup"),
        Reply::Granted { epoch: Epoch(2) }
    );
    assert_eq!(script.claim(&a, "standup"), Reply::NoLease);
}

#[test]
fn a_life_whose_lease_lapsed_gets_no_other_and_its_successor_does() {
    let mut script = Script::new(false);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a);
    script.claim(&a, "standup");
    script.at(5_999).leased(&b);
    script.at(6_000);
    assert_eq!(script.renew(a.clone()), Reply::NoLease);
    assert_eq!(script.owner("standup"), None);
    assert_eq!(
        script.claim(&b, "standup"),
        Reply::Granted { epoch: Epoch(2) }
    );
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
    script.at(4_000);
    assert!(matches!(script.renew(new.clone()), Reply::Refused { .. }));
    assert_eq!(script.claim(&new, "standup"), Reply::NoLease);
    script.at(6_000).leased(&new);
    assert_eq!(
        script.claim(&new, "standup"),
        Reply::Granted { epoch: Epoch(2) }
    );
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
    assert_eq!(
        script.claim(&b, "standup"),
        Reply::Granted { epoch: Epoch(2) }
    );
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
    assert_eq!(
        script.claim(&b, "standup"),
        Reply::Granted { epoch: Epoch(2) }
    );
    script.leased(&holder("a", 3));
}

#[test]
fn in_grace_only_rooms_that_are_held_now_come_back() {
    let mut script = Script::new(true);
    let (a, b) = (holder("a", 1), holder("b", 2));
    script.leased(&a).leased(&b);
    assert_eq!(
        script.claim(&b, "standup"),
        Reply::Grace {
            remaining_ms: 6_000
        }
    );
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Reasserted);
    assert_eq!(script.reassert(&a, "standup", 40), Reply::Reasserted);
    assert_eq!(script.claim(&b, "standup"), owned_by("a", 40));
    assert_eq!(script.reassert(&b, "standup", 40), owned_by("a", 40));
    assert_eq!(script.reassert(&b, "standup", 41), owned_by("a", 40));
    script.at(2_000).leased(&a).leased(&b);
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Grace {
            remaining_ms: 4_000
        }
    );
    script.at(5_999);
    assert_eq!(script.claim(&b, "retro"), Reply::Grace { remaining_ms: 1 });
    script.at(6_000);
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Mine { epoch: Epoch(40) }
    );
    assert_eq!(
        script.claim(&b, "retro"),
        Reply::Granted { epoch: Epoch(41) }
    );
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
    script.at(5_000).leased(&a);
    script.at(6_000);
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
    script
        .directory
        .set_topology(8, [("a".into(), ShardState::Draining)]);
    assert_eq!(script.claim(&a, "standup"), Reply::Mine { epoch: Epoch(1) });
    assert_eq!(script.claim(&a, "retro"), Reply::Draining);
    assert_eq!(script.claim(&stranger, "retro"), Reply::Draining);
    assert_eq!(script.claim(&stranger, "standup"), owned_by("a", 1));
    script.at(2_000).leased(&a);
    script
        .directory
        .set_topology(9, [("a".into(), ShardState::Active)]);
    assert_eq!(
        script.claim(&a, "retro"),
        Reply::Granted { epoch: Epoch(2) }
    );
}

#[test]
fn limits_refuse_with_a_reason_and_keep_what_is_there() {
    let mut script = Script::with_limits(
        false,
        MemoryLimits {
            bindings_max: 1,
            shards_max: 1,
        },
    );
    let a = holder("a", 1);
    script.leased(&a);
    assert_eq!(
        script.claim(&a, "standup"),
        Reply::Granted { epoch: Epoch(1) }
    );
    assert!(matches!(script.claim(&a, "retro"), Reply::Refused { .. }));
    assert!(matches!(
        script.renew(holder("b", 2)),
        Reply::Refused { .. }
    ));
    script.leased(&a);
    assert_eq!(script.claim(&a, "standup"), Reply::Mine { epoch: Epoch(1) });
    assert_eq!(script.release(&a, "standup", 1), Reply::Released);
    assert_eq!(
        script.claim(&a, "retro"),
        Reply::Granted { epoch: Epoch(2) }
    );
}

#[test]
fn a_second_gateway_is_told_what_to_configure() {
    let mut script = Script::new(false);
    let Reply::Refused { reason } = script.send(Request::Attach {
        gateway: "g2".to_owned(),
    }) else {
        panic!("attached");
    };
    assert!(
        reason.contains("g2") && reason.contains("shared directory"),
        "{reason}"
    );
}
