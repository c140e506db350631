use super::*;
use crate::RoomCase;
use crate::directory::{DirectoryUnreachable, Holder, Life, Renewal, Reply, Request, Roster};

const D1: DirectoryIncarnation = DirectoryIncarnation(101);
const D2: DirectoryIncarnation = DirectoryIncarnation(102);
const FIRST: Incarnation = Incarnation(1);

fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

fn granted(name: &str, epoch: u64) -> Event {
    Event::Granted {
        room: room(name),
        epoch: Epoch(epoch),
        from: None,
        options: None,
    }
}

fn refused(name: &str, why: RefusedWhy) -> Event {
    Event::Refused {
        room: room(name),
        why,
    }
}

fn lost(name: &str, epoch: u64, why: LostWhy) -> Event {
    Event::Lost {
        room: room(name),
        epoch: Epoch(epoch),
        why,
    }
}

fn not_leased(why: NoLeaseWhy) -> Event {
    Event::NotLeased { why }
}

fn leased(directory: DirectoryIncarnation) -> Reply {
    Reply::Leased {
        directory,
        // A deadline of 4500.
        ttl_ms: 5_250,
        hold_ms: 0,
        shards: 1,
        generation: 1,
        epoch: Epoch(0),
        grace: false,
        drain: None,
        roster: None,
    }
}

fn mine(epoch: u64) -> Reply {
    Reply::Mine {
        epoch: Epoch(epoch),
        from: None,
        options: None,
    }
}

fn stale(current: DirectoryIncarnation) -> Reply {
    Reply::StaleDirectory { current }
}

fn grant(epoch: u64) -> Reply {
    Reply::Granted {
        epoch: Epoch(epoch),
        options: None,
    }
}

/// Drives one machine by hand; milliseconds since start.
struct Script {
    machine: Ownership,
    start: Instant,
    now: Instant,
    lives: u64,
}

impl Script {
    fn new() -> Self {
        let start = Instant::now();
        let machine = Ownership::new("a".into(), FIRST, start);
        Self {
            machine,
            start,
            now: start,
            lives: FIRST.0,
        }
    }

    /// With a lease of D1 sent and granted at 0: deadline 4500.
    fn leased() -> Self {
        let mut script = Self::new();
        let id = script.renewal();
        script.reply(id, leased(D1));
        script.events(&[Event::Leased { directory: D1 }]);
        script
    }

    /// As [`Self::leased`], owning `standup` under epoch 7.
    fn owning() -> Self {
        let mut script = Self::leased();
        let id = script.claim("standup");
        script.reply(id, grant(7));
        script.events(&[granted("standup", 7)]);
        script
    }

    fn fresh(&mut self) -> Incarnation {
        self.lives += 1;
        Incarnation(self.lives)
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(ms);
        self
    }

    fn timeout(&mut self) -> &mut Self {
        let fresh = self.fresh();
        self.machine.handle_timeout(fresh, self.now);
        self
    }

    fn answer(&mut self, id: RequestId, outcome: Result<Reply, DirectoryUnreachable>) {
        let fresh = self.fresh();
        self.machine.handle_reply(id, outcome, fresh, self.now);
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        self.answer(id, Ok(reply));
    }

    fn fail(&mut self, id: RequestId) {
        self.answer(id, Err(DirectoryUnreachable("timeout".to_owned())));
    }

    fn request(&mut self) -> (RequestId, Request) {
        self.machine.poll_request(self.now).expect("a request")
    }

    fn silent(&mut self) -> &mut Self {
        assert_eq!(self.machine.poll_request(self.now), None);
        self
    }

    fn renewal(&mut self) -> RequestId {
        let (id, request) = self.request();
        assert!(matches!(request, Request::Renew { .. }), "{request:?}");
        id
    }

    fn claim(&mut self, name: &str) -> RequestId {
        self.machine.acquire(room(name), self.now);
        self.claim_request(name)
    }

    fn claim_request(&mut self, name: &str) -> RequestId {
        let (id, request) = self.request();
        let holder = self.machine.holder();
        assert_eq!(
            request,
            Request::Claim {
                holder,
                room: room(name),
                knows: self.machine.hold.knows,
            }
        );
        id
    }

    fn release_request(&mut self, name: &str, epoch: u64) -> RequestId {
        let (id, request) = self.request();
        let (holder, epoch) = (self.machine.holder(), Epoch(epoch));
        assert_eq!(
            request,
            Request::Release {
                holder,
                room: room(name),
                epoch
            }
        );
        id
    }

    fn reassert_request(&mut self, name: &str, epoch: u64) -> RequestId {
        let (id, request) = self.request();
        let (holder, epoch) = (self.machine.holder(), Epoch(epoch));
        assert_eq!(
            request,
            Request::Reassert {
                holder,
                room: room(name),
                epoch
            }
        );
        id
    }

    fn events<const N: usize>(&mut self, expected: &[Event; N]) -> &mut Self {
        let got: Vec<Event> = std::iter::from_fn(|| self.machine.poll_event()).collect();
        assert_eq!(got.as_slice(), expected);
        self
    }

    fn owned(&self, name: &str) -> Option<u64> {
        self.machine
            .owned(&room(name), self.now)
            .map(|epoch| epoch.0)
    }

    fn deadline_ms(&self) -> Option<u128> {
        self.machine
            .deadline()
            .map(|at| at.duration_since(self.start).as_millis())
    }
}

