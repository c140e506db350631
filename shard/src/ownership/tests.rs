use super::*;
use crate::peers::Peers;
use affinity::RoomCase;
use affinity::directory::{DirectoryFuture, DirectoryUnreachable, Roster};
use affinity::ownership::RequestId;
use proto::context::ClusterKey;

const D1: DirectoryIncarnation = DirectoryIncarnation(101);
const D2: DirectoryIncarnation = DirectoryIncarnation(102);

pub(crate) fn room(name: &str) -> RoomKey {
    RoomKey::from_claim(name, RoomCase::Sensitive).unwrap()
}

/// Answers without a directory.
impl Owner {
    fn next_request(&self, at: Instant) -> (RequestId, Request) {
        self.lock().ownership.poll_request(at).expect("a request")
    }

    fn renew(&self, reply: Reply, at: Instant) {
        let (id, request) = self.next_request(at);
        assert!(matches!(request, Request::Renew { .. }), "{request:?}");
        self.reply(id, reply, at);
    }

    /// The lease is renewed every second.
    pub(crate) fn stays_leased(&self, from: Instant, to: Instant) {
        let mut at = from + Duration::from_secs(1);
        while at <= to {
            self.renew(leased(D1), at);
            at += Duration::from_secs(1);
        }
    }

    /// A renewal brings a roster: names, lives and addresses of others that take rooms.
    pub(crate) fn meets(&self, version: u64, others: &[(&str, u64, &str)], at: Instant) {
        let life = |(shard, incarnation, url): &(&str, u64, &str)| Life {
            shard: ShardId::new(*shard),
            incarnation: Incarnation(*incarnation),
            url: (*url).to_owned(),
            weight: 1,
            accepts: true,
        };
        let lives = others.iter().map(life).collect();
        let mut reply = leased(D1);
        if let Reply::Leased { roster, .. } = &mut reply {
            *roster = Some(Roster { version, lives });
        }
        self.renew(reply, at);
        self.digest(&mut self.lock(), at);
    }

    /// Somebody asks for a room and does not wait, and the directory's first answer is lost. Later it
    /// says that the room was ours: handed over by whoever had claimed it under `from`.
    pub(crate) fn is_handed(
        &self,
        room: &RoomKey,
        epoch: Epoch,
        from: Epoch,
        options: Option<&str>,
        at: Instant,
    ) {
        self.lock().ownership.acquire(room.clone(), at);
        let (id, claim) = self.next_request(at);
        assert!(matches!(claim, Request::Claim { .. }), "{claim:?}");
        let lost = Err(DirectoryUnreachable("cut".to_owned()));
        let mut shared = self.lock();
        shared.ownership.handle_reply(id, lost, fresh(), at);
        self.digest(&mut shared, at);
        drop(shared);
        let again = at + Duration::from_millis(300);
        self.lock().ownership.handle_timeout(fresh(), again);
        let (id, claim) = self.next_request(again);
        assert!(matches!(claim, Request::Claim { .. }), "{claim:?}");
        let mine = Ok(Reply::Mine {
            epoch,
            from: Some(from),
            options: options.map(str::to_owned),
        });
        let mut shared = self.lock();
        shared.ownership.handle_reply(id, mine, fresh(), again);
        self.digest(&mut shared, again);
    }

    fn reply(&self, id: RequestId, reply: Reply, at: Instant) {
        let mut shared = self.lock();
        shared.ownership.handle_reply(id, Ok(reply), fresh(), at);
        while shared.ownership.poll_event().is_some() {}
    }

    /// A shard that holds a lease since `at`, and in it `name` under epoch 7.
    pub(crate) fn of_room(name: &str, at: Instant) -> (Self, Pin) {
        let owner = Self::new(ShardId::new("s1"), Arc::new(Generous), at);
        owner.renew(leased(D1), at);
        let room = room(name);
        let epoch = Epoch(7);
        owner.lock().pin(&room);
        owner.lock().ownership.acquire(room.clone(), at);
        let (id, _) = owner.next_request(at);
        let granted = Reply::Granted {
            epoch,
            options: None,
        };
        owner.reply(id, granted, at);
        let pin = Pin {
            owner: owner.clone(),
            room,
            epoch,
        };
        (owner, pin)
    }
}

/// Other shards, of which there are none.
pub(crate) fn nobody() -> Peers {
    Peers::new("s1", ClusterKey::new("cluster").unwrap())
}

fn leased(directory: DirectoryIncarnation) -> Reply {
    Reply::Leased {
        directory,
        // 4.5 s less the margin.
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

impl Pin {
    /// As if it had been acquired.
    pub(crate) fn of(owner: &Owner, room: RoomKey, epoch: Epoch) -> Self {
        let mut pin = Self::new(owner, room);
        pin.epoch = epoch;
        pin
    }
}

#[test]
fn a_shard_that_is_taken_out_of_the_topology_is_reached_where_it_was() {
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let (owner, _pin) = Owner::of_room("standup", start);
    let url = || Some(owner.other(&ShardId::new("s2"))?.url);
    owner.meets(1, &[("s2", 5, "http://s2")], at(1));
    assert_eq!(url().as_deref(), Some("http://s2"));
    owner.meets(2, &[("s2", 5, "")], at(2));
    assert_eq!(url().as_deref(), Some("http://s2"));
    assert_eq!(owner.heirs(), [], "it takes no rooms");
    // Another life of it may be anywhere.
    owner.meets(3, &[("s2", 6, "")], at(3));
    assert_eq!(url().as_deref(), Some(""));
    owner.meets(4, &[], at(4));
    assert_eq!(url(), None);
}

/// Grants everything, and confirms nothing.
struct Generous;

impl Directory for Generous {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        let reply = match request {
            Request::Renew { .. } => Ok(leased(D2)),
            Request::Claim { .. } => Ok(Reply::Granted {
                epoch: Epoch(8),
                options: None,
            }),
            Request::Reassert { .. } => Err(DirectoryUnreachable("lost".to_owned())),
            _ => Ok(Reply::Released),
        };
        Box::pin(std::future::ready(reply))
    }
}

#[tokio::test]
async fn a_join_to_a_room_that_was_not_confirmed_waits_for_a_claim_and_not_for_a_lease() {
    // The directory's data was lost at 2 s, the room's time is over at 4.5 s, the lease goes on to
    // 8.5 s; now it is 5 s, and the timer has not fired yet.
    let start = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    let at = |s| start + Duration::from_secs(s);
    let (owner, _pin) = Owner::of_room("standup", start);
    owner.renew(Reply::StaleDirectory { current: D2 }, at(2));
    owner.renew(leased(D2), at(2));
    owner.renew(leased(D2), at(4));

    let driver = OwnershipDriver::new(owner.clone(), nobody());
    let pin = tokio::select! {
        biased;
        pin = owner.acquire(room("standup")) => pin,
        () = driver.run(Arc::new(Notify::new())) => panic!("the driver ended"),
    };
    assert_eq!(pin.map(|pin| pin.epoch).ok(), Some(Epoch(8)));
    let lost = News::Lost {
        room: room("standup"),
        epoch: Epoch(7),
    };
    assert_eq!(owner.next_news(Instant::now()), Some(lost));
}
