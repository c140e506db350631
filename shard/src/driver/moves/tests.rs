//! Rooms that come and go, with another shard that says what the script wants.

use super::super::tests::{LINK, NODE, Script, join, of_room, with_participant};
use super::super::{Outbound, SessionId};
use super::*;
use crate::core::tests::exported;
use crate::core::{Resume, TAIL_MAX};
use crate::driver::moves::coming::PULL_TIMEOUT;
use crate::ownership::Pin;
use affinity::directory::Drain;
use axum::Json;
use axum::routing::post;
use livekit_protocol as lk;
use lk::signal_request::Message as Ask;
use lk::signal_response::Message as Say;
use proto::id::NodeId;
use proto::media::{NodeCommand, NodeEvent};
use tokio::net::TcpListener;

/// The claim of the old owner, and ours.
const THEIRS: Epoch = Epoch(3);
const OURS: Epoch = Epoch(9);

fn standup() -> RoomKey {
    crate::ownership::tests::room("standup")
}

/// A port where nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

impl Script {
    /// What the driver's tasks have found out.
    async fn hear(&mut self) {
        let heard = tokio::time::timeout(TAIL_MAX, self.inputs.1.recv()).await;
        let input = heard.expect("news in time").unwrap();
        self.driver.handle_input(input, self.now);
    }

    fn commands(&mut self) -> Vec<NodeCommand> {
        std::iter::from_fn(|| Some(self.commands.try_recv().ok()?.command)).collect()
    }

    fn said(&mut self) -> Vec<Outbound> {
        std::iter::from_fn(|| self.outbound.try_recv().ok()).collect()
    }

    fn ping(&mut self) -> bool {
        self.said();
        let ping = Input::Signal {
            session: SessionId(1),
            message: Box::new(Ask::Ping(1)),
        };
        self.driver.handle_input(ping, self.now);
        let pong =
            |said: &Outbound| matches!(said, Outbound::Message(m) if matches!(**m, Say::Pong(_)));
        self.said().iter().any(pong)
    }

    /// Where the room is on its way to, if it is.
    fn goes_to(&self) -> Option<String> {
        let going = self.driver.moves.going.get(&standup())?;
        Some(going.to.shard.as_str().to_owned())
    }

    fn look(&mut self) {
        self.driver.drain_if_due(self.now);
    }

    /// The node exports, and the answer to the offer is awaited.
    async fn is_offered_in_vain(&mut self) {
        let export = self
            .commands()
            .into_iter()
            .find_map(|command| match command {
                NodeCommand::Export { room } => Some(room),
                _ => None,
            });
        let event = NodeEvent::Exported {
            room: export.expect("an export"),
            worker: 0,
            media: Vec::new(),
            data: Vec::new(),
        };
        let node = NodeId::new(NODE);
        let event = Input::NodeEvent {
            node,
            link: LINK,
            event,
        };
        self.driver.handle_input(event, self.now);
        self.hear().await;
    }

    /// Another shard, known to this one, offers its room.
    fn is_offered(&mut self, url: &str) -> RoomState {
        let at = self.now + Duration::from_secs(1);
        self.driver.owner.meets(1, &[("s2", 5, url)], at);
        self.now = at;
        let state = exported(3);
        let (answer, mut heard) = oneshot::channel();
        let offered = Input::Offered {
            from: "s2".to_owned(),
            epoch: THEIRS,
            state: Box::new(state.clone()),
            answer,
        };
        self.driver.handle_input(offered, self.now);
        assert_eq!(heard.try_recv(), Ok(PeerReply::Yes));
        state
    }

    /// The directory gives it the room.
    fn is_given(&mut self, options: Option<&str>) {
        let owner = self.driver.owner.clone();
        owner.is_handed(&standup(), OURS, THEIRS, options, self.now);
        self.now += Duration::from_millis(300);
    }

    fn pin(&self) -> Pin {
        Pin::of(&self.driver.owner, standup(), OURS)
    }

    /// The old shard commits.
    fn commit(&mut self, late: Vec<LateSignal>) -> PeerReply {
        let (answer, mut heard) = oneshot::channel();
        let handed = Input::Handed {
            pin: Box::new(self.pin()),
            epoch: THEIRS,
            late,
            answer,
        };
        self.driver.handle_input(handed, self.now);
        heard.try_recv().unwrap()
    }
}

/// A shard to which the room `standup` comes from `url`.
fn heir(url: &str) -> (Script, RoomState, Pin) {
    let (mut script, lobby) = of_room("lobby", 256);
    let state = script.is_offered(url);
    (script, state, lobby)
}