#[test]
fn the_deadline_counts_from_the_send_time_less_the_margin() {
    let mut script = Script::new();
    let id = script.at(100).renewal();
    script.at(1_100).reply(id, leased(D1));
    assert_eq!(script.deadline_ms(), Some(4_600));
    script.events(&[Event::Leased { directory: D1 }]);
    let id = script.at(2_100).renewal();
    script.at(2_200).reply(id, leased(D1));
    assert_eq!(script.deadline_ms(), Some(6_600));
    assert_eq!(script.machine.directory(), Some(D1));
    script.events(&[]).silent();
}

#[test]
fn a_lease_that_arrives_after_its_own_deadline_is_none() {
    let mut script = Script::new();
    let id = script.renewal();
    script.at(4_500).reply(id, leased(D1));
    assert_eq!(script.deadline_ms(), None);
    script.events(&[]);
}

#[test]
fn a_room_is_ours_from_the_grant_to_the_deadline_and_no_instant_longer() {
    let mut script = Script::owning();
    assert_eq!(script.owned("standup"), Some(7));
    assert_eq!(script.at(4_499).owned("standup"), Some(7));
    assert_eq!(script.at(4_500).owned("standup"), None);
    script.silent().events(&[]);
    script
        .timeout()
        .events(&[lost("standup", 7, LostWhy::LeaseEnded), Event::Fenced]);
    assert_eq!(script.deadline_ms(), None);
    let life = script.machine.incarnation();
    assert_ne!(life, FIRST);
    // The rooms need a moment to be stopped before the directory may give them away.
    script.at(5_249).silent();
    let (_, request) = script.at(5_250).request();
    let Request::Renew { holder, renewal } = request else {
        panic!("{request:?}")
    };
    assert_eq!((holder.incarnation, holder.directory), (life, Some(D1)));
    assert_eq!(renewal.replaces, Some(FIRST));
}

#[test]
fn renewals_go_on_every_second_even_if_one_hangs() {
    let mut script = Script::leased();
    script.at(999).silent();
    let hanging = script.at(1_000).renewal();
    let id = script.at(2_000).renewal();
    script.at(2_100).reply(id, leased(D1));
    assert_eq!(script.deadline_ms(), Some(6_500));
    script.at(2_200).reply(hanging, leased(D1));
    assert_eq!(script.deadline_ms(), Some(6_500));
    let id = script.at(3_000).renewal();
    script.at(3_010).fail(id);
    script.at(3_309).silent();
    script.at(3_310).renewal();
}

#[test]
fn a_grant_after_the_deadline_is_given_back_and_never_acted_on() {
    let mut script = Script::leased();
    let id = script.claim("standup");
    script.at(4_500).reply(id, grant(7));
    script.events(&[refused("standup", RefusedWhy::NoLease), Event::Fenced]);
    assert_eq!(script.owned("standup"), None);
    let (id, request) = script.request();
    let Request::Release { holder, epoch, .. } = request else {
        panic!("{request:?}")
    };
    assert_eq!((holder.incarnation, epoch), (FIRST, Epoch(7)));
    script.reply(id, Reply::Released);
    script.silent().events(&[]);
}

#[test]
fn a_grant_of_a_room_that_nobody_wants_any_more_is_released() {
    let mut script = Script::leased();
    let id = script.claim("standup");
    script.machine.release(&room("standup"), script.now);
    script.reply(id, grant(7));
    script.events(&[]);
    assert_eq!(script.owned("standup"), None);
    let id = script.release_request("standup", 7);
    script.reply(id, Reply::Released);
    script.silent();
}

#[test]
fn every_answer_to_a_claim_says_why_not() {
    let answers = [
        (
            Reply::Owned {
                shard: "b".into(),
                epoch: Epoch(3),
            },
            RefusedWhy::Owned { shard: "b".into() },
        ),
        (Reply::Grace, RefusedWhy::Grace),
        (Reply::Draining, RefusedWhy::Draining),
        (
            Reply::Refused {
                reason: "full".to_owned(),
            },
            RefusedWhy::Limit,
        ),
    ];
    let mut script = Script::leased();
    for (reply, why) in answers {
        let id = script.claim("standup");
        script.reply(id, reply);
        script.events(&[refused("standup", why)]).silent();
    }
    // The shard may only not know yet that the other one's life has ended.
    let id = script.claim("standup");
    script.reply(id, Reply::Held { shard: "b".into() });
    let why = RefusedWhy::Held { shard: "b".into() };
    script.events(&[refused("standup", why)]).renewal();
}

#[test]
fn asking_twice_sends_one_claim_and_asking_for_an_owned_room_answers_at_once() {
    let mut script = Script::leased();
    script.machine.acquire(room("standup"), script.now);
    let id = script.claim("standup");
    script.machine.acquire(room("standup"), script.now);
    script.silent().reply(id, mine(7));
    script.events(&[granted("standup", 7)]);
    script.machine.acquire(room("standup"), script.now);
    script.events(&[granted("standup", 7)]).silent();
}

#[test]
fn an_unknown_outcome_is_told_and_then_settled_so_that_no_binding_is_left() {
    let mut script = Script::leased();
    let id = script.claim("standup");
    script.fail(id);
    script
        .events(&[refused("standup", RefusedWhy::Unknown)])
        .silent();
    script.at(300).timeout();
    let id = script.claim_request("standup");
    script.reply(id, mine(7));
    script.events(&[]);
    let id = script.release_request("standup", 7);
    script.reply(id, Reply::Released);
    script.silent();
}

