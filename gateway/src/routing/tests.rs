use super::*;
use affinity::{Headers, Shard, ShardId, ShardState};
use proto::token::{Claims, VideoGrant};
use std::collections::BTreeMap;

const NOW: u64 = 1_800_000_000;

struct Fields(Vec<(&'static str, String)>);

impl Headers for Fields {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| value.as_bytes())
    }
}

fn keys() -> ApiKeys {
    ApiKeys::new(BTreeMap::from([("devkey".into(), "secret".into())])).unwrap()
}

fn token(room: &str) -> String {
    let claims = Claims {
        iss: "devkey".into(),
        sub: "ada".into(),
        exp: NOW + 600,
        video: VideoGrant {
            room: room.into(),
            room_join: true,
            ..Default::default()
        },
        ..Default::default()
    };
    keys().mint(&claims).unwrap()
}

fn native(state: ShardState) -> NativeRouting {
    let shards = ["s1", "s2", "s3"].map(|id| Shard {
        id: ShardId::new(id),
        url: format!("http://{id}:1"),
        weight: 1,
        state,
    });
    let topology = Topology::new(1, shards.to_vec()).unwrap();
    NativeRouting::new(Arc::new(topology), keys(), RoomCase::Sensitive)
}

fn route_with(
    method: &str,
    target: &str,
    fields: Vec<(&'static str, String)>,
) -> Result<Decision, (u16, String)> {
    let headers = Fields(fields);
    let view = RequestView {
        method,
        target,
        headers: &headers,
        body: None,
    };
    native(ShardState::Active)
        .route(&view, NOW)
        .map_err(|refusal| (refusal.status, refusal.reason))
}

fn route(target: &str) -> Result<Decision, (u16, String)> {
    route_with("GET", target, vec![])
}

#[test]
fn every_way_to_name_a_room_leads_to_the_same_shard() {
    let token = token("standup");
    let bearer = |target| {
        let fields = vec![("authorization", format!("Bearer {token}"))];
        route_with("GET", target, fields)
    };
    let header = vec![("x-anteroom-room", "standup".to_owned())];
    let ways = [
        route("/standup"),
        route("/standup/"),
        route("/st%61ndup"),
        route("/r/standup/rtc/v1"),
        route("/rtc?room=standup"),
        route(&format!("/rtc/v1?access_token={token}")),
        route(&format!("//rtc/v1?access_token={token}")),
        route(&format!("/r/standup/rtc?access_token={token}&room=standup")),
        bearer("/rtc/v1"),
        bearer("/whip/v1"),
        bearer("/twirp/livekit.RoomService/ListParticipants"),
        route_with("POST", "/twirp/livekit.RoomService/DeleteRoom", header),
    ];
    let first = ways[0].clone().unwrap();
    assert_eq!(first.room.as_ref().unwrap().as_str(), "standup");
    for way in ways {
        let way = way.unwrap();
        assert_eq!((&way.room, &way.candidate), (&first.room, &first.candidate));
    }
}

#[test]
fn two_different_rooms_in_one_request_are_refused() {
    let token = token("standup");
    for target in [
        format!("/r/other/rtc/v1?access_token={token}"),
        format!("/rtc?room=other&access_token={token}"),
        "/standup?room=other".to_owned(),
        "/r/Standup/rtc?room=standup".to_owned(),
    ] {
        let (status, reason) = route(&target).unwrap_err();
        assert_eq!(status, 400, "{target}");
        assert!(reason.contains("must be the same"), "{reason}");
        assert!(!reason.contains(&token));
    }
    let fields = vec![("x-anteroom-room", "other".to_owned())];
    assert_eq!(route_with("GET", "/standup", fields).unwrap_err().0, 400);
}

#[test]
fn ambiguous_or_unusable_names_are_refused_with_their_cause() {
    for (target, status) in [
        ("/rtc?room=a&room=a", 400),
        ("/rtc?access_token=a&access_token=a", 400),
        ("/rtc", 400),
        ("/rtc/v1/validate", 400),
        ("/api/token", 400),
        ("/rtc?room=", 400),
        ("/r/%2e%2e/rtc", 400),
        ("/r/a%252fb/rtc", 400),
        ("/r/a%2fb/rtc", 400),
        ("/r/%ff/rtc", 400),
        ("/r/rtc/rtc", 400),
        ("/a/b/c", 404),
        ("/r", 404),
    ] {
        let (got, reason) = route(target).unwrap_err();
        assert_eq!(got, status, "{target}: {reason}");
    }
    let long = format!("/r/{}/rtc", "x".repeat(300));
    assert_eq!(route(&long).unwrap_err().0, 400);
    assert!(route("/rtc").unwrap_err().1.contains("video.room"));
    assert_eq!(route_with("POST", "/standup", vec![]).unwrap_err().0, 405);
}

#[test]
fn a_wrong_token_is_a_401_that_names_the_cause_and_not_the_token() {
    let good = token("standup");
    let forged = format!("{}x", &good[..good.len() - 1]);
    for bad in ["a.b.c".to_owned(), forged, String::new()] {
        let (status, reason) = route(&format!("/r/standup/rtc?access_token={bad}")).unwrap_err();
        assert_eq!(status, 401);
        assert!(reason.contains("access token"), "{reason}");
    }
    let (status, reason) = route(&format!("/rtc?access_token={}", token(""))).unwrap_err();
    assert_eq!(status, 401);
    assert!(reason.contains("video.room"), "{reason}");

    let fields = vec![("authorization", format!("Bearer {good}"))];
    let target = format!("/rtc?access_token={}", token("other"));
    assert_eq!(route_with("GET", &target, fields).unwrap_err().0, 400);
}

#[test]
fn requests_without_a_room_go_to_any_active_shard_and_to_none_if_there_is_none() {
    for target in [
        "/",
        "/assets/app.js?v=1",
        "/favicon.ico",
        "/settings/regions",
    ] {
        assert_eq!(route(target).unwrap().room, None);
    }
    let headers = Fields(vec![]);
    for target in ["/", "/standup"] {
        let view = RequestView {
            method: "GET",
            target,
            headers: &headers,
            body: None,
        };
        let refusal = native(ShardState::Draining).route(&view, NOW).unwrap_err();
        assert_eq!(refusal.status, 503);
    }
}