/// Somebody of the room comes back.
fn back(state: &RoomState) -> crate::core::Join {
    let mut join = join(&standup(), OURS);
    let (sid, claims) = state.somebody();
    join.claims = claims;
    join.resume = Some(Resume {
        participant: sid,
        reason: 1,
        sync_state: None,
    });
    join
}

/// A drained shard whose heirs are `names`, none of which answers.
async fn drained(names: &[&str]) -> Script {
    let mut script = with_participant();
    let url = nowhere().await;
    let heirs: Vec<(&str, u64, &str)> = names.iter().map(|n| (*n, 5, url.as_str())).collect();
    let at = script.now + Duration::from_secs(1);
    script.driver.owner.meets(1, &heirs, at);
    script.now = at;
    let order = Drain {
        deadline_unix_ms: Some(0),
    };
    script.commands();
    script.driver.handle_order(Some(order), at);
    script.look();
    script
}

#[tokio::test]
async fn a_shard_that_refuses_is_left_in_peace_and_another_is_asked() {
    let mut script = drained(&["s2", "s3"]).await;
    let first = script.goes_to().expect("a heir");
    assert!(!script.ping(), "it stands still");
    script.is_offered_in_vain().await;
    // Nobody is asked at once, and the room is served meanwhile.
    assert!(script.ping());
    script.look();
    script.pass(Duration::from_millis(1_900));
    script.look();
    assert_eq!((script.goes_to(), script.commands()), (None, Vec::new()));
    script.pass(Duration::from_millis(300));
    script.look();
    let second = script.goes_to().expect("another heir");
    assert_ne!(first, second);
    script.is_offered_in_vain().await;
    // Longer, each time.
    script.pass(Duration::from_millis(3_900));
    script.look();
    assert_eq!(script.goes_to(), None);
}

#[tokio::test]
async fn a_room_that_no_shard_takes_stays_and_is_served_and_all_are_asked_again() {
    let mut script = drained(&["s2", "s3"]).await;
    let mut asked = Vec::new();
    for _ in 0..60 {
        asked.extend(script.goes_to());
        if script.goes_to().is_some() {
            script.is_offered_in_vain().await;
        }
        assert!(script.ping());
        script.pass(Duration::from_secs(1));
        script.look();
    }
    let of = |name: &str| asked.iter().filter(|asked| *asked == name).count();
    assert!(of("s2") >= 2 && of("s3") >= 2, "{asked:?}");
    let [held] = script.driver.core.rooms().try_into().unwrap();
    assert!(held.live && held.participants == 1);
    assert!(!script.driver.owner.is_moving(&standup()));
}

#[tokio::test]
async fn a_room_that_was_given_here_during_an_outage_is_taken_up_when_the_directory_says_so() {
    let (mut script, state, _lobby) = heir("http://192.0.2.1");
    script.is_given(None);
    assert!(!script.driver.core.is_live(&standup()));
    script.driver.handle_news(script.now);
    let rooms = script.driver.core.rooms();
    let held = rooms.iter().find(|held| held.room == standup()).unwrap();
    assert_eq!((&held.sid, held.participants), (state.sid(), 3));
    assert_eq!(held.epoch, OURS);
    assert_eq!(
        script.driver.owner.epoch(&standup(), script.now),
        Some(OURS)
    );
}

