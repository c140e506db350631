//! Shares each client's line among its subscriptions: hears what the line takes, asks [`allocate`], and
//! carries it out.
//!
//! A client that never says when packets come gets all that it wants.

use super::allocate::{Demand, Limit, allocate};
use super::layers;
use super::room::Track;
use super::subscription::Subscription;
use super::timers::Timer;
use super::{Engine, SubscriptionKey, TransportKey};
use bandwidth::Bitrate;
use proto::media::{Kind, NodeEvent, Quality};
use std::time::{Duration, Instant};

/// What is sent may be above the line's estimate by so much, in percent, until the key frame of a lower
/// layer is there. Beyond, that key frame would not get through.
const OVERLOAD: u64 = 130;
/// The most wanted picture is paused only if the line has been too thin for so long.
const PAUSE_AFTER: Duration = Duration::from_secs(2);
/// Of a line that is too full, only so much is used at first, in percent: how full it is shows little by
/// little, and each step down costs a key frame, after which encoders leave out frames for seconds.
const CAREFUL: u64 = 60;
/// What would be sent is taken for so much more, in percent, when it is asked whether the line would take
/// it: the streams' rates go up and down.
const ROOM: u64 = 125;
/// Lines that are shared in one round, about; and rounds until all of them have been, at most.
const LINES_A_ROUND: usize = 100;
const TURNS_MAX: usize = 5;
/// What an unmeasured layer is taken for, bits per second.
const GUESS: [u64; 3] = [150_000, 500_000, 1_700_000];

impl Engine {
    /// Shares lines anew: all of them, or of many some each round.
    pub(super) fn share_lines(&mut self, now: Instant) {
        let turns = (1 + self.transports.len() / LINES_A_ROUND).min(TURNS_MAX);
        self.share_turn = (self.share_turn + 1) % turns;
        let keys = self.transports.keys();
        for key in keys.into_iter().skip(self.share_turn).step_by(turns) {
            let transport = self.transports.get(key);
            if transport.is_some_and(|it| it.connected && it.outgoing.line.is_some()) {
                self.share(key, now);
                self.arm_line(key);
            }
        }
    }

    /// A client said when packets came.
    pub(super) fn handle_line(&mut self, key: TransportKey, now: Instant) {
        self.arm_line(key);
        let Some(transport) = self.transports.get(key) else {
            return;
        };
        let estimate = transport.outgoing.estimate_of_line(now);
        // Better is looked at now and then, worse at once.
        if estimate.is_some_and(|estimate| estimate < transport.outgoing.shared) {
            self.share(key, now);
        }
    }

    /// The estimator's own time has come.
    pub(super) fn line_timeout(&mut self, key: TransportKey, now: Instant) {
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        let Some(line) = transport.outgoing.line.as_mut() else {
            return;
        };
        line.handle_timeout(now);
        match line.poll_probe(now) {
            // Goes on when it has left.
            Some(bytes) if self.fan.pad(key, bytes) => transport.outgoing.pads = true,
            _ => self.arm_line(key),
        }
    }

    /// Padding has left, as far as there was any to send.
    pub(super) fn padded(&mut self, key: TransportKey) {
        if let Some(transport) = self.transports.get_mut(key) {
            transport.outgoing.pads = false;
        }
        self.arm_line(key);
    }

    fn arm_line(&mut self, key: TransportKey) {
        let transport = self.transports.get(key);
        let outgoing = transport.map(|transport| &transport.outgoing);
        let line = outgoing
            .filter(|it| !it.pads)
            .and_then(|it| it.line.as_ref());
        if let Some(at) = line.and_then(|line| line.poll_timeout()) {
            self.timers.set(Timer::Line(key), Some(at));
        }
    }

    /// Shares one client's line.
    pub(super) fn share(&mut self, key: TransportKey, now: Instant) {
        let mut demands = std::mem::take(&mut self.demands);
        demands.clear();
        let sound = self.collect_demands(key, &mut demands, now);
        let wanted = demands.iter().map(Demand::best).sum::<u64>() + sound;
        if let Some(transport) = self.transports.get_mut(key) {
            let outgoing = &mut transport.outgoing;
            if let Some(line) = &mut outgoing.line {
                line.set_wanted(Bitrate::new(wanted * ROOM / 100), now);
            }
            if let Some(estimate) = outgoing.estimate_of_line(now) {
                outgoing.shared = estimate;
                let budget = estimate.as_u64().saturating_sub(sound);
                if budget > wanted * ROOM / 100 {
                    // Nobody needs to be careful on such a line.
                    demands
                        .iter_mut()
                        .for_each(|demand| demand.settling = false);
                }
                let sent: u64 = demands.iter().map(Demand::now).sum();
                let overloaded = sent > budget * OVERLOAD / 100;
                let careful = if overloaded { CAREFUL } else { 100 };
                allocate(budget * careful / 100, &mut demands);
                tracing::trace!(%estimate, sound, wanted, sent, "line shared");
                for (place, demand) in demands.iter().enumerate() {
                    self.drained(demand.key, now);
                    let given = self.hold_on(demand, place == 0, now);
                    self.give(demand, given, overloaded, now);
                }
            }
        }
        self.demands = demands;
    }

