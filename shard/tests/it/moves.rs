//! Two shards, one directory: rooms go from one to the other.

use crate::support::{Client, Options, PATIENCE, TestDirectory, TestShard, now_s, start_with};
use affinity::directory::Directory;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{JoinRequest, SessionDescription, WrappedJoinRequest, participant_info};
use prost::Message as _;
use proto::token::{Claims, VideoGrant};
use std::sync::Arc;
use tokio_tungstenite::tungstenite::Message;

struct Pair {
    directory: Arc<TestDirectory>,
    one: TestShard,
    two: TestShard,
}

impl Pair {
    async fn start() -> Self {
        let directory = Arc::new(TestDirectory::new());
        let start = |id: &str| {
            let shared = Arc::clone(&directory) as Arc<dyn Directory>;
            start_with(Options {
                id: id.to_owned(),
                directory: Some(shared),
                ..Options::default()
            })
        };
        let (one, two) = (start("s1").await, start("s2").await);
        directory.announce(&[("s1", one.address), ("s2", two.address)]);
        one.ready_is(Ok(())).await;
        two.ready_is(Ok(())).await;
        Self {
            directory,
            one,
            two,
        }
    }
}

/// Joins and gets its transport up.
async fn connected(shard: &TestShard, identity: &str) -> (Client, String) {
    let (mut client, sid) = shard.join_as("standup", identity).await;
    client.send(Request::Offer(offer())).await;
    client.next_where(answer).await;
    (client, sid)
}

fn offer() -> SessionDescription {
    SessionDescription {
        r#type: "offer".into(),
        sdp: "v=0\r\noffer".into(),
        id: 1,
        ..Default::default()
    }
}

fn answer(message: Response) -> Option<SessionDescription> {
    match message {
        Response::Answer(answer) => Some(answer),
        _ => None,
    }
}

/// Everything until the end of the connection.
async fn rest(client: &mut Client) -> Vec<Response> {
    use livekit_protocol::SignalResponse;
    let mut said = Vec::new();
    loop {
        match client.frame().await {
            Message::Binary(bytes) => {
                said.extend(SignalResponse::decode(bytes).unwrap().message);
            }
            Message::Close(_) => return said,
            other => panic!("{other:?}"),
        }
    }
}

async fn resume(shard: &TestShard, identity: &str, sid: &str) -> Client {
    let token = shard.token("standup", identity);
    let request = JoinRequest {
        reconnect: true,
        participant_sid: sid.to_owned(),
        ..Default::default()
    };
    let wrapped = WrappedJoinRequest {
        join_request: request.encode_to_vec(),
        ..Default::default()
    };
    let wrapped = URL_SAFE.encode(wrapped.encode_to_vec());
    let target = format!("/rtc/v1?access_token={token}&join_request={wrapped}");
    shard.open(&target, "standup").await.expect("a WebSocket")
}

#[tokio::test]
async fn a_drained_shard_hands_its_room_over_and_nobody_sees_anybody_leave() {
    let pair = Pair::start().await;
    let (mut ann, ann_sid) = connected(&pair.one, "ann").await;
    let (mut bo, bo_sid) = connected(&pair.one, "bo").await;
    assert_eq!(pair.directory.owner("standup").as_deref(), Some("s1"));

    pair.directory.drain("s1", Some(0));
    for client in [&mut ann, &mut bo] {
        let said = rest(client).await;
        let leave = said.iter().find(|m| matches!(m, Response::Leave(_)));
        assert_eq!(
            leave, None,
            "clients resume only if nobody tells them to leave"
        );
    }
    assert_eq!(pair.directory.owner("standup").as_deref(), Some("s2"));

    for (identity, sid) in [("ann", &ann_sid), ("bo", &bo_sid)] {
        let mut client = resume(&pair.two, identity, sid).await;
        let first = client.next().await;
        let Response::Reconnect(answer) = first else {
            panic!("not resumed: {first:?}");
        };
        assert_eq!(answer.last_message_seq, 7);
        let Response::Update(update) = client.next().await else {
            panic!("no update");
        };
        let mut sids: Vec<&str> = update.participants.iter().map(|p| p.sid.as_str()).collect();
        sids.sort_unstable();
        let mut both = [ann_sid.as_str(), bo_sid.as_str()];
        both.sort_unstable();
        assert_eq!(sids, both);
        let gone = participant_info::State::Disconnected;
        assert!(update.participants.iter().all(|p| p.state() != gone));
    }
    // New joins of the room go there, and rooms of their own do, too.
    let target = format!("/rtc/v1?access_token={}", pair.one.token("standup", "cy"));
    let refused = pair.one.open(&target, "standup").await.err().unwrap();
    assert_eq!(
        (refused.status, refused.header("x-anteroom-owner")),
        (421, Some("s2"))
    );
    pair.two.join("standup", "cy").await;
}

#[tokio::test]
async fn without_another_shard_a_drained_room_goes_on() {
    let pair = Pair::start().await;
    pair.directory.drain("s2", Some(0));
    pair.directory.drain("s1", Some(0));
    let refused = pair.one.token("standup", "ann");
    let target = format!("/rtc/v1?access_token={refused}");
    // Neither takes new rooms now.
    tokio::time::timeout(PATIENCE, async {
        while pair.one.open(&target, "standup").await.is_ok() {}
    })
    .await
    .expect("a drained shard refuses new rooms");
    pair.directory.drain("s1", None);
    let mut ann = pair.one.join("standup", "ann").await;
    pair.directory.drain("s1", Some(0));
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    ann.ping().await;
}

#[tokio::test]
async fn a_shard_that_ends_gives_its_rooms_away_first() {
    let mut pair = Pair::start().await;
    let (mut ann, sid) = connected(&pair.one, "ann").await;
    pair.one.leave.cancel();
    rest(&mut ann).await;
    let mut again = resume(&pair.two, "ann", &sid).await;
    assert!(matches!(again.next().await, Response::Reconnect(_)));
    let ended = tokio::time::timeout(PATIENCE, &mut pair.one.running).await;
    ended.expect("an end in time").unwrap().unwrap();
    assert_eq!(pair.directory.owner("standup").as_deref(), Some("s2"));
}

#[tokio::test]
async fn whoever_only_serves_a_room_neither_opens_nor_claims_it() {
    let pair = Pair::start().await;
    let hidden = |shard: &TestShard| {
        let claims = Claims {
            iss: "devkey".into(),
            sub: "watcher".into(),
            exp: now_s() + 600,
            video: VideoGrant {
                room: "standup".into(),
                room_join: true,
                hidden: true,
                ..VideoGrant::default()
            },
            ..Claims::default()
        };
        format!("/rtc/v1?access_token={}", shard.keys.mint(&claims).unwrap())
    };
    let target = hidden(&pair.one);
    let refused = pair.one.open(&target, "standup").await.err().unwrap();
    assert_eq!(refused.status, 404, "{}", refused.body);
    assert_eq!(pair.directory.owner("standup"), None);

    let _ann = pair.two.join("standup", "ann").await;
    let refused = pair.one.open(&target, "standup").await.err().unwrap();
    assert_eq!(
        (refused.status, refused.header("x-anteroom-owner")),
        (421, Some("s2"))
    );
    assert!(pair.two.open(&target, "standup").await.is_ok());
}
