//! HTTP, WebSocket, token and clock: what the gateway and the room's shard answer.

use crate::core::report::Finding;
use crate::core::token::Claims;

/// Clocks that differ by more are worth a warning: the server bears 60 s (seconds).
const SKEW_WARNING_S: i64 = 30;
/// What a shard says to a request that should have been a WebSocket's.
const NO_UPGRADE: &str = "this path is a WebSocket";

/// An HTTP answer, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `x-anteroom-shard`.
    pub(crate) shard: Option<String>,
    /// `Date`, seconds since 1970.
    pub(crate) date: Option<i64>,
    /// The body, shortened, in one line.
    pub(crate) text: String,
}

impl Answer {
    fn by(&self) -> String {
        match &self.shard {
            Some(shard) => format!("shard {shard}"),
            None => "the server".to_owned(),
        }
    }

    fn words(&self) -> String {
        match self.text.as_str() {
            "" => self.status.to_string(),
            text => format!("{} {text}", self.status),
        }
    }
}

/// What asking for the room's page brought.
pub(crate) fn http(answer: &Result<Answer, String>) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(cause) => {
            return Finding::failed(
                cause.clone(),
                "something takes connections there and is no web server: check the URL's scheme and \
                 port against `gateway.listen`",
            );
        }
    };
    match answer.status {
        200..=399 => {
            let finding = Finding::ok(format!("{} by {}", answer.status, answer.by()));
            match answer.shard {
                Some(_) => finding,
                None => finding.warn(
                    "the answer has no `x-anteroom-shard`: it is of another server, a proxy drops the \
                     field, or `gateway.announce_shard` is off",
                ),
            }
        }
        500..=599 => unavailable(answer),
        400 => Finding::failed(answer.words(), "give the room another name: --room"),
        429 => Finding::failed(answer.words(), "try again later"),
        _ => Finding::failed(
            format!("{} answers {}", answer.by(), answer.words()),
            "this is no gateway of ours: check the URL, and what a proxy in front sends where",
        ),
    }
}

/// The gateway is there, and nobody behind it.
fn unavailable(answer: &Answer) -> Finding {
    match &answer.shard {
        Some(shard) => Finding::failed(
            format!(
                "the gateway answers, shard {shard} does not: {}",
                answer.words()
            ),
            format!(
                "start shard {shard}; the gateway must reach its `shard.listen` at the `url` in \
                 `gateway.shards`"
            ),
        ),
        None => Finding::failed(
            format!("no shard takes the room: {}", answer.words()),
            "start the shards; the gateway's `/readyz` and `anteroom shards ls` say which have a \
             lease. If there is no gateway in the answer, a proxy in front cannot reach it",
        ),
    }
}

/// What came of a WebSocket's handshake without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// It was opened.
    Open,
    /// Another status.
    Status(u16, String),
    /// No HTTP, or none in time.
    Broken(String),
}

/// Whether a WebSocket gets through. A shard looks at the handshake before it looks at the token.
pub(crate) fn websocket(outcome: &Handshake) -> Finding {
    const PROXY: &str = "let the proxy in front pass on `Upgrade` and `Connection` over HTTP/1.1 (nginx: \
        `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \
        \"upgrade\";`), or have it pass TCP through";
    match outcome {
        Handshake::Open => Finding::ok("opened"),
        Handshake::Status(401 | 403, _) => Finding::ok("the handshake reaches the shard"),
        Handshake::Status(status @ 502..=504, text) => Finding::failed(
            format!("the handshake gets {status} {text}"),
            "the shard went away meanwhile, or a proxy in front does not pass WebSockets on: see its \
             log",
        ),
        Handshake::Status(404, text) if text.contains(NO_UPGRADE) => Finding::failed(
            "something in between takes the `Upgrade` field out of the handshake",
            PROXY,
        ),
        Handshake::Status(status @ (200..=299 | 400 | 404 | 405 | 426), text) => Finding::failed(
            format!("the handshake is answered like an ordinary request: {status} {text}"),
            PROXY,
        ),
        Handshake::Status(status, text) => Finding::failed(
            format!("the handshake gets {status} {text}"),
            "see what answers so: the gateway, or something in front of it",
        ),
        Handshake::Broken(cause) => Finding::failed(
            format!("the handshake breaks: {cause}"),
            "something in between ends connections that become WebSockets: firewalls and proxies that \
             look into HTTP do; use https://, which hides them",
        ),
    }
}