#[tokio::test]
async fn a_room_whose_state_was_lost_keeps_its_options() {
    let (mut script, _lobby) = of_room("lobby", 64);
    script.is_given(Some(r#"{"metadata":"agenda"}"#));
    script.driver.handle_news(script.now);
    assert_eq!(
        script.driver.owner.epoch(&standup(), script.now),
        Some(OURS)
    );
    let pin = script.pin();
    script.arrive(join(&standup(), OURS), pin);
    let joined = script.said().into_iter().find_map(|said| match said {
        Outbound::Message(message) => match *message {
            Say::Join(join) => join.room,
            _ => None,
        },
        Outbound::Close(_) | Outbound::Refused(_) => None,
    });
    assert_eq!(joined.expect("a join").metadata, "agenda");

    // There is nothing to keep: it is given back.
    let (mut script, _lobby) = of_room("lobby", 64);
    script.is_given(None);
    script.driver.handle_news(script.now);
    assert_eq!(script.driver.owner.epoch(&standup(), script.now), None);
}

#[tokio::test]
async fn a_resume_that_is_turned_away_hears_nothing_but_the_end_of_its_connection() {
    for resumes in [true, false] {
        let (mut script, state, _lobby) = heir("http://192.0.2.1");
        let mut join = back(&state);
        if !resumes {
            join.resume = None;
        }
        // The room is not ours.
        let pin = script.pin();
        script.arrive(join, pin);
        let said = script.said();
        let leaves =
            |said: &Outbound| matches!(said, Outbound::Message(m) if matches!(**m, Say::Leave(_)));
        assert_eq!(said.iter().any(leaves), !resumes, "{said:?}");
        assert!(matches!(said.last(), Some(Outbound::Close(_))));
        assert_eq!(said.len(), if resumes { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_clients_said_on_the_way_is_done_once_whoever_comes_first() {
    for client_first in [false, true] {
        let (mut script, state, _lobby) = heir("http://192.0.2.1");
        let (participant, track) = state.track();
        let mute = |muted| LateSignal::Request {
            participant: participant.clone(),
            request: Box::new(lk::SignalRequest {
                message: Some(Ask::Mute(lk::MuteTrackRequest {
                    sid: track.as_str().into(),
                    muted,
                })),
            }),
        };
        let late = vec![mute(true), mute(false)];
        script.is_given(None);
        if client_first {
            let pin = script.pin();
            script.arrive(back(&state), pin);
        }
        for _ in 0..2 {
            assert_eq!(script.commit(late.clone()), PeerReply::Yes);
        }
        let muted = |command: &NodeCommand| matches!(command, NodeCommand::SetMuted { .. });
        let done = script.commands().iter().filter(|c| muted(c)).count();
        assert_eq!(done, 2, "client first: {client_first}");
        // Of another life of the room nothing is taken.
        let origin = script.driver.moves.origins.get_mut(&standup()).unwrap();
        (origin.epoch, origin.has_late) = (Epoch(2), false);
        script.commit(late);
        assert!(!script.commands().iter().any(muted));
    }
}

#[tokio::test]
async fn what_was_offered_has_grown_older_when_the_room_comes() {
    let (mut script, _state, _lobby) = heir("http://192.0.2.1");
    let packet = CarriedData {
        from: ParticipantSid::new("PA_x"),
        sequence: 1,
        age_ms: 50,
        packet: vec![1],
    };
    let prepared = script.driver.moves.prepared.get_mut(&standup()).unwrap();
    prepared.state.carry(packet);
    script.pass(Duration::from_secs(2));
    script.is_given(None);
    script.driver.handle_news(script.now);
    let ages = script
        .commands()
        .into_iter()
        .find_map(|command| match command {
            NodeCommand::Deliver { data, .. } => Some(data[0].age_ms),
            _ => None,
        });
    assert_eq!(ages, Some(50 + 2_300));
}

#[tokio::test]
async fn an_old_shard_that_answers_too_late_holds_nobody_up_and_loses_nothing() {
    let state = exported(3);
    let (sid, _) = state.somebody();
    let pulled = PeerReply::Pulled {
        media: Some(Box::new(state.media_of(&sid))),
        data: vec![CarriedData {
            from: sid.clone(),
            sequence: 7,
            age_ms: 0,
            packet: vec![1],
        }],
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slow = post(async move || {
        tokio::time::sleep(PULL_TIMEOUT + Duration::from_millis(200)).await;
        Json(pulled)
    });
    let router = axum::Router::new().route(crate::peers::PATH, slow);
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(crate::accept::serve(listener, router, stop));

    let (mut script, state, _lobby) = heir(&url);
    script.is_given(None);
    let pin = script.pin();
    script.arrive(back(&state), pin);
    script.commands();
    script.hear().await;
    let prepare = NodeCommand::PrepareResume {
        participant: sid.clone(),
    };
    assert_eq!(
        script.commands(),
        [prepare],
        "it goes on with what was exported"
    );
    script.hear().await;
    let commands = script.commands();
    let [NodeCommand::Deliver { data, .. }] = commands.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!((&data[0].from, data[0].sequence), (&sid, 7));
}

#[tokio::test]
async fn somebody_who_hangs_up_at_the_old_shard_leaves_here_once_the_room_is_here() {
    let (mut script, state, _lobby) = heir("http://192.0.2.1");
    let (participant, _) = state.somebody();
    let hang_up = |script: &mut Script, epoch| {
        let (answer, mut heard) = oneshot::channel();
        let request = PeerRequest::HungUp {
            room: standup(),
            epoch,
            participant: participant.clone(),
        };
        let request = Box::new(request);
        let peer = Input::Peer { request, answer };
        script.driver.handle_input(peer, script.now);
        heard.try_recv() == Ok(PeerReply::Yes)
    };
    // The commit may come later: it is said again.
    assert!(!hang_up(&mut script, THEIRS));
    script.is_given(None);
    assert!(!hang_up(&mut script, Epoch(2)));
    assert!(hang_up(&mut script, THEIRS));
    let rooms = script.driver.core.rooms();
    let held = rooms.iter().find(|held| held.room == standup()).unwrap();
    assert_eq!(held.participants, 2);
}
