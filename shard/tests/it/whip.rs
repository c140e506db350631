//! WHIP and WHEP at the shard's own surface: what is asked for, answered and refused.

use crate::support::{Answer, Options, PATIENCE, TestShard, start, start_with};
use livekit_protocol::participant_info::Kind;
use livekit_protocol::signal_response::Message as Response;
use proto::context::CONTEXT_HEADER;
use proto::id::ParticipantSid;
use proto::media::NodeCommand;
use std::time::Duration;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const SAME_ICE: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";

fn offer(direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{SAME_ICE}\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na={direction}\r\na=msid:s cam\r\n"
    )
}

/// A client of one session.
struct Client<'a> {
    shard: &'a TestShard,
    token: String,
    room: &'a str,
}

impl<'a> Client<'a> {
    fn new(shard: &'a TestShard, identity: &str) -> Self {
        Self {
            shard,
            token: shard.token("live", identity),
            room: "live",
        }
    }

    async fn ask(&self, method: &str, target: &str, more: &[(&str, &str)], body: &str) -> Answer {
        let context = self.shard.context(Some(self.room));
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![
            (CONTEXT_HEADER, context.as_str()),
            ("authorization", bearer.as_str()),
        ];
        headers.extend_from_slice(more);
        self.shard
            .request_with(method, target, &headers, body)
            .await
    }

    async fn post(&self, target: &str, body: &str) -> Answer {
        self.ask("POST", target, &[("content-type", SDP)], body)
            .await
    }

    async fn patch(&self, target: &str, if_match: &str, body: &str) -> Answer {
        let headers = [("content-type", FRAGMENT), ("if-match", if_match)];
        self.ask("PATCH", target, &headers, body).await
    }
}

/// The next command that `wanted` accepts.
async fn command<T>(shard: &mut TestShard, wanted: impl Fn(NodeCommand) -> Option<T>) -> Option<T> {
    loop {
        let next = tokio::time::timeout(PATIENCE, shard.commands.recv()).await;
        let command = next.expect("a command in time")?;
        if let Some(found) = wanted(command) {
            return Some(found);
        }
    }
}

