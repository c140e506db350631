//! Routing: a room and a shard that exists, or a refusal; the shard reads the same room.

use crate::NOW_S;
use crate::secrets::{api_keys, token};
use affinity::{
    Decision, Headers, RequestView, RoomCase, RoomKey, Routing, Shard, ShardId, ShardState,
    Topology,
};
use gateway::NativeRouting;
use proto::token::ApiKeys;
use shard::fuzzing::token_of_query;
use std::sync::{Arc, LazyLock};

/// Stands for a valid token of the room `standup`.
const TOKEN_MARK: &str = "{token}";
static TOKEN: LazyLock<String> = LazyLock::new(|| token("standup"));
static KEYS: LazyLock<ApiKeys> = LazyLock::new(api_keys);
static ROUTINGS: LazyLock<[NativeRouting; 2]> = LazyLock::new(|| {
    [RoomCase::Sensitive, RoomCase::Fold]
        .map(|case| NativeRouting::new(Arc::new(topology()), KEYS.clone(), case))
});

/// A request: a line with method and target, lines with header fields. `{token}` is a valid token.
pub fn routing(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace(TOKEN_MARK, &TOKEN);
    let mut lines = text.split('\n');
    let (method, target) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .unwrap_or_default();
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let headers = Fields(fields);
    let view = RequestView {
        method,
        target,
        headers: &headers,
        body: None,
    };
    for (routing, case) in ROUTINGS.iter().zip([RoomCase::Sensitive, RoomCase::Fold]) {
        let answer = routing.route(&view, NOW_S);
        assert_eq!(
            answer,
            routing.route(&view, NOW_S),
            "one request, two answers"
        );
        match answer {
            Ok(decision) => decided(&decision, &view, case),
            Err(refusal) => {
                let known = matches!(refusal.status, 400 | 401 | 404 | 405 | 503);
                assert!(known && !refusal.reason.is_empty(), "{refusal:?}");
                assert!(!refusal.reason.contains(&*TOKEN), "a token in an answer");
            }
        }
    }
}

fn decided(decision: &Decision, view: &RequestView<'_>, case: RoomCase) {
    let topology = topology();
    assert!(
        topology.shard(&decision.candidate).is_some(),
        "{decision:?}"
    );
    assert!(!decision.rule.contains(&*TOKEN), "a token in a log");
    assert_eq!(decision.room.is_some(), decision.source.is_some());
    let Some(room) = &decision.room else {
        return;
    };
    assert_eq!(RoomKey::from_claim(room.as_str(), case).as_ref(), Ok(room));
    assert_eq!(topology.place(room), Some(&decision.candidate));
    if view.headers.header("authorization").is_some() {
        return;
    }
    // What the shard will believe is the token, as it reads it.
    let (_, query) = view.target.split_once('?').unwrap_or_default();
    let claims = token_of_query(query).and_then(|token| KEYS.verify(&token, NOW_S).ok());
    if let Some(claims) = claims {
        let believed = RoomKey::from_claim(&claims.video.room, case);
        assert_eq!(
            believed.as_ref(),
            Ok(room),
            "gateway and shard split the room"
        );
    }
}

fn topology() -> Topology {
    static TOPOLOGY: LazyLock<Topology> = LazyLock::new(|| {
        let shards = ["s1", "s2", "s3"].map(|id| Shard {
            id: ShardId::new(id),
            url: format!("http://{id}.example:7890"),
            weight: 1,
            state: ShardState::Active,
        });
        Topology::new(1, shards.to_vec()).expect("a topology")
    });
    TOPOLOGY.clone()
}

struct Fields<'a>(Vec<(String, &'a str)>);

impl Headers for Fields<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_bytes())
    }
}
