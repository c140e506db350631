//! The engine in numbers, for those who operate it.
//!
//! Owns: what is counted and in which words. Nothing here runs per packet.

use super::allocate::Limit;
use super::rating::{self, Signs};
use super::transport::Transport;
use super::{Engine, SubscriptionKey, TransportKey};
use proto::media::{NodeEvent, TransportLoss};
use std::collections::HashMap;
use std::time::Duration;
use str0m::media::{Mid, Rid};
use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};

/// How often each transport says how it is doing: one event for each of its streams.
pub(super) const QUALITY_EVERY: Duration = Duration::from_secs(10);

/// The engine in numbers. Counters are since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Census {
    /// Forwarded tracks, counted for each receiver.
    pub subscriptions: u32,
    /// Transports that were never up.
    pub connecting: u32,
    /// Transports that are up.
    pub connected: u32,
    /// Transports that were up, and nothing comes from their peer.
    pub unreachable: u32,
    /// Transports that ended because nothing came from their peer.
    pub lost_silent: u64,
    /// Transports that the peer closed.
    pub lost_closed: u64,
    /// Transports that ended by a fault of this program.
    pub lost_fault: u64,
    /// NACKs of receivers.
    pub nacks_in: u64,
    /// NACKs to publishers.
    pub nacks_out: u64,
    /// Key frames that receivers asked for.
    pub keyframes_in: u64,
    /// Key frames that publishers were asked for.
    pub keyframes_out: u64,
    /// Packets of tracks that came from other members of their rooms.
    pub relayed_in: u64,
    /// Packets of tracks that went to other members, counted for each.
    pub relayed_out: u64,
    /// Mean share of packets lost from publishers.
    pub loss_in: f32,
    /// Mean share of packets lost to receivers.
    pub loss_out: f32,
    /// Mean round trip.
    pub rtt: Duration,
}

impl Census {
    /// Those of another engine of the same node besides. Means count by transports.
    pub(crate) fn add(&mut self, other: &Self) {
        let weight = |census: &Self| f32::from(u16::try_from(census.connected).unwrap_or(u16::MAX));
        let (ours, theirs) = (weight(self), weight(other));
        let all = (ours + theirs).max(1.0);
        let mean = |a: f32, b: f32| (a * ours + b * theirs) / all;
        self.loss_in = mean(self.loss_in, other.loss_in);
        self.loss_out = mean(self.loss_out, other.loss_out);
        let rtt = mean(self.rtt.as_secs_f32(), other.rtt.as_secs_f32());
        self.rtt = Duration::try_from_secs_f32(rtt).unwrap_or_default();
        self.subscriptions += other.subscriptions;
        self.connecting += other.connecting;
        self.connected += other.connected;
        self.unreachable += other.unreachable;
        self.lost_silent += other.lost_silent;
        self.lost_closed += other.lost_closed;
        self.lost_fault += other.lost_fault;
        self.nacks_in += other.nacks_in;
        self.nacks_out += other.nacks_out;
        self.keyframes_in += other.keyframes_in;
        self.keyframes_out += other.keyframes_out;
        self.relayed_in += other.relayed_in;
        self.relayed_out += other.relayed_out;
    }
}

/// What one transport said of itself last.
#[derive(Debug, Default)]
pub(super) struct Quality {
    loss_in: Option<f32>,
    loss_out: Option<f32>,
    rtt: Option<Duration>,
    /// NACKs by stream. A stream that begins anew begins at 0.
    nacks_in: HashMap<(Mid, Option<Rid>), u64>,
    nacks_out: HashMap<(Mid, Option<Rid>), u64>,
}