#[test]
fn a_room_wanted_again_after_an_unknown_outcome_is_claimed_at_once() {
    let mut script = Script::leased();
    let id = script.claim("standup");
    script.fail(id);
    script.events(&[refused("standup", RefusedWhy::Unknown)]);
    let id = script.at(100).claim("standup");
    script.reply(id, mine(7));
    script.events(&[granted("standup", 7)]);
}

#[test]
fn a_released_room_is_claimed_again_only_after_the_release_is_confirmed() {
    let mut script = Script::owning();
    script.machine.release(&room("standup"), script.now);
    assert_eq!(script.owned("standup"), None);
    let id = script.release_request("standup", 7);
    script.machine.acquire(room("standup"), script.now);
    script.silent().fail(id);
    script.silent().at(300).timeout();
    let id = script.release_request("standup", 7);
    script.reply(id, Reply::Released);
    let id = script.claim_request("standup");
    script.reply(id, grant(8));
    script.events(&[granted("standup", 8)]);
    assert_eq!(script.owned("standup"), Some(8));
}

#[test]
fn a_wish_that_is_taken_back_claims_nothing() {
    // Before it was sent,
    let mut script = Script::new();
    let id = script.renewal();
    script.machine.acquire(room("standup"), script.now);
    script.machine.release(&room("standup"), script.now);
    script.reply(id, leased(D1));
    script.events(&[Event::Leased { directory: D1 }]).silent();

    // and when it would have to be sent again.
    let mut script = Script::leased();
    let id = script.claim("standup");
    script.machine.release(&room("standup"), script.now);
    script.reply(id, stale(D2));
    let id = script.renewal();
    script.reply(id, leased(D2));
    script.events(&[Event::Leased { directory: D2 }]).silent();
    assert_eq!(script.owned("standup"), None);
}

#[test]
fn without_a_lease_a_wish_waits_a_little_and_is_then_refused() {
    let mut script = Script::new();
    let id = script.renewal();
    script.machine.acquire(room("standup"), script.now);
    script.machine.acquire(room("retro"), script.now);
    script.silent().at(1_000);
    script.machine.release(&room("retro"), script.now);
    script.machine.acquire(room("retro"), script.now);
    script.at(1_499).timeout().events(&[]);
    script
        .at(1_500)
        .timeout()
        .events(&[refused("standup", RefusedWhy::NoLease)]);
    script.at(2_000).reply(id, leased(D1));
    script.events(&[Event::Leased { directory: D1 }]).renewal();
    let id = script.claim_request("retro");
    script.reply(id, grant(7));
    script.events(&[granted("retro", 7)]).silent();
}

#[test]
fn a_new_directory_life_confirms_every_room_before_the_old_deadline() {
    let mut script = Script::owning();
    let id = script.at(2_000).renewal();
    script.at(2_010).reply(id, stale(D2));
    assert_eq!(script.deadline_ms(), Some(4_500));
    assert_eq!(script.owned("standup"), Some(7));
    let id = script.renewal();
    script.silent().at(2_100).reply(id, leased(D2));
    script.events(&[Event::Leased { directory: D2 }]);
    assert_eq!(script.deadline_ms(), Some(6_510));
    let id = script.reassert_request("standup", 7);
    script.at(2_200).fail(id);
    script.silent().at(2_500).timeout();
    let id = script.reassert_request("standup", 7);
    script.at(2_600).reply(id, Reply::Reasserted);
    script.at(4_010).renewal();
    script.at(6_000).timeout().events(&[]);
    assert_eq!(script.owned("standup"), Some(7));
}

#[test]
fn a_room_that_is_not_confirmed_before_the_old_deadline_is_lost_alone() {
    let mut script = Script::owning();
    let id = script.at(2_000).renewal();
    script.reply(id, stale(D2));
    let id = script.renewal();
    script.reply(id, leased(D2));
    script.events(&[Event::Leased { directory: D2 }]);
    let late = script.reassert_request("standup", 7);
    let id = script.claim("retro");
    script.reply(id, grant(9));
    script.events(&[granted("retro", 9)]);
    let id = script.at(4_000).renewal();
    script.reply(id, leased(D2));
    assert_eq!(script.at(4_500).owned("standup"), None);
    script
        .timeout()
        .events(&[lost("standup", 7, LostWhy::NotReasserted)]);
    script.reply(late, Reply::Reasserted);
    assert_eq!(
        (script.owned("standup"), script.owned("retro")),
        (None, Some(9))
    );
    let id = script.release_request("standup", 7);
    script.reply(id, Reply::Released);
    script.silent().events(&[]);
}

#[test]
fn a_room_that_another_shard_has_after_the_change_is_lost_at_once() {
    let mut script = Script::owning();
    let id = script.at(2_000).renewal();
    script.reply(id, stale(D2));
    let id = script.renewal();
    script.reply(id, leased(D2));
    script.events(&[Event::Leased { directory: D2 }]);
    let id = script.reassert_request("standup", 7);
    script.reply(
        id,
        Reply::Owned {
            shard: "b".into(),
            epoch: Epoch(9),
        },
    );
    script.events(&[lost("standup", 7, LostWhy::TakenOver { shard: "b".into() })]);
    script.silent();
}