async fn removed(shard: &mut TestShard) -> Option<ParticipantSid> {
    command(shard, |command| match command {
        NodeCommand::RemoveParticipant { participant } => Some(participant),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_publisher_is_a_participant_from_its_offer_to_its_delete() {
    let mut shard = start().await;
    let mut bo = shard.join("live", "bo").await;
    let obs = Client::new(&shard, "obs");
    let created = obs.post("/r/live/whip", &offer("sendonly")).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(created.header("content-type"), Some(SDP));
    assert_eq!(created.header("accept-patch"), Some(FRAGMENT));
    assert!(created.body.contains("a=ice-ufrag:node"));
    assert_eq!(created.header("access-control-allow-origin"), Some("*"));
    let exposed = created.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("location") && exposed.contains("etag"));
    let location = created.header("location").unwrap().to_owned();
    assert!(location.starts_with("/r/live/whip/"), "{location}");
    let seen = bo
        .next_where(|message| match message {
            Response::Update(update) => Some(update.participants[0].clone()),
            _ => None,
        })
        .await;
    assert_eq!(
        (seen.identity.as_str(), seen.kind()),
        ("obs", Kind::Ingress)
    );

    // Another token of the same participant is good as well; another participant's is not.
    let (eve, again) = (Client::new(&shard, "eve"), Client::new(&shard, "obs"));
    assert_eq!(eve.ask("DELETE", &location, &[], "").await.status, 403);
    assert_eq!(again.ask("DELETE", &location, &[], "").await.status, 200);
    let gone = bo
        .next_where(|message| match message {
            Response::Update(update) => {
                let info = update.participants[0].clone();
                (info.disconnect_reason != 0).then_some(info)
            }
            _ => None,
        })
        .await;
    assert_eq!(gone.identity, "obs");
    assert_eq!(obs.ask("DELETE", &location, &[], "").await.status, 404);
    let sid = ParticipantSid::new(gone.sid);
    assert_eq!(removed(&mut shard).await, Some(sid));
}

#[tokio::test]
async fn the_node_gets_the_tracks_before_the_offer() {
    let mut shard = start().await;
    let created = Client::new(&shard, "obs")
        .post("/r/live/whip", &offer("sendrecv"))
        .await;
    assert_eq!(created.status, 201);
    let is_fixed = command(&mut shard, |command| match command {
        NodeCommand::AddParticipant(new) => Some(new.fixed),
        _ => None,
    });
    assert_eq!(is_fixed.await, Some(true));
    let published = command(&mut shard, |command| match command {
        NodeCommand::Publish(track) => Some(track.cid),
        _ => None,
    });
    assert_eq!(published.await.as_deref(), Some("cam"));
    let sdp = command(&mut shard, |command| match command {
        NodeCommand::Offer { sdp, .. } => Some(sdp),
        _ => None,
    });
    assert!(sdp.await.unwrap().contains("a=sendonly"));
}

#[tokio::test]
async fn fragments_are_taken_by_the_rules_of_their_tags() {
    let shard = start().await;
    let obs = Client::new(&shard, "obs");
    let created = obs.post("/whip/v1", &offer("sendonly")).await;
    let location = created.header("location").unwrap();
    assert!(location.starts_with("/whip/v1/"), "{location}");
    let tag = created.header("etag").unwrap();
    let fresh = "a=ice-ufrag:wxyz\r\na=ice-pwd:9876543210987654321098\r\n";
    assert_eq!(obs.patch(location, tag, SAME_ICE).await.status, 204);
    assert_eq!(obs.patch(location, "\"x\"", SAME_ICE).await.status, 412);
    let none = [("content-type", FRAGMENT)];
    let unconditional = obs.ask("PATCH", location, &none, SAME_ICE).await;
    assert_eq!(unconditional.status, 428);
    assert_eq!(obs.patch(location, tag, "hello").await.status, 400);
    let restarted = obs.patch(location, "*", fresh).await;
    assert_eq!(restarted.status, 200, "{}", restarted.body);
    assert_eq!(restarted.header("content-type"), Some(FRAGMENT));
    let new_tag = restarted.header("etag").unwrap();
    assert_ne!(new_tag, tag);
    assert!(restarted.body.contains("a=ice-ufrag:node"));
    assert_eq!(obs.patch(location, tag, fresh).await.status, 412);
    assert_eq!(obs.patch(location, new_tag, fresh).await.status, 204);
    // What is no session of this kind is none.
    let elsewhere = location.replace("/whip/", "/whep/");
    assert_eq!(obs.patch(&elsewhere, new_tag, fresh).await.status, 404);
}

#[tokio::test]
async fn a_viewer_is_subscribed_to_what_is_there_and_hidden_if_its_token_says_so() {
    let mut shard = start().await;
    let published = Client::new(&shard, "obs")
        .post("/r/live/whip", &offer("sendonly").replace("cam", "bound"))
        .await;
    assert_eq!(published.status, 201);
    let mut claims = shard.claims("live", "eve");
    claims.video.hidden = true;
    claims.video.can_publish = Some(false);
    let eve = Client {
        token: shard.keys.mint(&claims).unwrap(),
        ..Client::new(&shard, "eve")
    };
    let watched = eve.post("/r/live/whep", &offer("recvonly")).await;
    assert_eq!(watched.status, 201, "{}", watched.body);
    assert_eq!(
        eve.post("/r/live/whip", &offer("sendonly")).await.status,
        403
    );
    let hidden = command(&mut shard, |command| match command {
        NodeCommand::AddParticipant(new) if new.hidden => Some(new.participant),
        _ => None,
    });
    let hidden = hidden.await;
    let subscriber = command(&mut shard, |command| match command {
        NodeCommand::Subscribe { participant, .. } => Some(participant),
        _ => None,
    });
    assert_eq!(subscriber.await, hidden);
}

#[tokio::test]
async fn a_hidden_viewer_of_an_idle_room_is_told_that_nobody_is_there() {
    let shard = start().await;
    let mut claims = shard.claims("live", "eve");
    claims.video.hidden = true;
    let eve = Client {
        token: shard.keys.mint(&claims).unwrap(),
        ..Client::new(&shard, "eve")
    };
    let refused = eve.post("/r/live/whep", &offer("recvonly")).await;
    assert_eq!(refused.status, 404, "{}", refused.body);
    assert_eq!(shard.directory.owner("live"), None);
}

#[tokio::test]
async fn an_offer_that_the_node_refuses_leaves_nobody_behind() {
    let shard = start().await;
    let obs = Client::new(&shard, "obs");
    let sdp = offer("sendonly").replace("s=-", "s=refuse me");
    let refused = obs.post("/r/live/whip", &sdp).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("as it was told"), "{}", refused.body);
    let sdp = offer("sendonly").replace("s=-", "s=reject all");
    assert_eq!(obs.post("/r/live/whip", &sdp).await.status, 406);
    shard.directory.given_back("live").await;
}

#[tokio::test]
async fn the_owner_of_the_room_is_named_to_the_gateway_for_offers_and_for_sessions() {
    let shard = start().await;
    shard.directory.claim_for("s2", "live");
    let obs = Client::new(&shard, "obs");
    let elsewhere = obs.post("/r/live/whip", &offer("sendonly")).await;
    assert_eq!(elsewhere.status, 421);
    assert_eq!(elsewhere.header("x-anteroom-owner"), Some("s2"));
    for method in ["DELETE", "PATCH"] {
        let answer = obs.ask(method, "/r/live/whip/0123", &[], "").await;
        assert_eq!(answer.status, 421, "{method}");
        assert_eq!(answer.header("x-anteroom-owner"), Some("s2"));
    }
}

#[tokio::test]
async fn without_a_node_and_at_the_end_of_the_shard_a_client_shall_come_again() {
    let shard = start_with(Options {
        node: false,
        ..Options::default()
    })
    .await;
    let refused = Client::new(&shard, "obs")
        .post("/r/live/whip", &offer("sendonly"))
        .await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_shard_that_ends_does_not_wait_for_sessions() {
    let mut shard = start().await;
    let obs = Client::new(&shard, "obs");
    let created = obs.post("/r/live/whip", &offer("sendonly")).await;
    assert_eq!(created.status, 201);
    shard.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(4), &mut shard.running).await;
    ended.expect("an end in time").unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_taken_is_said_with_the_way_out() {
    let shard = start().await;
    let obs = Client::new(&shard, "obs");
    for (method, target, kind, body, status, header) in [
        (
            "POST",
            "/r/live/whip",
            "text/plain",
            "v=0",
            415,
            "accept-post",
        ),
        ("POST", "/r/live/whip", SDP, "hello", 400, ""),
        ("POST", "/r/live/whip", SDP, "v=0\r\n", 422, ""),
        ("GET", "/r/live/whip", SDP, "", 405, "allow"),
        ("PUT", "/whep/v1", SDP, "", 405, "allow"),
        ("GET", "/r/live/whip/0123", SDP, "", 405, "allow"),
        ("POST", "/r/live/whep/0123", SDP, "", 405, "allow"),
        ("DELETE", "/r/live/whip/0123", SDP, "", 404, ""),
    ] {
        let answer = obs
            .ask(method, target, &[("content-type", kind)], body)
            .await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        assert!(header.is_empty() || answer.header(header).is_some());
        assert!(!answer.body.is_empty());
    }
    let long = format!("v=0{}", " ".repeat(64 * 1024));
    assert_eq!(obs.post("/r/live/whip", &long).await.status, 413);
    let options = shard.request("OPTIONS", "/r/live/whip", Some("live")).await;
    assert_eq!(options.header("accept-post"), Some(SDP));
}

#[tokio::test]
async fn the_page_for_watching_and_its_script_are_there() {
    let shard = start().await;
    let page = shard.get("/r/live/watch", "live").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("watch.js"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'self'"));
    let script = shard.get("/r/live/watch.js", "live").await;
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
}
