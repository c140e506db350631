//! One probe: some packets sent at a rate, and how fast they arrive (libwebrtc's probe clusters).

use crate::bitrate::Bitrate;
use std::time::{Duration, Instant};

/// A cluster of padding lasts that long, so that the receiver's ticks and its own rhythm matter little.
pub(crate) const LASTS: Duration = Duration::from_millis(30);
/// It is cut to this where the bytes for more are missing.
pub(crate) const LASTS_MIN: Duration = Duration::from_millis(20);
/// From its first packet to its last, at least.
const SPAN_MIN: Duration = Duration::from_millis(15);
pub(crate) const PACKETS_MIN: u32 = 5;
/// Bytes of a packet of padding. Smaller ones would be headers mostly, larger ones do not pass.
const PACKET_MIN: u64 = 200;
const PACKET_MAX: u64 = 1200;
/// It has no meaning if the caller has not sent it after so long.
const STALE: Duration = Duration::from_millis(500);
/// Of the packets, as a share, have to arrive for a result.
const ARRIVED_MIN: f64 = 0.8;
/// Arrived at less than that share of the rate at which it was sent: the link is full.
const FULL_BELOW: f64 = 0.9;
/// Of what a full link carried.
const FULL_SHARE: f64 = 0.95;
/// Arrived so many times faster than sent: something held the packets, and they tell nothing.
const BUNCHED: f64 = 2.0;

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The link carries that much.
    pub(crate) carries: Bitrate,
    /// As far as the probe went: it may be more.
    pub(crate) reached: bool,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) target: Bitrate,
    goal: u64,
    packet: u64,
    created: Instant,
    started: Option<Instant>,
    /// Padding was asked for and has not left.
    asked: bool,
    /// Sent since it started, media too.
    bytes: u64,
    packets: u32,
    numbers: Option<(u64, u64)>,
    tally: Option<Tally>,
}

/// What has arrived of a cluster. Times in microseconds with the bytes of the packet.
#[derive(Clone, Copy, Debug)]
struct Tally {
    packets: u32,
    bytes: u64,
    first_sent: i64,
    last_sent: (i64, u64),
    first_arrived: (i64, u64),
    last_arrived: i64,
}

/// What a cluster wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// So many bytes now.
    Now(usize),
    /// Nothing before then.
    At(Instant),
    /// The caller had nothing to send, or came too late.
    GivenUp,
}

impl Cluster {
    pub(crate) fn new(target: Bitrate, lasts: Duration, now: Instant) -> Self {
        let bytes = target.bytes_in(lasts);
        let packet = (bytes / u64::from(PACKETS_MIN)).clamp(PACKET_MIN, PACKET_MAX);
        Self {
            target,
            goal: bytes.max(packet * u64::from(PACKETS_MIN)),
            packet,
            created: now,
            started: None,
            asked: false,
            bytes: 0,
            packets: 0,
            numbers: None,
            tally: None,
        }
    }

    pub(crate) fn next_at(&self) -> Instant {
        let Some(started) = self.started else {
            return self.created;
        };
        // A frame may have filled it at once, but it lasts as long as the others.
        let end = self.target.time_for(self.goal).max(SPAN_MIN);
        started + self.target.time_for(self.bytes).min(end)
    }