/// What the shard says of the token, which has these claims, at this time here.
pub(crate) fn token(
    answer: &Result<Answer, String>,
    claims: Option<&Claims>,
    now_s: i64,
) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(cause) => {
            return Finding::failed(cause.clone(), "the connection broke: try again");
        }
    };
    match answer.status {
        200 => Finding::ok(format!("{} takes it", answer.by())),
        401 => {
            let cause = format!("{}: {}", answer.by(), answer.text);
            Finding::failed(cause, token_cure(answer, claims, now_s))
        }
        403 => Finding::failed(answer.words(), "the token needs the grant `video.roomJoin`"),
        400 => Finding::failed(
            answer.words(),
            "use a token whose `video.room` is the room that is joined, or no --room",
        ),
        500..=599 => unavailable(answer),
        _ => Finding::failed(
            answer.words(),
            "a proxy in front does not pass on `/r/{room}/rtc/v1/validate`: it must pass on all below \
             `/r/`",
        ),
    }
}

fn token_cure(answer: &Answer, claims: Option<&Claims>, now_s: i64) -> String {
    let text = &answer.text;
    let server_s = answer.date.unwrap_or(now_s);
    let skew = now_s - server_s;
    if text.contains("expired") || text.contains("not valid yet") {
        let about_times = claims.map_or_else(String::new, |claims| {
            let nbf = i64::try_from(claims.nbf).unwrap_or(i64::MAX);
            let exp = i64::try_from(claims.exp).unwrap_or(i64::MAX);
            if exp < server_s {
                format!(" (it ended {} s ago by the server's clock)", server_s - exp)
            } else if nbf > server_s {
                format!(" (it begins in {} s by the server's clock)", nbf - server_s)
            } else {
                String::new()
            }
        });
        if skew.abs() > SKEW_WARNING_S {
            return format!(
                "the clocks differ by {} s{about_times}: set them by NTP, on the server and where \
                 tokens are made",
                skew.abs()
            );
        }
        return format!("make a new token{about_times}");
    }
    if text.contains("signature") {
        return "the API secret is another one than in the server's `keys`: give --api-secret, and \
            check the application's"
            .to_owned();
    }
    if text.contains("issuer") {
        return "the API key is not in the server's `keys`: give --api-key, and check the \
            application's; after a change of `keys` the shards must be started anew"
            .to_owned();
    }
    if text.contains("no access token") {
        return "a proxy in front drops the field `Authorization`: let it pass".to_owned();
    }
    "give --api-key and --api-secret of the server's `keys`, or --token".to_owned()
}