#[test]
fn the_old_deadline_ends_everything_if_the_new_directory_gives_no_lease() {
    let mut script = Script::owning();
    let id = script.at(2_000).renewal();
    script.reply(id, stale(D2));
    let id = script.renewal();
    script.fail(id);
    script.at(4_500).timeout();
    script.events(&[
        lost("standup", 7, LostWhy::LeaseEnded),
        Event::Fenced,
        not_leased(NoLeaseWhy::Unreachable {
            reason: "directory unreachable: timeout".to_owned(),
        }),
    ]);
}

#[test]
fn a_grant_of_an_earlier_directory_life_is_void() {
    let mut script = Script::leased();
    let claim = script.claim("standup");
    let id = script.at(2_000).renewal();
    script.reply(id, stale(D2));
    script.reply(claim, grant(7));
    script.events(&[]);
    assert_eq!(script.owned("standup"), None);
    let id = script.renewal();
    script.reply(id, leased(D2));
    script.events(&[Event::Leased { directory: D2 }]);
    let id = script.claim_request("standup");
    script.reply(id, Reply::Grace);
    script.events(&[refused("standup", RefusedWhy::Grace)]);
}

#[test]
fn a_late_stale_answer_does_not_bring_an_earlier_directory_back() {
    let mut script = Script::leased();
    let claim = script.claim("standup");
    let id = script.at(2_000).renewal();
    script.reply(id, stale(D2));
    let id = script.renewal();
    script.reply(id, leased(D2));
    script.reply(claim, stale(DirectoryIncarnation(55)));
    assert_eq!(script.machine.directory(), Some(D2));
    script.events(&[Event::Leased { directory: D2 }]);
    script.claim_request("standup");
}

#[test]
fn a_directory_that_does_not_know_our_lease_ends_everything() {
    let mut script = Script::owning();
    let id = script.claim("retro");
    script.reply(id, Reply::NoLease);
    script.events(&[
        refused("retro", RefusedWhy::NoLease),
        lost("standup", 7, LostWhy::LeaseEnded),
        Event::Fenced,
    ]);
    script.silent().at(750).renewal();
    script.silent();
}

#[test]
fn a_renewal_that_finds_no_lease_ends_everything_under_a_new_life() {
    let mut script = Script::owning();
    let id = script.at(2_000).renewal();
    script.at(2_010).reply(id, Reply::NoLease);
    assert_eq!(script.owned("standup"), None);
    script.events(&[
        lost("standup", 7, LostWhy::LeaseEnded),
        Event::Fenced,
        not_leased(NoLeaseWhy::Ended),
    ]);
    assert_ne!(script.machine.incarnation(), FIRST);
    let id = script.at(2_760).renewal();
    script.reply(id, leased(D1));
    script.events(&[Event::Leased { directory: D1 }]);
    assert_eq!(script.machine.lease(script.now), Ok(()));
}

#[test]
fn a_life_that_the_directory_has_ended_before_it_was_leased_takes_another_name_without_haste() {
    let mut script = Script::new();
    let id = script.renewal();
    script.reply(id, Reply::NoLease);
    script.events(&[not_leased(NoLeaseWhy::Ended)]);
    assert_ne!(script.machine.incarnation(), FIRST);
    script.silent().at(300).renewal();
}

#[test]
fn who_is_refused_a_renewal_does_not_hold_the_lease() {
    let mut script = Script::new();
    let early = script.renewal();
    let id = script.at(2_000).renewal();
    script.reply(id, leased(D1));
    let taken = || Reply::Refused {
        reason: "taken".to_owned(),
    };
    // Asked before the lease was granted: says nothing about it.
    script.reply(early, taken());
    script.events(&[Event::Leased { directory: D1 }]);
    let id = script.at(2_300).renewal();
    script.reply(id, taken());
    let why = NoLeaseWhy::Refused {
        reason: "taken".to_owned(),
    };
    script.events(&[Event::Fenced, not_leased(why.clone())]);
    assert_eq!(script.machine.lease(script.now), Err(why));
}

#[test]
fn the_cause_of_having_no_lease_is_told_once_for_each_change() {
    let mut script = Script::new();
    assert_eq!(script.machine.lease(script.now), Err(NoLeaseWhy::Pending));
    let refused = |reason: &str| NoLeaseWhy::Refused {
        reason: reason.to_owned(),
    };
    let unreachable = NoLeaseWhy::Unreachable {
        reason: "directory unreachable: timeout".to_owned(),
    };
    for (at, outcome, told) in [
        (0, None, Some(unreachable.clone())),
        (300, None, None),
        (600, Some("taken"), Some(refused("taken"))),
        (900, Some("taken"), None),
        (1_200, None, Some(unreachable.clone())),
    ] {
        let id = script.at(at).renewal();
        match outcome {
            None => script.fail(id),
            Some(reason) => script.reply(
                id,
                Reply::Refused {
                    reason: reason.to_owned(),
                },
            ),
        }
        let events: Vec<Event> = std::iter::from_fn(|| script.machine.poll_event()).collect();
        let expected: Vec<Event> = told.map(not_leased).into_iter().collect();
        assert_eq!(events, expected, "at {at} ms");
    }
    assert_eq!(script.machine.lease(script.now), Err(unreachable));
    let id = script.at(1_500).renewal();
    script.reply(id, leased(D1));
    script.events(&[Event::Leased { directory: D1 }]);
    assert_eq!(script.machine.lease(script.now), Ok(()));
}

