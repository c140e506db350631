//! Which other members a track goes to, and what they want of it. A record without transports.
//!
//! A member that has a track from here says so again and again; one that has not for a while is gone, or
//! does not want the track any more and its word was lost.

use super::arrived::Arrived;
use super::peers::PeerId;
use proto::media::Quality;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A member that has said nothing for so long gets nothing more: it speaks twice a second.
const LIFETIME: Duration = Duration::from_secs(3);
/// Packets kept to be sent once more. A frame of a 1,700 kbit/s picture has 7 of them; a round trip
/// between nodes takes a few milliseconds.
const KEPT_MAX: usize = 128;

/// One copy of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) peer: PeerId,
    /// What the member calls the track.
    pub(super) alias: u32,
    /// The best layer that anybody wants there; `None`: nobody wants any now.
    pub(super) best: Option<Quality>,
    until: Instant,
}

/// The copies of one track.
#[derive(Debug, Default)]
pub(super) struct Exports {
    exports: Vec<Export>,
    /// What went out last, oldest first.
    kept: VecDeque<Arrived>,
}

impl Exports {
    /// A member says what it wants.
    pub(super) fn want(&mut self, peer: PeerId, alias: u32, best: Option<Quality>, now: Instant) {
        let export = Export {
            peer,
            alias,
            best,
            until: now + LIFETIME,
        };
        match self.exports.iter_mut().find(|known| known.peer == peer) {
            Some(known) => *known = export,
            None => self.exports.push(export),
        }
    }

    /// Drops those that nothing was heard of.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.exports.retain(|export| export.until > now);
        if self.exports.is_empty() {
            self.kept.clear();
        }
    }

    pub(super) fn all(&self) -> &[Export] {
        &self.exports
    }

    /// A member has the track, under which name?
    pub(super) fn alias_of(&self, peer: PeerId) -> Option<u32> {
        let mut exports = self.exports.iter();
        exports.find(|it| it.peer == peer).map(|it| it.alias)
    }

    /// The best layer that any of them wants.
    pub(super) fn best(&self) -> Option<Quality> {
        self.exports.iter().filter_map(|export| export.best).max()
    }

    /// Remembers a packet that goes out.
    pub(super) fn keep(&mut self, packet: &Arrived) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(packet.clone());
    }

    /// A packet that went out not long ago.
    pub(super) fn kept(&self, ssrc: u32, sequence: u64) -> Option<&Arrived> {
        let mut newest_first = self.kept.iter().rev();
        newest_first.find(|kept| *kept.ssrc == ssrc && kept.sequence == sequence)
    }
}
