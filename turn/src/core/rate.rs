//! Token buckets: for the bytes of an allocation, and for the requests of strangers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Sources of requests that are told apart. When there are more, new ones share one bucket until the
/// next sweep.
const SOURCES_MAX: usize = 4_096;
/// Requests of strangers a second, from one IPv4 address or IPv6 network of 64 bits. A browser sends
/// two for each server of its list and address of its own; a company behind one address has many
/// browsers, and those that are refused ask again after half a second.
const SOURCE_RATE: u32 = 50;
/// As many at once.
const SOURCE_BURST: u32 = 200;
/// Requests of strangers a second, from everywhere: each may cost an answer and some hashing.
const TOTAL_RATE: u32 = 5_000;
/// As many at once.
const TOTAL_BURST: u32 = 5_000;

/// So much a second, and so much at once.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        Self {
            rate: f64::from(rate),
            burst: f64::from(burst),
            level: f64::from(burst),
            at: now,
        }
    }

    /// Takes `amount`, or nothing if there is less.
    pub(crate) fn take(&mut self, amount: u32, now: Instant) -> bool {
        self.fill(now);
        let amount = f64::from(amount);
        let enough = self.level >= amount;
        if enough {
            self.level -= amount;
        }
        enough
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.burst);
        self.at = self.at.max(now);
    }

    fn is_full(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level + passed * self.rate >= self.burst
    }
}

/// Which source a packet counts for.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            // Whoever has one IPv6 address has 64 bits of them.
            None => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
        },
    }
}

/// The requests of those who have no allocation yet.
#[derive(Debug)]
pub(crate) struct Strangers {
    sources: HashMap<IpAddr, Bucket>,
    others: Bucket,
    total: Bucket,
}

impl Strangers {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sources: HashMap::new(),
            others: Bucket::new(SOURCE_RATE, SOURCE_BURST, now),
            total: Bucket::new(TOTAL_RATE, TOTAL_BURST, now),
        }
    }

    /// Whether one more request from `ip` is looked at.
    pub(crate) fn admit(&mut self, ip: IpAddr, now: Instant) -> bool {
        let source = source(ip);
        let is_known = self.sources.contains_key(&source);
        let bucket = if is_known || self.sources.len() < SOURCES_MAX {
            let new = || Bucket::new(SOURCE_RATE, SOURCE_BURST, now);
            self.sources.entry(source).or_insert_with(new)
        } else {
            &mut self.others
        };
        bucket.take(1, now) && self.total.take(1, now)
    }

    /// Forgets who has been quiet.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.sources.retain(|_, bucket| !bucket.is_full(now));
    }
}

/// The packets of one allocation, each way by itself.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    pub(crate) to_peers: Bucket,
    pub(crate) to_client: Bucket,
}

/// How long an allocation may send at any speed: a key frame to many fits.
const BURST: Duration = Duration::from_millis(500);

impl Bandwidth {
    /// `kbps` thousand bits a second each way.
    pub(crate) fn new(kbps: u32, now: Instant) -> Self {
        let rate = kbps.saturating_mul(125);
        let burst = f64::from(rate) * BURST.as_secs_f64();
        // A float of this range becomes an integer without surprises; below one packet nothing passes.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let burst = (burst as u32).max(4_096);
        Self {
            to_peers: Bucket::new(rate, burst, now),
            to_client: Bucket::new(rate, burst, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 5, start);
        let taken = |bucket: &mut Bucket, now| (0..20).filter(|_| bucket.take(1, now)).count();
        assert_eq!(taken(&mut bucket, start), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(300)), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(100)), 5);
        assert_eq!(taken(&mut bucket, start), 0, "time never goes back");
    }

    #[test]
    fn one_source_does_not_use_up_what_others_have() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let flooder: IpAddr = "198.51.100.1".parse().unwrap();
        let admitted = (0..1_000).filter(|_| strangers.admit(flooder, now)).count();
        assert_eq!(admitted, SOURCE_BURST as usize);
        assert!(strangers.admit("198.51.100.2".parse().unwrap(), now));
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_count_as_one_and_mapped_ones_as_ipv4() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn very_many_sources_share_a_bucket_and_cost_no_memory() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let from = |n: u32| IpAddr::V4(n.into());
        let many = u32::try_from(SOURCES_MAX).unwrap() + 1_000;
        let admitted = (0..many).filter(|n| strangers.admit(from(*n), now)).count();
        assert_eq!(admitted, SOURCES_MAX + SOURCE_BURST as usize);
        assert_eq!(strangers.sources.len(), SOURCES_MAX);
        strangers.sweep(now + Duration::from_secs(10));
        assert!(strangers.sources.is_empty());
    }

    proptest! {
        #[test]
        fn no_more_passes_than_burst_and_rate_allow(
            steps in proptest::collection::vec((0u64..200, 1u32..30), 1..100),
        ) {
            let start = Instant::now();
            let (mut now, mut bucket, mut taken) = (start, Bucket::new(100, 50, start), 0);
            for (wait_ms, amount) in steps {
                now += Duration::from_millis(wait_ms);
                if bucket.take(amount, now) {
                    taken += amount;
                }
            }
            let allowed = 50.0 + 100.0 * (now - start).as_secs_f64();
            prop_assert!(f64::from(taken) <= allowed + 1e-6);
        }
    }
}