#[test]
fn a_failed_renewal_is_told_when_the_lease_has_ended_and_not_before() {
    let mut script = Script::leased();
    let id = script.at(2_000).renewal();
    script.fail(id);
    script.events(&[]);
    assert_eq!(script.machine.lease(script.now), Ok(()));
    let why = NoLeaseWhy::Unreachable {
        reason: "directory unreachable: timeout".to_owned(),
    };
    script
        .at(4_500)
        .timeout()
        .events(&[Event::Fenced, not_leased(why)]);
}

#[test]
fn every_epoch_that_was_ever_heard_of_is_remembered_in_renewals() {
    let remembered = |script: &mut Script| {
        let request = script.machine.renewal();
        let Request::Renew { renewal, .. } = request else {
            panic!("{request:?}");
        };
        renewal.epoch.0
    };
    let mut script = Script::owning();
    assert_eq!(remembered(&mut script), 7);
    let id = script.claim("retro");
    let (shard, epoch) = ("b".into(), Epoch(8));
    script.reply(id, Reply::Owned { shard, epoch });
    assert_eq!(remembered(&mut script), 8);
    let id = script.claim("retro");
    script.reply(id, mine(6));
    assert_eq!(remembered(&mut script), 8);
    // Of others, too, and beyond the life that heard of it.
    let id = script.at(1_000).renewal();
    let mut renewed = leased(D1);
    if let Reply::Leased { epoch, .. } = &mut renewed {
        *epoch = Epoch(900);
    }
    script.reply(id, renewed);
    script.at(60_000).timeout();
    assert_eq!(remembered(&mut script), 900);
}

#[test]
fn a_resigned_shard_owns_nothing_and_says_goodbye_until_it_is_heard() {
    let mut script = Script::owning();
    let pending = script.claim("retro");
    script.machine.resign(script.now);
    script.events(&[refused("retro", RefusedWhy::NoLease)]);
    assert_eq!(
        (script.owned("standup"), script.deadline_ms()),
        (None, None)
    );
    let (id, request) = script.request();
    assert_eq!(
        request,
        Request::Resign {
            holder: script.machine.holder()
        }
    );
    script.fail(id);
    script.silent().at(300);
    let (id, _) = script.request();
    script.reply(id, Reply::Released);
    script.reply(pending, grant(8));
    script.machine.acquire(room("standup"), script.now);
    script.at(60_000).timeout().silent();
    script.events(&[refused("standup", RefusedWhy::NoLease)]);
    assert_eq!(script.machine.poll_timeout(), None);
}

#[test]
fn the_timeout_says_what_it_is_for() {
    let mut script = Script::new();
    assert_eq!(
        script.machine.poll_timeout(),
        Some((script.start, "renew the lease"))
    );
    let id = script.renewal();
    script.reply(id, leased(D1));
    let renew_at = script.start + Duration::from_millis(1_000);
    assert_eq!(
        script.machine.poll_timeout(),
        Some((renew_at, "renew the lease"))
    );
    script.at(2_000).renewal();
    script.at(4_000).renewal();
    // Without others to ask, the deadline is next.
    let deadline = script.start + Duration::from_millis(4_500);
    assert_eq!(
        script.machine.poll_timeout(),
        Some((deadline, "lease deadline"))
    );
}

#[test]
fn room_requests_are_paced_and_none_is_forgotten() {
    let mut script = Script::leased();
    for number in 0..IN_FLIGHT_MAX + 10 {
        script
            .machine
            .acquire(room(&format!("room-{number}")), script.now);
    }
    let mut sent: Vec<RequestId> = Vec::new();
    while let Some((id, _)) = script.machine.poll_request(script.now) {
        sent.push(id);
    }
    assert_eq!(sent.len(), IN_FLIGHT_MAX);
    let mut granted = 0;
    while let Some(id) = sent.pop() {
        granted += 1;
        script.reply(id, grant(granted));
        sent.extend(script.machine.poll_request(script.now).map(|(id, _)| id));
    }
    assert_eq!(granted as usize, IN_FLIGHT_MAX + 10);
    assert!(script.machine.in_flight.is_empty());
}

const OTHER: Incarnation = Incarnation(500);

fn roster(version: u64, lives: &[(&str, Incarnation)]) -> Roster {
    let life = |(shard, incarnation): &(&str, Incarnation)| Life {
        shard: (*shard).into(),
        incarnation: *incarnation,
        url: format!("http://{shard}:1"),
        weight: 1,
        accepts: true,
    };
    Roster {
        version,
        lives: lives.iter().map(life).collect(),
    }
}

/// Hold is allowed, and there is one other shard.
fn leased_with_others(version: u64, lives: &[(&str, Incarnation)]) -> Reply {
    Reply::Leased {
        directory: D1,
        ttl_ms: 3_000,
        hold_ms: 60_000,
        shards: 1,
        generation: 1,
        epoch: Epoch(0),
        grace: false,
        drain: None,
        roster: Some(roster(version, lives)),
    }
}

fn promised() -> Result<Kept, DirectoryUnreachable> {
    Ok(Kept::Promised {
        for_ms: PROMISE_MS,
        directory: Some(D1),
    })
}

