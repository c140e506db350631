//! Participants who left a short while ago.
//!
//! Owns: what a client that comes back must hear about those it missed leaving. Must not: know why it
//! was away.

use super::limits::DEPARTED_MAX;
use super::state::as_protobuf;
use livekit_protocol as lk;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One of them, on the way to another shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gone {
    /// Protobuf.
    #[serde(with = "as_protobuf")]
    pub(super) info: lk::ParticipantInfo,
    /// To be kept for, milliseconds.
    pub(super) for_ms: u64,
}

/// The newest last. Clients take nobody away whom an update does not name, so each must be named.
#[derive(Clone, Debug, Default)]
pub(super) struct Departed(VecDeque<(Instant, lk::ParticipantInfo)>);

impl Departed {
    /// Notes who left, to be forgotten after `kept`.
    pub(super) fn note(&mut self, gone: &lk::ParticipantInfo, kept: Duration, now: Instant) {
        let others = |(until, other): &(Instant, lk::ParticipantInfo)| {
            *until > now && other.identity != gone.identity
        };
        self.0.retain(others);
        if self.0.len() >= DEPARTED_MAX {
            self.0.pop_front();
        }
        // Without its texts, which may be long and are of no use any more.
        let info = lk::ParticipantInfo {
            sid: gone.sid.clone(),
            identity: gone.identity.clone(),
            state: gone.state,
            version: gone.version,
            kind: gone.kind,
            joined_at: gone.joined_at,
            joined_at_ms: gone.joined_at_ms,
            disconnect_reason: gone.disconnect_reason,
            ..Default::default()
        };
        self.0.push_back((now + kept, info));
    }

    /// For another shard.
    pub(super) fn export(&self, now: Instant) -> Vec<Gone> {
        let known = self.0.iter().filter(|(until, _)| *until > now);
        let gone = known.map(|(until, info)| Gone {
            info: info.clone(),
            for_ms: u64::try_from((*until - now).as_millis()).unwrap_or(0),
        });
        gone.collect()
    }

    /// From another shard.
    pub(super) fn import(gone: &[Gone], now: Instant) -> Self {
        let mut departed = Self::default();
        for one in gone {
            departed.note(&one.info, Duration::from_millis(one.for_ms), now);
        }
        departed
    }

    /// Those who left and are not forgotten yet.
    pub(super) fn infos(&self, now: Instant) -> impl Iterator<Item = &lk::ParticipantInfo> {
        let known = self.0.iter().filter(move |(until, _)| *until > now);
        known.map(|(_, info)| info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_if_there_are_too_many_and_nobody_is_there_twice() {
        let mut departed = Departed::default();
        let now = Instant::now();
        let mut note = |sid: &str, identity: &str| {
            let info = lk::ParticipantInfo {
                sid: sid.into(),
                identity: identity.into(),
                ..Default::default()
            };
            departed.note(&info, Duration::from_secs(1), now);
        };
        note("PA_1", "ada");
        note("PA_2", "bo");
        note("PA_3", "ada");
        for number in 2..DEPARTED_MAX {
            note("PA_x", &number.to_string());
        }
        note("PA_y", "cy");
        let sids: Vec<_> = departed.infos(now).map(|info| info.sid.as_str()).collect();
        assert_eq!((sids.len(), sids[0]), (DEPARTED_MAX, "PA_3"));
        assert_eq!(departed.infos(now + Duration::from_secs(1)).count(), 0);
    }
}