    pub(crate) fn stale_at(&self) -> Instant {
        self.created + STALE + self.target.time_for(self.goal)
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Need {
        if self.asked || now >= self.stale_at() {
            return Need::GivenUp;
        }
        self.started.get_or_insert(now);
        let at = self.next_at();
        if at > now {
            return Need::At(at);
        }
        self.asked = true;
        Need::Now(usize::try_from(self.packet).unwrap_or(0))
    }

    /// A packet was sent. True if it was the cluster's last.
    pub(crate) fn note_sent(
        &mut self,
        number: u64,
        bytes: u64,
        is_probe: bool,
        now: Instant,
    ) -> bool {
        let Some(started) = self.started else {
            return false;
        };
        if self.numbers.is_none() && !is_probe {
            return false;
        }
        self.asked &= !is_probe;
        self.bytes = self.bytes.saturating_add(bytes);
        self.packets += 1;
        let (first, _) = self.numbers.unwrap_or((number, number));
        self.numbers = Some((first, number));
        let lasted = now.saturating_duration_since(started) >= SPAN_MIN;
        is_probe && lasted && self.bytes >= self.goal && self.packets >= PACKETS_MIN
    }

    pub(crate) fn note_received(&mut self, number: u64, sent: i64, arrived: i64, bytes: u64) {
        let is_part = |(first, last)| (first..=last).contains(&number);
        if !self.numbers.is_some_and(is_part) {
            return;
        }
        let Some(tally) = &mut self.tally else {
            self.tally = Some(Tally {
                packets: 1,
                bytes,
                first_sent: sent,
                last_sent: (sent, bytes),
                first_arrived: (arrived, bytes),
                last_arrived: arrived,
            });
            return;
        };
        tally.packets += 1;
        tally.bytes = tally.bytes.saturating_add(bytes);
        tally.first_sent = tally.first_sent.min(sent);
        if sent >= tally.last_sent.0 {
            tally.last_sent = (sent, bytes);
        }
        if arrived < tally.first_arrived.0 {
            tally.first_arrived = (arrived, bytes);
        }
        tally.last_arrived = tally.last_arrived.max(arrived);
    }

    /// All of it has been reported on, one way or the other.
    pub(crate) fn is_reported(&self, newest: u64) -> bool {
        self.numbers.is_some_and(|(_, last)| newest >= last)
    }

    /// None if too little arrived, or nothing can be told from it.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let tally = self.tally?;
        if f64::from(tally.packets) < ARRIVED_MIN * f64::from(self.packets.max(PACKETS_MIN)) {
            return None;
        }
        // What leaves last takes no time of the interval, nor does what arrives first.
        let sent_bytes = tally.bytes.saturating_sub(tally.last_sent.1);
        let sent = Bitrate::of(
            sent_bytes,
            tally.last_sent.0.saturating_sub(tally.first_sent),
        )?;
        let arrived_bytes = tally.bytes.saturating_sub(tally.first_arrived.1);
        let took = tally.last_arrived.saturating_sub(tally.first_arrived.0);
        let arrived = Bitrate::of(arrived_bytes, took)?;
        if arrived > sent.scale(BUNCHED) {
            return None;
        }
        let carries = if arrived < sent.scale(FULL_BELOW) {
            arrived.scale(FULL_SHARE)
        } else {
            sent.min(arrived)
        };
        let carries = carries.min(self.target);
        Some(Outcome {
            carries,
            reached: carries >= self.target.scale(FULL_BELOW),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::micros;
    use proptest::prelude::*;

    /// Sends a cluster to a caller that is always on time.
    fn send(target: u64) -> (Cluster, Vec<(i64, u64)>) {
        let start = Instant::now();
        let mut cluster = Cluster::new(Bitrate::from_kbps(target), LASTS, start);
        let (mut now, mut sent) = (start, Vec::new());
        loop {
            match cluster.poll(now) {
                Need::Now(bytes) => {
                    let bytes = bytes as u64;
                    let number = sent.len() as u64;
                    sent.push((micros(now - start), bytes));
                    if cluster.note_sent(number, bytes, true, now) {
                        return (cluster, sent);
                    }
                }
                Need::At(at) => now = at,
                Need::GivenUp => panic!("given up"),
            }
        }
    }

    /// Through a link of so many kilobits per second.
    fn carry(cluster: &mut Cluster, sent: &[(i64, u64)], link: u64) {
        let mut free = 0;
        for (number, (at, bytes)) in (0..).zip(sent) {
            free = free.max(*at) + (bytes * 8000 / link) as i64;
            cluster.note_received(number, *at, free + 7_000_000, *bytes);
        }
    }

    #[test]
    fn a_cluster_has_its_rate_its_packets_and_its_time() {
        for target in [50, 400, 900, 2300, 20_000] {
            let (_, sent) = send(target);
            let (last, bytes) = *sent.last().unwrap();
            let all: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
            assert!(sent.len() >= PACKETS_MIN as usize);
            assert!(last >= 15_000, "{target}: {last} µs");
            let rate = (all - bytes) * 8000 / last as u64;
            assert!(rate.abs_diff(target) <= target / 50, "{target}: {rate}");
        }
    }

    #[test]
    fn a_link_that_is_wider_is_known_up_to_the_target() {
        let (mut cluster, sent) = send(900);
        carry(&mut cluster, &sent, 5000);
        let outcome = cluster.outcome().unwrap();
        assert!(outcome.reached);
        assert!(
            outcome.carries >= Bitrate::from_kbps(850),
            "{}",
            outcome.carries
        );
        assert!(outcome.carries <= Bitrate::from_kbps(900));
    }

    #[test]
    fn a_link_that_is_narrower_is_measured() {
        let (mut cluster, sent) = send(900);
        carry(&mut cluster, &sent, 500);
        let outcome = cluster.outcome().unwrap();
        assert!(!outcome.reached);
        let carries = outcome.carries.as_u64();
        assert!((470_000..=480_000).contains(&carries), "{carries}");
    }

    #[test]
    fn too_few_packets_or_bunched_ones_tell_nothing() {
        let (mut cluster, sent) = send(900);
        carry(&mut cluster, &sent[..3], 5000);
        assert_eq!(cluster.outcome(), None);
        let (mut cluster, sent) = send(900);
        for (number, (at, bytes)) in (0..).zip(sent) {
            cluster.note_received(number, at, 900_000, bytes);
        }
        assert_eq!(cluster.outcome(), None);
    }

    #[test]
    fn a_caller_with_nothing_to_send_ends_it() {
        let now = Instant::now();
        let mut cluster = Cluster::new(Bitrate::from_kbps(900), LASTS, now);
        assert_eq!(cluster.poll(now), Need::Now(675));
        assert_eq!(cluster.poll(now), Need::GivenUp);
        let mut late = Cluster::new(Bitrate::from_kbps(900), LASTS, now);
        assert_eq!(late.poll(now + 2 * STALE), Need::GivenUp);
    }

    #[test]
    fn a_frame_in_the_middle_counts_and_does_not_cut_it_short() {
        let start = Instant::now();
        let mut cluster = Cluster::new(Bitrate::from_kbps(900), LASTS, start);
        assert_eq!(cluster.poll(start), Need::Now(675));
        assert!(!cluster.note_sent(0, 675, true, start));
        for number in 1..20 {
            assert!(!cluster.note_sent(number, 1200, false, start));
        }
        assert_eq!(cluster.poll(start), Need::At(start + LASTS));
        assert_eq!(cluster.poll(start + LASTS), Need::Now(675));
        assert!(cluster.note_sent(20, 675, true, start + LASTS));
    }

    proptest! {
        #[test]
        fn no_report_breaks_it(reports: Vec<(u64, i64, i64, u64)>) {
            let (mut cluster, _) = send(900);
            for (number, sent, arrived, bytes) in reports {
                cluster.note_received(number % 6, sent, arrived, bytes);
            }
            if let Some(outcome) = cluster.outcome() {
                prop_assert!(outcome.carries <= cluster.target);
            }
        }
    }
}
