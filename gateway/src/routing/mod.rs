//! Which room a request belongs to, and which shard is the candidate for it.
//!
//! Owns: the rules of the `native` policy. Every place that names a room is read (path, query,
//! header, verified token), and all must name the same one: a gateway that believes the URL while
//! the shard believes the token would send the join to the wrong shard.
//! Must not: know who owns a live room, open a socket, or read a clock.

mod path;
mod query;

pub(crate) use path::{accepts_offers, is_cross_origin, is_page, split};

use affinity::{
    Decision, Refusal, RequestView, RoomCase, RoomKey, RoomKeyError, RoomSource, Routing, Topology,
};
use path::{Place, classify};
use proto::context::ROOM_HEADER;
use proto::token::{ApiKeys, TokenError};
use std::borrow::Cow;
use std::sync::Arc;

/// Said where a request must name a room and does not.
const WAYS: &str = "no room: name it by an access token (claim `video.room`), by the path \
                    `/r/{room}/...`, by query `room`, or by header `x-anteroom-room`";

/// The rules for Anteroom's own URLs and LiveKit's.
pub struct NativeRouting {
    topology: Arc<Topology>,
    keys: ApiKeys,
    case: RoomCase,
}

/// One place that named a room.
struct Named {
    source: RoomSource,
    room: RoomKey,
}

impl NativeRouting {
    /// Routing over `topology`; tokens are checked against `keys`.
    pub fn new(topology: Arc<Topology>, keys: ApiKeys, case: RoomCase) -> Self {
        Self {
            topology,
            keys,
            case,
        }
    }

    fn named_rooms(
        &self,
        place: Place<'_>,
        request: &RequestView<'_>,
        query: &str,
        now_s: u64,
    ) -> Result<Vec<Named>, Refusal> {
        let params = query::parse(query)
            .map_err(|name| bad(format!("query parameter `{name}` is given more than once")))?;
        let mut named = Vec::new();
        if let Place::Page(raw) | Place::Sticky(raw) = place {
            let room = RoomKey::from_path_segment(raw, self.case);
            named.push(checked(room, RoomSource::Path)?);
        }
        if let Some(token) = token_of(place, request, params.token)? {
            named.extend(self.token_room(&token, place, now_s)?);
        }
        if let Some(raw) = params.room {
            let room = RoomKey::from_query_value(raw, self.case);
            named.push(checked(room, RoomSource::Query)?);
        }
        if let Some(raw) = request.headers.header(ROOM_HEADER) {
            let room = RoomKey::from_header(raw, self.case);
            named.push(checked(room, RoomSource::Header)?);
        }
        Ok(named)
    }

    fn token_room(
        &self,
        token: &str,
        place: Place<'_>,
        now_s: u64,
    ) -> Result<Option<Named>, Refusal> {
        let claims = self
            .keys
            .verify(token, now_s)
            .map_err(|error| unauthorized(&error))?;
        if claims.video.room.is_empty() {
            // Server API tokens (roomCreate, roomList) name the room in the request, if at all.
            if place == (Place::Elsewhere { first: "twirp" }) {
                return Ok(None);
            }
            return Err(Refusal {
                status: 401,
                reason: "the access token names no room: set its claim `video.room`".to_owned(),
            });
        }
        let room = RoomKey::from_claim(&claims.video.room, self.case);
        checked(room, RoomSource::Token).map(Some)
    }

    fn decide(&self, named: &[Named]) -> Result<Decision, Refusal> {
        let Some(first) = named.first() else {
            return Err(bad(WAYS.to_owned()));
        };
        for other in named {
            if other.room != first.room {
                return Err(bad(format!(
                    "the {} names room '{}' and the {} names room '{}': they must be the same",
                    source_name(first.source),
                    first.room.as_str(),
                    source_name(other.source),
                    other.room.as_str()
                )));
            }
        }
        let candidate = self.topology.place(&first.room).ok_or_else(no_shard)?;
        let sources: Vec<_> = named
            .iter()
            .map(|named| source_name(named.source))
            .collect();
        Ok(Decision {
            room: Some(first.room.clone()),
            candidate: candidate.clone(),
            rule: format!("room from {}, placed by the ring", sources.join(" = ")),
            source: Some(first.source),
        })
    }
}

impl Routing for NativeRouting {
    fn route(&self, request: &RequestView<'_>, now_s: u64) -> Result<Decision, Refusal> {
        let (path, query) = split(request.target);
        let place = classify(path);
        match place {
            Place::Anywhere => {
                let candidate = self.topology.any_active(spread(request.target));
                return Ok(Decision {
                    room: None,
                    candidate: candidate.ok_or_else(no_shard)?.clone(),
                    rule: "belongs to no room: any active shard".to_owned(),
                    source: None,
                });
            }
            Place::Unknown => {
                return Err(Refusal {
                    status: 404,
                    reason: "no such path; a room's page is /{room}, its signalling /r/{room}/..."
                        .to_owned(),
                });
            }
            Place::Dots => return Err(bad("`.` and `..` are not taken in a path".to_owned())),
            Place::Page(_) if !matches!(request.method, "GET" | "HEAD") => {
                return Err(Refusal {
                    status: 405,
                    reason: "a room's page takes GET and HEAD".to_owned(),
                });
            }
            Place::Page(_) | Place::Sticky(_) | Place::Elsewhere { .. } => {}
        }
        self.decide(&self.named_rooms(place, request, query, now_s)?)
    }
}

/// The request's token. A page may come with an `Authorization` header that is meant for somebody
/// before us (single sign-on), so that only the query counts there.
fn token_of<'a>(
    place: Place<'_>,
    request: &'a RequestView<'_>,
    query: Option<Cow<'a, str>>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let header = match place {
        Place::Page(_) => None,
        _ => bearer(request)?,
    };
    match (header, query) {
        (Some(header), Some(query)) if header != query => Err(bad(
            "header `Authorization` and query `access_token` carry different tokens".to_owned(),
        )),
        (Some(header), _) => Ok(Some(Cow::Borrowed(header))),
        (None, query) => Ok(query),
    }
}

fn bearer<'a>(request: &'a RequestView<'_>) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = request.headers.header("authorization") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value).map_err(|_| unauthorized(&TokenError::Malformed))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Ok(None),
    }
}

fn checked(room: Result<RoomKey, RoomKeyError>, source: RoomSource) -> Result<Named, Refusal> {
    room.map(|room| Named { source, room })
        .map_err(|error| bad(format!("room name in the {}: {error}", source_name(source))))
}

fn source_name(source: RoomSource) -> &'static str {
    match source {
        RoomSource::Path => "path",
        RoomSource::Query => "query `room`",
        RoomSource::Header => "header `x-anteroom-room`",
        RoomSource::Token => "access token",
        RoomSource::Body => "body",
    }
}

fn bad(reason: String) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}

fn unauthorized(error: &TokenError) -> Refusal {
    Refusal {
        status: 401,
        reason: error.to_string(),
    }
}

fn no_shard() -> Refusal {
    Refusal {
        status: 503,
        reason: "no shard takes rooms at the moment".to_owned(),
    }
}

/// FNV-1a: spreads the requests without a room over the shards, the same way every time.
fn spread(target: &str) -> u64 {
    target.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