impl Engine {
    /// Everything in numbers.
    pub fn census(&self) -> Census {
        let counters = &self.outbox.counters;
        let mut census = Census {
            subscriptions: u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX),
            nacks_in: counters.nacks_in,
            nacks_out: counters.nacks_out,
            keyframes_in: counters.keyframes_in,
            keyframes_out: counters.keyframes_out,
            relayed_in: counters.relayed_in,
            relayed_out: self.relays.packets_out(),
            lost_silent: counters.lost_silent,
            lost_closed: counters.lost_closed,
            lost_fault: counters.lost_fault,
            ..Census::default()
        };
        let (mut loss_in, mut loss_out) = (Mean::default(), Mean::default());
        let mut rtt = Mean::default();
        for (_, transport) in self.transports.iter() {
            match transport {
                Transport {
                    connected: false, ..
                } => census.connecting += 1,
                Transport {
                    ice_lost_at: Some(_),
                    ..
                } => census.unreachable += 1,
                _ => census.connected += 1,
            }
            loss_in.add(transport.quality.loss_in);
            loss_out.add(transport.quality.loss_out);
            rtt.add(transport.quality.rtt.map(|rtt| rtt.as_secs_f32()));
        }
        census.loss_in = loss_in.value();
        census.loss_out = loss_out.value();
        census.rtt = Duration::try_from_secs_f32(rtt.value()).unwrap_or_default();
        census
    }

    pub(super) fn note_peer(&mut self, key: TransportKey, stats: &PeerStats) {
        if let Some(transport) = self.transports.get_mut(key) {
            let quality = &mut transport.quality;
            quality.loss_in = stats.ingress_loss_fraction;
            quality.loss_out = stats.egress_loss_fraction;
            quality.rtt = stats.rtt;
        }
        self.say_rating(key);
    }

    /// Tells the shard how good a participant's connection is, if that changed.
    fn say_rating(&mut self, key: TransportKey) {
        let Some(transport) = self.transports.get(key) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(transport.owner) else {
            return;
        };
        // On two connections the one that it receives on says more.
        if participant
            .subscriber
            .is_some_and(|receiving| receiving != key)
        {
            return;
        }
        let quality = &transport.quality;
        let starved = |key: &SubscriptionKey| {
            let subscription = self.subscriptions.get(*key);
            subscription.is_some_and(|it| it.limit == Limit::Nothing)
        };
        let rating = rating::rate(Signs {
            loss: quality
                .loss_in
                .unwrap_or(0.0)
                .max(quality.loss_out.unwrap_or(0.0)),
            rtt: quality.rtt.unwrap_or_default(),
            starved: participant.subscriptions.iter().any(starved),
        });
        if participant.told_rating.replace(rating) != Some(rating) {
            let participant = participant.sid.clone();
            let event = NodeEvent::ConnectionRated {
                participant,
                rating,
            };
            self.outbox.events.push_back(event);
        }
    }

    pub(super) fn note_ingress(&mut self, key: TransportKey, stats: &MediaIngressStats) {
        if let Some(transport) = self.transports.get_mut(key) {
            let stream = (stats.mid, stats.rid);
            let more = grown(&mut transport.quality.nacks_out, stream, stats.nacks);
            self.outbox.counters.nacks_out += more;
        }
    }

    pub(super) fn note_egress(&mut self, key: TransportKey, stats: &MediaEgressStats) {
        if let Some(transport) = self.transports.get_mut(key) {
            let stream = (stats.mid, stats.rid);
            let more = grown(&mut transport.quality.nacks_in, stream, stats.nacks);
            self.outbox.counters.nacks_in += more;
        }
    }

    pub(super) fn note_loss(&mut self, reason: TransportLoss) {
        let counters = &mut self.outbox.counters;
        match reason {
            TransportLoss::IceTimeout => counters.lost_silent += 1,
            TransportLoss::PeerClosed => counters.lost_closed += 1,
            TransportLoss::Fault => counters.lost_fault += 1,
        }
    }
}

/// How much a stream's count has grown since the last look.
fn grown(last: &mut HashMap<(Mid, Option<Rid>), u64>, stream: (Mid, Option<Rid>), now: u64) -> u64 {
    let before = last.insert(stream, now).unwrap_or_default();
    now.checked_sub(before).unwrap_or(now)
}

/// The mean of those who said something, 0 if nobody did.
#[derive(Default)]
struct Mean {
    sum: f32,
    count: f32,
}

impl Mean {
    fn add(&mut self, value: Option<f32>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value;
            self.count += 1.0;
        }
    }

    fn value(&self) -> f32 {
        if self.count > 0.0 {
            self.sum / self.count
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_stream_has_more_is_counted_and_a_new_stream_begins_at_0() {
        let mut last = HashMap::new();
        let stream = (Mid::from("0"), None);
        assert_eq!(grown(&mut last, stream, 5), 5);
        assert_eq!(grown(&mut last, stream, 7), 2);
        assert_eq!(grown(&mut last, stream, 7), 0);
        assert_eq!(
            grown(&mut last, stream, 3),
            3,
            "another stream in its place"
        );
        assert_eq!(grown(&mut last, (Mid::from("1"), None), 4), 4);
    }

    #[test]
    fn who_says_nothing_is_not_in_the_mean() {
        let mut mean = Mean::default();
        assert_eq!(mean.value(), 0.0);
        for value in [Some(0.1), None, Some(0.3), Some(f32::NAN)] {
            mean.add(value);
        }
        assert!((mean.value() - 0.2).abs() < 1e-6);
    }
}