impl Script {
    /// Owns `standup` (epoch 7) beside shard `b`; deadline 2250, renewed at 0.
    fn beside_another() -> Self {
        let mut script = Self::new();
        let id = script.renewal();
        script.reply(id, leased_with_others(3, &[("b", OTHER)]));
        script.events(&[Event::Leased { directory: D1 }]);
        let (id, request) = script.request();
        let Request::Renew { renewal, .. } = request else {
            panic!("{request:?}");
        };
        assert_eq!(renewal.knows, 3, "said at once");
        script.reply(id, leased_with_others(3, &[("b", OTHER)]));
        let id = script.claim("standup");
        script.reply(id, grant(7));
        script.events(&[granted("standup", 7)]);
        script
    }

    fn question(&mut self) -> Question {
        self.machine.poll_question(self.now).expect("a question")
    }

    fn kept(&mut self, question: &Question, kept: Result<Kept, DirectoryUnreachable>) {
        let fresh = self.fresh();
        self.machine.handle_kept(question.id, kept, fresh, self.now);
    }
}

#[test]
fn with_promises_of_all_others_a_shard_goes_on_without_a_lease() {
    let mut script = Script::beside_another();
    script.at(900);
    assert_eq!(script.machine.poll_question(script.now), None);
    let id = script.at(1_000).renewal();
    script.at(1_010).fail(id);
    let question = script.question();
    assert_eq!((question.shard.as_str(), question.keep.life), ("b", OTHER));
    assert_eq!(
        script.machine.poll_question(script.now),
        None,
        "once a second"
    );
    script.at(1_500).kept(&question, promised());
    // Counted from asking, less the margin.
    assert_eq!(script.deadline_ms(), Some(1_010 + 3_000 - 750));
    assert_eq!(script.at(3_259).owned("standup"), Some(7));
    assert!(script.machine.is_on_hold(script.now));
    script.at(3_260).timeout();
    script.events(&[
        lost("standup", 7, LostWhy::LeaseEnded),
        Event::Fenced,
        not_leased(NoLeaseWhy::Unreachable {
            reason: "directory unreachable: timeout".to_owned(),
        }),
    ]);
}

#[test]
fn a_hold_needs_the_promise_of_everybody_and_ends_when_one_is_silent() {
    let mut script = Script::new();
    let id = script.renewal();
    script.reply(
        id,
        leased_with_others(3, &[("b", OTHER), ("c", Incarnation(600))]),
    );
    let id = script.at(1_000).renewal();
    script.fail(id);
    let (first, second) = (script.question(), script.question());
    script.kept(&first, promised());
    assert_eq!(script.deadline_ms(), Some(2_250));
    script.kept(&second, Ok(Kept::No));
    assert_eq!(script.deadline_ms(), Some(2_250));
}

#[test]
fn the_promise_of_one_that_knows_another_directory_life_is_none() {
    let mut script = Script::beside_another();
    let id = script.at(1_000).renewal();
    script.fail(id);
    let question = script.question();
    let other = Kept::Promised {
        for_ms: PROMISE_MS,
        directory: Some(D2),
    };
    script.kept(&question, Ok(other));
    assert_eq!(script.deadline_ms(), Some(2_250));
}

/// The deadline of a shard that asks these others at 1000; those that the topology does not name are
/// marked with `?`, those that are silent with `-`.
fn goes_on(shards: u32, others: &[&str]) -> Option<u128> {
    let mut reply = leased_with_others(3, &[]);
    let Reply::Leased {
        shards: count,
        roster: Some(roster),
        ..
    } = &mut reply
    else {
        panic!("{reply:?}");
    };
    *count = shards;
    for other in others {
        let url = match other.contains('?') {
            true => String::new(),
            false => "http://other:1".to_owned(),
        };
        roster.lives.push(Life {
            shard: (*other).into(),
            incarnation: OTHER,
            url,
            weight: 1,
            accepts: true,
        });
    }
    let mut script = Script::new();
    for _ in 0..2 {
        let id = script.renewal();
        script.reply(id, reply.clone());
    }
    let id = script.at(1_000).renewal();
    script.fail(id);
    for _ in others {
        let question = script.question();
        if !question.shard.as_str().contains('-') {
            script.kept(&question, promised());
        }
    }
    script.deadline_ms()
}

#[test]
fn more_than_half_of_the_shards_that_the_topology_names_go_on_without_the_directory() {
    let (stops, goes) = (Some(2_250), Some(1_000 + 2_250));
    assert_eq!(goes_on(3, &["b"]), goes, "two of three");
    assert_eq!(goes_on(4, &["b"]), stops, "half");
    assert_eq!(goes_on(5, &["b"]), stops);
    assert_eq!(goes_on(0, &["b"]), stops, "there is no topology");
    assert_eq!(goes_on(3, &["b?"]), stops, "the other one is not named");
    assert_eq!(goes_on(5, &["b", "c", "x?"]), goes);
    // But it could take rooms over, so its word is needed.
    assert_eq!(goes_on(5, &["b", "c", "x?-"]), stops);
    assert_eq!(goes_on(5, &["b", "c", "d-"]), stops);
}