    /// What a client wants to see; the bits per second of what it hears.
    fn collect_demands(
        &self,
        key: TransportKey,
        demands: &mut Vec<Demand<SubscriptionKey>>,
        now: Instant,
    ) -> u64 {
        let owner = self.transports.get(key).map(|transport| transport.owner);
        let Some(participant) = owner.and_then(|owner| self.participants.get(owner)) else {
            return 0;
        };
        let mut sound = 0;
        for subscription_key in &participant.subscriptions {
            let Some(subscription) = self.subscriptions.get(*subscription_key) else {
                continue;
            };
            let here = subscription.exit.is_some_and(|exit| exit.transport == key);
            let track = self.tracks.get(subscription.track);
            let Some(track) = track.filter(|track| here && track.is_open()) else {
                continue;
            };
            if !subscription.is_open() {
                continue;
            }
            match subscription.kind {
                Kind::Audio => sound += track.rate(now),
                Kind::Video => demands.push(demand(*subscription_key, subscription, track, now)),
            }
        }
        sound
    }

    /// A full line has had time to drain: the picture that it takes may begin.
    fn drained(&mut self, key: SubscriptionKey, now: Instant) {
        let subscription = self.subscriptions.get_mut(key);
        let drains_until = subscription.map(|subscription| &mut subscription.drains_until);
        if drains_until.is_some_and(|until| until.take_if(|at| *at <= now).is_some()) {
            self.retarget_one(key, now);
        }
    }

    /// What a subscription shall get. The most wanted picture is not paused at once: while a queue drains, an
    /// estimate is below what the line takes.
    fn hold_on(
        &mut self,
        demand: &Demand<SubscriptionKey>,
        most_wanted: bool,
        now: Instant,
    ) -> Option<Quality> {
        let subscription = self.subscriptions.get_mut(demand.key)?;
        if demand.given.is_some() || demand.current.is_none() {
            subscription.starves_since = None;
            return demand.given;
        }
        let since = *subscription.starves_since.get_or_insert(now);
        let soon = now.saturating_duration_since(since) < PAUSE_AFTER;
        demand.least().filter(|_| most_wanted && soon)
    }

    /// Carries out what a subscription shall get.
    fn give(
        &mut self,
        demand: &Demand<SubscriptionKey>,
        given: Option<Quality>,
        overloaded: bool,
        now: Instant,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(demand.key) else {
            return;
        };
        let limit = match given {
            Some(quality) => Limit::UpTo(quality),
            // Its layers are unknown yet.
            None if demand.best() == 0 => return,
            None => Limit::Nothing,
        };
        let before = subscription.limit;
        if limit != before {
            let worse = given < demand.current;
            if worse {
                subscription.setback.fall(limit == Limit::Nothing, now);
            } else {
                subscription.setback.rise(now);
            }
            subscription.set_limit(limit, (worse && overloaded).then_some(now));
            if let (Some(route), true) = (subscription.route, worse && overloaded)
                && let Some(exit) = subscription.exit
                && let Some(transport) = self.transports.get_mut(exit.transport)
            {
                // Repeats of what was too much would be too much, too.
                transport.outgoing.forget(route.stream);
            }
            tracing::debug!(?limit, ?before, layers = ?demand.layers, overloaded, "layer limit");
            self.retarget_one(demand.key, now);
            self.say_stream_state(demand.key);
        }
    }

    /// Tells the subscriber's client whether it gets the picture, if that changed.
    pub(super) fn say_stream_state(&mut self, key: SubscriptionKey) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        let track = subscription.track;
        let paused = subscription.limit == Limit::Nothing || !subscription.shown;
        if std::mem::replace(&mut subscription.told_paused, paused) == paused {
            return;
        }
        let participant = self.participants.get(subscription.participant);
        if let (Some(participant), Some(track)) = (participant, self.tracks.get(track)) {
            self.outbox.events.push_back(NodeEvent::StreamState {
                participant: participant.sid.clone(),
                track: track.sid.clone(),
                paused,
            });
        }
    }
}

fn demand(
    key: SubscriptionKey,
    subscription: &Subscription,
    track: &Track,
    now: Instant,
) -> Demand<SubscriptionKey> {
    let settings = &subscription.settings;
    let wanted = layers::wanted(settings, &track.layers);
    let live = match subscription.limit {
        Limit::All => track.live_sources(now),
        Limit::UpTo(_) | Limit::Nothing => track.recent_sources(now),
    };
    let best = layers::choose(wanted, live.iter().map(|source| source.quality));
    let mut rates = [None; 3];
    let current = match subscription.limit {
        Limit::Nothing => None,
        Limit::UpTo(quality) => Some(quality),
        Limit::All => best,
    };
    for source in live.iter().filter(|source| Some(source.quality) <= best) {
        let guess = || match GUESS.get(source.quality as usize) {
            // It is being sent: the line shows what it takes.
            Some(_) if Some(source.quality) <= current => Some(0),
            guess => guess.copied(),
        };
        let rate = source.rate.or_else(guess);
        if let Some(place) = rates.get_mut(source.quality as usize) {
            // A predecessor may still be among them.
            *place = (*place).max(rate);
        }
    }
    Demand {
        key,
        layers: rates,
        current,
        rank: match (settings.width, settings.height) {
            (0, 0) => u64::MAX,
            (width, height) => u64::from(width) * u64::from(height),
        },
        settling: subscription.setback.is_settling(now),
        fresh: subscription.setback.is_fresh(now),
        given: None,
    }
}
