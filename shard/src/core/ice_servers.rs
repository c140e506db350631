//! The STUN and TURN servers that clients are told of: those of the configuration, and the TURN server
//! of the room's node with credentials made for the one participant.

use super::api::TurnIssuing;
use livekit_protocol as lk;
use proto::id::{NodeId, ParticipantSid};
use proto::media::TurnOffer;
use proto::turn::{URL_BYTES_MAX, URLS_MAX};
use std::collections::BTreeMap;

/// The nodes' TURN servers.
#[derive(Debug, Default)]
pub(super) struct TurnServers {
    /// As large as the nodes are many.
    urls: BTreeMap<NodeId, Vec<String>>,
}

impl TurnServers {
    /// What a node offers from now on. What is no TURN URL is left out: it would go to every client.
    pub(super) fn set(&mut self, node: NodeId, offer: TurnOffer) {
        let urls = offer.urls.into_iter().filter(|url| is_turn_url(url));
        let urls: Vec<String> = urls.take(URLS_MAX).collect();
        if urls.is_empty() {
            self.urls.remove(&node);
        } else {
            self.urls.insert(node, urls);
        }
    }

    /// The node is gone.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.urls.remove(node);
    }

    /// The TURN server for somebody whose media is at `node`.
    pub(super) fn server(
        &self,
        node: &NodeId,
        participant: &ParticipantSid,
        issuing: Option<&TurnIssuing>,
        unix_ms: i64,
    ) -> Option<lk::IceServer> {
        let (urls, issuing) = self.urls.get(node).zip(issuing)?;
        let now_s = u64::try_from(unix_ms / 1000).unwrap_or(0);
        let expires_s = now_s.saturating_add(issuing.lifetime.as_secs());
        let made = issuing.secret.issue(participant.as_str(), expires_s);
        Some(lk::IceServer {
            urls: urls.clone(),
            username: made.username,
            credential: made.password,
        })
    }
}

fn is_turn_url(url: &str) -> bool {
    let has_scheme = url.starts_with("turn:") || url.starts_with("turns:");
    // They stand between `<` and `>` in a `Link` header.
    let is_plain = url
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte));
    has_scheme && is_plain && url.len() <= URL_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::turn::TurnSecret;
    use std::time::Duration;

    fn offer(urls: &[&str]) -> TurnOffer {
        TurnOffer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    fn issuing() -> TurnIssuing {
        TurnIssuing {
            secret: TurnSecret::new("a secret").unwrap(),
            lifetime: Duration::from_secs(60),
        }
    }

    #[test]
    fn only_the_rooms_node_is_told_with_credentials_of_the_participant() {
        let (one, two) = (NodeId::new("n1"), NodeId::new("n2"));
        let mut servers = TurnServers::default();
        servers.set(one.clone(), offer(&["turn:a:3478?transport=udp"]));
        let sid = ParticipantSid::new("PA_1");
        let server = |servers: &TurnServers, node, issuing: Option<&TurnIssuing>| {
            servers.server(node, &sid, issuing, 5_000)
        };
        let told = server(&servers, &one, Some(&issuing())).unwrap();
        assert_eq!(told.urls, ["turn:a:3478?transport=udp"]);
        assert_eq!(told.username, "65:PA_1");
        let user = issuing().secret;
        assert_eq!(
            user.check(&told.username, 64).unwrap().password,
            told.credential
        );
        assert!(server(&servers, &two, Some(&issuing())).is_none());
        assert!(server(&servers, &one, None).is_none());
        servers.forget(&one);
        assert!(server(&servers, &one, Some(&issuing())).is_none());
    }

    #[test]
    fn what_is_no_turn_url_is_left_out() {
        let mut servers = TurnServers::default();
        let long = format!("turn:{}", "a".repeat(URL_BYTES_MAX));
        let bad = [
            "http://a", "turn:a b", "turn:a>", "turn:\"a", "turn:ä", &long,
        ];
        servers.set(NodeId::new("n1"), offer(&bad));
        assert!(servers.urls.is_empty());
        let many: Vec<String> = (0..20).map(|n| format!("turns:a:{n}")).collect();
        servers.set(NodeId::new("n1"), TurnOffer { urls: many });
        assert_eq!(servers.urls[&NodeId::new("n1")].len(), URLS_MAX);
    }
}