#[test]
fn a_later_life_of_the_same_process_speaks_for_an_earlier_one() {
    let mut script = Script::beside_another();
    script.at(2_250).timeout();
    let keep = Keep {
        life: FIRST,
        renewal: Request::Renew {
            holder: Holder {
                shard: "b".into(),
                incarnation: OTHER,
                directory: Some(D1),
            },
            renewal: Renewal::default(),
        },
    };
    let promise = Kept::Promised {
        for_ms: PROMISE_MS,
        directory: Some(D1),
    };
    let duty = script.machine.handle_keep(keep, script.now);
    assert_eq!(duty, KeepDuty::Answer(promise));
}

#[test]
fn a_renewal_that_another_shard_relays_counts_from_our_sending() {
    let mut script = Script::beside_another();
    let id = script.at(1_000).renewal();
    script.fail(id);
    let question = script.question();
    let Request::Renew { renewal, .. } = &question.keep.renewal else {
        panic!("{question:?}");
    };
    assert_eq!(renewal.seq, 4);
    script.at(1_400);
    script.kept(
        &question,
        Ok(Kept::Relayed(leased_with_others(3, &[("b", OTHER)]))),
    );
    assert_eq!(script.deadline_ms(), Some(1_000 + 2_250));
    assert_eq!(script.machine.poll_question(script.now), None);
}

#[test]
fn no_hold_outlasts_its_limit() {
    let mut script = Script::beside_another();
    for second in 1..=70 {
        script.at(second * 1_000).timeout();
        if let Some((id, Request::Renew { .. })) = script.machine.poll_request(script.now) {
            script.fail(id);
        }
        if let Some(question) = script.machine.poll_question(script.now) {
            script.kept(&question, promised());
        }
        let owned = script.owned("standup").is_some();
        assert_eq!(owned, second < 48, "after {second} s");
    }
}

#[test]
fn who_reaches_the_directory_relays_and_who_does_not_promises_and_keeps_the_promise() {
    let mut script = Script::beside_another();
    let renewal = Request::Renew {
        holder: Holder {
            shard: "b".into(),
            incarnation: OTHER,
            directory: Some(D1),
        },
        renewal: Renewal::default(),
    };
    let keep = |life| Keep {
        life,
        renewal: renewal.clone(),
    };
    let relay = KeepDuty::Relay(renewal.clone());
    assert_eq!(script.machine.handle_keep(keep(FIRST), script.now), relay);
    let unknown = script.machine.handle_keep(keep(OTHER), script.now);
    assert_eq!(unknown, KeepDuty::Answer(Kept::No));
    let promise = Kept::Promised {
        for_ms: 3_000,
        directory: Some(D1),
    };
    assert_eq!(script.machine.relay_failed(script.now), promise);
    // It claims nothing until then.
    script.machine.acquire(room("retro"), script.now);
    for at in [0, 1_000, 2_000] {
        let id = script.at(at).renewal();
        script.reply(id, leased_with_others(3, &[("b", OTHER)]));
    }
    script.at(2_999).timeout().silent();
    script.at(3_000).timeout().renewal();
    script.claim_request("retro");
}

#[test]
fn a_grant_that_comes_while_we_have_promised_not_to_claim_is_given_back() {
    let mut script = Script::beside_another();
    let claim = script.claim("retro");
    script.machine.relay_failed(script.now);
    script.reply(claim, grant(9));
    script.events(&[refused("retro", RefusedWhy::Unknown)]);
    assert_eq!(script.owned("retro"), None);
    script.renewal();
    script.release_request("retro", 9);
}

#[test]
fn a_claim_on_its_way_is_not_sent_again_because_of_a_promise() {
    let mut script = Script::beside_another();
    let claim = script.claim("retro");
    script.machine.relay_failed(script.now);
    script.machine.acquire(room("retro"), script.now);
    script.renewal();
    script.silent().at(900);
    let id = script.at(1_000).renewal();
    script.reply(id, leased_with_others(3, &[("b", OTHER)]));
    let id = script.at(2_000).renewal();
    script.reply(id, leased_with_others(3, &[("b", OTHER)]));
    // Its answer comes after the promise, and is the only one.
    script.at(3_000).timeout().renewal();
    script.silent().reply(claim, grant(9));
    script.events(&[granted("retro", 9)]);
    assert_eq!(script.owned("retro"), Some(9));
}

#[test]
fn a_shard_that_is_told_not_to_go_on_without_a_lease_does_not() {
    let mut script = Script::new();
    let id = script.renewal();
    script.reply(id, leased_with_others(3, &[]));
    assert_eq!(
        script.deadline_ms(),
        Some(48_000),
        "alone: as long as may be"
    );
    let id = script.renewal();
    script.reply(id, leased(D1));
    assert_eq!(script.deadline_ms(), Some(4_500));
}

/// Grace waits for one lease after it has taken one: by then it has stopped what was not confirmed.
#[test]
fn a_shard_that_is_alone_and_meets_a_new_directory_life_has_a_lease_s_time_to_be_confirmed() {
    let mut script = Script::new();
    let id = script.renewal();
    script.reply(id, leased_with_others(3, &[]));
    script.events(&[Event::Leased { directory: D1 }]);
    let id = script.renewal();
    script.reply(id, leased_with_others(3, &[]));
    let id = script.claim("standup");
    script.reply(id, grant(7));
    script.events(&[granted("standup", 7)]);
    let id = script.at(10_000).renewal();
    assert_eq!(
        script.at(10_500).owned("standup"),
        Some(7),
        "on hold, alone"
    );
    script.reply(id, stale(D2));
    let unanswered = script.renewal();
    assert_eq!(script.deadline_ms(), Some(10_500 + 3_000 - 750));
    assert_eq!(script.at(12_749).owned("standup"), Some(7));
    assert_eq!(script.at(12_750).owned("standup"), None);
    script.timeout();
    script.events(&[lost("standup", 7, LostWhy::LeaseEnded), Event::Fenced]);
    script.reply(unanswered, leased(D2));
    assert_eq!(script.owned("standup"), None);
}