/// A warning if the clocks differ: of the server's `Date`, and here before and after it was asked.
pub(crate) fn clock(date_s: i64, before_s: i64, after_s: i64) -> Option<String> {
    // `Date` has whole seconds.
    let ahead = before_s - date_s - 1;
    let behind = date_s - after_s;
    let (by, what) = if ahead > SKEW_WARNING_S {
        (ahead, "ahead of")
    } else if behind > SKEW_WARNING_S {
        (behind, "behind")
    } else {
        return None;
    };
    Some(format!(
        "this machine's clock is {by} s {what} the server's: from 60 s on tokens made here are refused; \
         set both by NTP"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Status;

    fn answer(status: u16, shard: Option<&str>, text: &str) -> Answer {
        Answer {
            status,
            shard: shard.map(str::to_owned),
            date: Some(1_000),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_shard_that_is_down_is_named() {
        let finding = http(&Ok(answer(307, Some("s1"), "")));
        assert_eq!(
            (finding.status, finding.says.as_str()),
            (Status::Ok, "307 by shard s1")
        );
        assert!(finding.warnings.is_empty());
        let finding = http(&Ok(answer(200, None, "")));
        assert!(finding.warnings[0].contains("announce_shard"));
        let finding = http(&Ok(answer(503, Some("s2"), "it does not answer")));
        assert_eq!(finding.status, Status::Failed);
        assert!(
            finding
                .says
                .contains("shard s2 does not: 503 it does not answer")
        );
        assert!(finding.fix.contains("start shard s2"));
        let finding = http(&Ok(answer(503, None, "no shard takes rooms")));
        assert!(finding.fix.contains("readyz"), "{}", finding.fix);
        let finding = http(&Ok(answer(404, None, "")));
        assert!(finding.fix.contains("no gateway of ours"));
        assert_eq!(http(&Err("closed".to_owned())).status, Status::Failed);
    }

    #[test]
    fn a_proxy_that_takes_the_upgrade_away_is_found() {
        let open = [
            Handshake::Open,
            Handshake::Status(401, "no access token".to_owned()),
        ];
        for outcome in open {
            assert_eq!(websocket(&outcome).status, Status::Ok);
        }
        let stripped = Handshake::Status(404, "this path is a WebSocket".to_owned());
        let finding = websocket(&stripped);
        assert!(
            finding.says.contains("takes the `Upgrade` field out"),
            "{}",
            finding.says
        );
        assert!(finding.fix.contains("proxy_set_header Upgrade"));
        let finding = websocket(&Handshake::Status(426, String::new()));
        assert!(finding.fix.contains("proxy_set_header Upgrade"));
        let finding = websocket(&Handshake::Broken("reset".to_owned()));
        assert!(finding.says.contains("reset") && finding.fix.contains("https://"));
        assert_eq!(
            websocket(&Handshake::Status(502, String::new())).status,
            Status::Failed
        );
    }

    #[test]
    fn a_token_is_refused_for_a_reason() {
        let claims = Claims {
            nbf: 2_000,
            exp: 5_600,
            ..Claims::default()
        };
        let cure = |text: &str, now_s| {
            let refused = Ok(answer(401, Some("s1"), text));
            let finding = token(&refused, Some(&claims), now_s);
            assert_eq!(finding.status, Status::Failed);
            assert!(finding.says.starts_with("shard s1: "), "{}", finding.says);
            finding.fix
        };
        assert!(cure("the access token's signature is wrong", 1_000).contains("--api-secret"));
        assert!(cure("the access token's issuer is no API key", 1_000).contains("--api-key"));
        assert!(cure("no access token: send it", 1_000).contains("Authorization"));
        let early = cure("the access token is not valid yet", 2_000);
        assert!(early.contains("differ by 1000 s"), "{early}");
        assert!(
            early.contains("begins in 1000 s by the server's clock"),
            "{early}"
        );
        let late = cure("the access token has expired", 1_001);
        assert!(late.contains("make a new token"), "{late}");
        assert_eq!(
            token(&Ok(answer(200, Some("s1"), "")), None, 0).says,
            "shard s1 takes it"
        );
        let other = token(&Ok(answer(400, None, "the room in the URL")), None, 0);
        assert!(other.fix.contains("video.room"));
    }

    #[test]
    fn clocks_may_differ_by_half_a_minute() {
        assert_eq!(clock(1_000, 1_000, 1_001), None);
        assert_eq!(clock(1_000, 1_031, 1_031), None);
        let ahead = clock(1_000, 1_040, 1_041).unwrap();
        assert!(ahead.contains("39 s ahead of"), "{ahead}");
        let behind = clock(1_000, 900, 905).unwrap();
        assert!(behind.contains("95 s behind"), "{behind}");
    }
}
