//! Going on without a lease, and helping others to.
//!
//! Owns: the promises of the other shards, and ours to them. Must not: extend anything unless every
//! life that could take our rooms over has said that it will not.
//!
//! The directory lets a lapsed life's rooms go only to lives that it knew (see
//! [`crate::directory::DirectoryState`]). So a shard that cannot renew asks each life it knows to
//! *keep* it. One that reaches the directory relays the renewal. One that does not promises to claim
//! nothing for a while; with promises of all, the shard goes on for that long, counted from asking,
//! less [`MARGIN_MS`]. Whoever does not answer ends it.
//!
//! A new life of the directory does not know who knew whom. It lets nobody claim before most of all
//! shards have a lease in it, and those who go on without one must be more than half: so one is among
//! both, and its promise says that it has met the new life.

use super::{Duration, Instant, Ownership, RequestId, Topic};
use crate::ShardId;
use crate::directory::{
    DirectoryIncarnation, DirectoryUnreachable, Incarnation, Life, MARGIN_MS, RENEW_MS, Reply,
    Request, Roster,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How long a shard that has promised claims nothing, milliseconds. As long as a lease, so that one
/// lost question does not end a hold.
pub const PROMISE_MS: u64 = 3_000;

/// A renewal without an answer for this long, milliseconds, is trouble. Early enough for a promise
/// before the deadline, late enough for one slow answer.
const PATIENCE_MS: u64 = RENEW_MS + RENEW_MS / 2;

/// Earlier lives of this process that are remembered, to speak for them.
const PAST_MAX: usize = 16;

const PROMISE: Duration = Duration::from_millis(PROMISE_MS);
const MARGIN: Duration = Duration::from_millis(MARGIN_MS);
const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS);
const ASK_AGAIN: Duration = Duration::from_millis(RENEW_MS);

/// One shard asks another one to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keep {
    /// The asked life; a later life of the same process can speak for it, another process cannot.
    pub life: Incarnation,
    /// The asking shard's renewal, to be relayed if possible.
    pub renewal: Request,
}

/// What the asked shard says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// The directory's answer to the relayed renewal.
    Relayed(Reply),
    /// It claims nothing for this long, milliseconds from being asked.
    Promised {
        /// Milliseconds.
        for_ms: u64,
        /// The directory life it knows. It promises nothing to those who know another one.
        directory: Option<DirectoryIncarnation>,
    },
    /// It cannot say.
    No,
}

/// What the asked shard is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepDuty {
    /// Pass the renewal on to the directory; if that fails, [`Ownership::relay_failed`].
    Relay(Request),
    /// Answer this.
    Answer(Kept),
}

/// A question to another shard, to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// To be answered by [`Ownership::handle_kept`].
    pub id: RequestId,
    /// Whom.
    pub shard: ShardId,
    /// Where it is reached.
    pub url: String,
    /// What.
    pub keep: Keep,
}

/// Another shard that could take our rooms over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Peer {
    life: Life,
    /// It claims nothing until then, by our clock.
    promised: Option<Instant>,
    ask_at: Instant,
}

/// The others, as far as they matter for a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hold {
    /// Version of the roster at the present directory life; 0: none yet.
    pub(super) knows: u64,
    peers: BTreeMap<ShardId, Peer>,
    /// Who had a lease by the last news of the present directory life; kept when our own lease ends.
    met: Option<BTreeMap<ShardId, Incarnation>>,
    /// Send time of the last renewal that succeeded.
    renewed: Option<Instant>,
    /// The last renewal has failed.
    failed: bool,
    /// In the topology.
    shards: u32,
    /// No hold beyond.
    limit: Option<Instant>,
    /// Our promise: no claims until then.
    promised: Option<Instant>,
    past: VecDeque<Incarnation>,
}

impl Hold {
    pub(super) fn renewed(&mut self, sent_at: Instant, limit: Option<Instant>, shards: u32) {
        self.shards = shards;
        self.renewed = self.renewed.max(Some(sent_at));
        self.failed = false;
        // No limit is a ban: the directory waits for us no longer.
        self.limit = limit.map(|limit| self.limit.map_or(limit, |before| before.max(limit)));
    }

    pub(super) fn renewal_failed(&mut self) {
        self.failed = true;
    }

    /// True if it was news.
    pub(super) fn learn(&mut self, roster: Roster, now: Instant) -> bool {
        if roster.version <= self.knows {
            return false;
        }
        self.knows = roster.version;
        let lives = roster.lives.iter();
        self.met = Some(
            lives
                .map(|life| (life.shard.clone(), life.incarnation))
                .collect(),
        );
        let mut before = std::mem::take(&mut self.peers);
        for life in roster.lives {
            let known = before
                .remove(&life.shard)
                .filter(|peer| peer.life.incarnation == life.incarnation);
            let (promised, ask_at) = known.map_or((None, now), |peer| (peer.promised, peer.ask_at));
            let shard = life.shard.clone();
            let peer = Peer {
                life,
                promised,
                ask_at,
            };
            self.peers.insert(shard, peer);
        }
        true
    }

    /// A new directory life, or no lease at all: nothing of this can extend anything any more. What
    /// we have promised stays promised.
    pub(super) fn reset(&mut self) {
        *self = Self {
            promised: self.promised,
            past: std::mem::take(&mut self.past),
            met: self.met.take(),
            ..Self::default()
        };
    }

    /// The directory has a new life: whom we have met in the one before says nothing any more.
    pub(super) fn reset_all(&mut self) {
        self.reset();
        self.met = None;
    }

    pub(super) fn life_over(&mut self, life: Incarnation) {
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(life);
    }

    fn in_trouble(&self, now: Instant) -> bool {
        self.failed || self.renewed.is_none_or(|renewed| now >= renewed + PATIENCE)
    }