#[test]
fn who_slept_while_its_lease_ended_gets_no_promise() {
    let mut script = Script::beside_another();
    let keep = |shard: &str, incarnation| Keep {
        life: FIRST,
        renewal: Request::Renew {
            holder: Holder {
                shard: shard.into(),
                incarnation,
                directory: Some(D1),
            },
            renewal: Renewal::default(),
        },
    };
    let id = script.at(1_000).renewal();
    script.fail(id);
    let now = script.now;
    let mut answer = |keep| script.machine.handle_keep(keep, now);
    let promise = KeepDuty::Answer(Kept::Promised {
        for_ms: PROMISE_MS,
        directory: Some(D1),
    });
    assert_eq!(answer(keep("b", OTHER)), promise);
    let no = KeepDuty::Answer(Kept::No);
    assert_eq!(answer(keep("b", Incarnation(501))), no);
    assert_eq!(answer(keep("c", OTHER)), no, "its rooms may be ours by now");
    // Nor when our own lease has ended.
    script.at(4_000).timeout();
    assert_ne!(script.machine.incarnation(), FIRST);
    let now = script.now;
    let mut answer = |keep| script.machine.handle_keep(keep, now);
    assert_eq!(answer(keep("c", OTHER)), no);
    assert_ne!(answer(keep("b", OTHER)), no);
}

#[test]
fn a_room_that_is_handed_over_is_nobodys_until_the_directory_has_spoken() {
    let mut script = Script::beside_another();
    let give = |script: &mut Script| {
        let now = script.now;
        script
            .machine
            .transfer(&room("standup"), "b".into(), OTHER, now)
    };
    assert!(give(&mut script));
    assert_eq!(script.owned("standup"), None);
    assert!(!give(&mut script));
    script.machine.acquire(room("standup"), script.now);
    script.events(&[refused("standup", RefusedWhy::Unknown)]);
    let (id, request) = script.request();
    assert!(matches!(
        request,
        Request::Transfer {
            epoch: Epoch(7),
            ..
        }
    ));
    script.reply(id, Reply::Draining);
    script.events(&[Event::Stays {
        room: room("standup"),
        epoch: Epoch(7),
    }]);
    assert_eq!(script.owned("standup"), Some(7));

    assert!(give(&mut script));
    let (id, _) = script.request();
    script.fail(id);
    assert_eq!(script.owned("standup"), None, "it may have been done");
    script.at(300).timeout();
    let (id, _) = script.request();
    script.reply(id, Reply::Transferred { epoch: Epoch(8) });
    script.events(&[Event::Moved {
        room: room("standup"),
        epoch: Epoch(7),
        to: "b".into(),
        next: Epoch(8),
    }]);
    script.silent();
}

#[test]
fn no_room_is_handed_over_while_the_directory_is_silent() {
    let mut script = Script::beside_another();
    let id = script.at(1_000).renewal();
    script.fail(id);
    let now = script.now;
    let gives = script
        .machine
        .transfer(&room("standup"), "b".into(), OTHER, now);
    assert!(!gives);
    assert_eq!(script.owned("standup"), Some(7));
}

#[test]
fn a_room_that_may_have_been_handed_over_is_never_taken_back() {
    let mut script = Script::beside_another();
    let now = script.now;
    let gives = script
        .machine
        .transfer(&room("standup"), "b".into(), OTHER, now);
    assert!(gives);
    let (id, _) = script.request();
    script.fail(id);
    script.at(300).timeout();
    let (id, _) = script.request();
    script.reply(id, Reply::Draining);
    script.events(&[lost("standup", 7, LostWhy::Transfer)]);
    // Without a binding, a late request cannot be carried out.
    script.release_request("standup", 7);
}

#[test]
fn a_new_directory_life_ends_what_was_on_its_way() {
    let mut script = Script::beside_another();
    let now = script.now;
    script
        .machine
        .transfer(&room("standup"), "b".into(), OTHER, now);
    let _transfer = script.request();
    let id = script.at(1_000).renewal();
    script.reply(id, stale(D2));
    script.events(&[lost("standup", 7, LostWhy::Transfer)]);
}

#[test]
fn an_order_to_drain_is_told_once() {
    let mut script = Script::new();
    let order = Some(Drain {
        deadline_unix_ms: None,
    });
    let answer = |drain: &Option<Drain>| Reply::Leased {
        directory: D1,
        ttl_ms: 3_000,
        hold_ms: 0,
        shards: 1,
        generation: 1,
        epoch: Epoch(0),
        grace: false,
        drain: drain.clone(),
        roster: None,
    };
    let id = script.renewal();
    script.reply(id, answer(&order));
    script.events(&[Event::Leased { directory: D1 }, Event::Drain(order.clone())]);
    let id = script.at(1_000).renewal();
    script.reply(id, answer(&order));
    script.events(&[]);
    let id = script.at(2_000).renewal();
    script.reply(id, answer(&None));
    script.events(&[Event::Drain(None)]);
}