    /// Until when all others have promised to claim nothing. Without others: as long as may be.
    pub(super) fn until(&self) -> Option<Instant> {
        let limit = self.limit?;
        // Those that the topology does not name do not count: the other side does not count them.
        let named = self.peers.values().filter(|peer| !peer.life.url.is_empty());
        let here = named.count().saturating_add(1);
        if self.shards == 0
            || here.saturating_mul(2) <= usize::try_from(self.shards).unwrap_or(usize::MAX)
        {
            return None;
        }
        let mut until = limit;
        for peer in self.peers.values() {
            until = until.min(peer.promised?);
        }
        Some(until)
    }

    /// When the next question is due.
    fn ask_at(&self) -> Option<Instant> {
        self.limit?;
        let trouble = if self.failed {
            None
        } else {
            self.renewed.map(|renewed| renewed + PATIENCE)
        };
        let first = self.peers.values().map(|peer| peer.ask_at).min()?;
        Some(trouble.map_or(first, |trouble| first.max(trouble)))
    }

    pub(super) fn no_claims_until(&self) -> Option<Instant> {
        self.promised
    }
}

impl Ownership {
    /// The next question to another shard. Send it now, like a request.
    pub fn poll_question(&mut self, now: Instant) -> Option<Question> {
        let may = self.leased && !self.resigned() && !self.past_end(now);
        if !may || self.is_crowded() || self.hold.limit.is_none() || !self.hold.in_trouble(now) {
            return None;
        }
        let due = self.hold.peers.iter_mut().find(|(_, p)| p.ask_at <= now);
        let (shard, peer) = due?;
        peer.ask_at = now + ASK_AGAIN;
        let (shard, life, url) = (shard.clone(), peer.life.incarnation, peer.life.url.clone());
        let renewal = self.renewal();
        let topic = Topic::Keep {
            shard: shard.clone(),
            life,
        };
        let (id, renewal) = self.send(topic, renewal, now);
        let keep = Keep { life, renewal };
        Some(Question {
            id,
            shard,
            url,
            keep,
        })
    }

    /// The directory does not answer us.
    pub(super) fn is_in_trouble(&self, now: Instant) -> bool {
        self.hold.in_trouble(now)
    }

    /// The other shards, as the directory named them last.
    pub fn others(&self) -> impl Iterator<Item = &Life> {
        self.hold.peers.values().map(|peer| &peer.life)
    }

    pub(super) fn next_question_at(&self) -> Option<Instant> {
        self.leased.then(|| self.hold.ask_at())?
    }

    /// The answer to a question; an error if there is none. `fresh` as in
    /// [`Ownership::handle_timeout`].
    pub fn handle_kept(
        &mut self,
        id: RequestId,
        kept: Result<Kept, DirectoryUnreachable>,
        fresh: Incarnation,
        now: Instant,
    ) {
        let Ok(kept) = kept else {
            return self.handle_reply(id, Err(DirectoryUnreachable("peer".into())), fresh, now);
        };
        if let Kept::Relayed(reply) = kept {
            return self.handle_reply(id, Ok(reply), fresh, now);
        }
        self.handle_timeout(fresh, now);
        let Some(sent) = self.in_flight.remove(&id) else {
            return;
        };
        let Topic::Keep { shard, life } = &sent.topic else {
            return;
        };
        if !self.is_current(&sent) {
            return;
        }
        match kept {
            Kept::Promised { directory, .. } if directory != self.directory => {}
            Kept::Promised { for_ms, .. } => {
                let length = Duration::from_millis(for_ms.min(PROMISE_MS)).saturating_sub(MARGIN);
                if let Some(peer) = self.hold.peers.get_mut(shard)
                    && peer.life.incarnation == *life
                {
                    peer.promised = peer.promised.max(Some(sent.sent_at + length));
                }
            }
            Kept::Relayed(_) | Kept::No => {}
        }
    }

    /// Another shard asks to be kept.
    pub fn handle_keep(&mut self, keep: Keep, now: Instant) -> KeepDuty {
        let is_ours = keep.life == self.incarnation || self.hold.past.contains(&keep.life);
        let is_renewal = matches!(keep.renewal, Request::Renew { .. });
        if !is_ours || !is_renewal || self.resigned() {
            return KeepDuty::Answer(Kept::No);
        }
        if self.outlived(&keep.renewal) {
            return KeepDuty::Answer(Kept::No);
        }
        if self.leased && !self.past_end(now) && !self.hold.in_trouble(now) {
            return KeepDuty::Relay(keep.renewal);
        }
        KeepDuty::Answer(self.promise(now))
    }

    /// Whether the asking life has no lease any more, as far as we know: it does not know that, because
    /// its clock stood still, and what it had may be ours by now.
    fn outlived(&self, renewal: &Request) -> bool {
        let Request::Renew { holder, .. } = renewal else {
            return true;
        };
        let Some(met) = self.hold.met.as_ref() else {
            return false;
        };
        holder.directory == self.directory && met.get(&holder.shard) != Some(&holder.incarnation)
    }

    /// The relayed renewal got no answer: then the directory is out of our reach, too.
    pub fn relay_failed(&mut self, now: Instant) -> Kept {
        self.hold.renewal_failed();
        self.renew_at = self.renew_at.min(now);
        self.promise(now)
    }

    fn promise(&mut self, now: Instant) -> Kept {
        self.hold.promised = self.hold.promised.max(Some(now + PROMISE));
        Kept::Promised {
            for_ms: PROMISE_MS,
            directory: self.directory,
        }
    }

    /// We have promised to claim nothing: not even what was granted meanwhile is taken.
    pub(super) fn has_promised(&self, now: Instant) -> bool {
        self.hold.promised.is_some_and(|until| now < until)
    }
}
