//! The fan-out: packets of a track that came one behind the other, written for one subscriber after the
//! other.
//!
//! A frame's packets are held until the frame is complete, [`HOLD`] at most. Then each subscriber gets
//! all of them in one run: equal packets in one system call, out of a buffer that stays in the
//! processor's cache. Nothing is written before somebody asks for it with [`Engine::poll_transmit`].
//!
//! Owns: the order in which things leave. Must not: decide who gets what.

use super::arrived::{Arrived, name};
use super::io::Transmit;
use super::outgoing::{Lane, Missing, Way};
use super::{Engine, SubscriptionKey, TrackKey, TransportKey};
use bandwidth::Why;
use downlink::Extensions;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a packet waits at most for those behind it.
pub(super) const HOLD: Duration = Duration::from_millis(1);
/// Packets of a track that wait at most.
pub(super) const HELD_MAX: usize = 32;
/// Most packets of one system call: Linux takes 64, and not more bytes than a UDP datagram has.
const SEGMENTS_MAX: usize = 32;
const RUN_BYTES_MAX: usize = 60_000;
/// Packets that are to be sent once more. Beyond: dropped, the client asks again.
const REPAIRS_MAX: usize = 4096;
/// Bursts of padding that wait. Beyond: not sent, the probe fails.
const PADDINGS_MAX: usize = 1024;

/// Equal packets, one behind the other, the last of them maybe shorter.
#[derive(Clone, Copy, Debug)]
struct Part {
    begin: usize,
    end: usize,
    segment: usize,
    packets: usize,
}

/// What one subscriber gets at a time.
#[derive(Debug, Default)]
struct Run {
    bytes: Vec<u8>,
    parts: VecDeque<Part>,
    way: Option<Way>,
}

impl Run {
    fn begin(&mut self, way: Way) {
        self.bytes.clear();
        self.parts.clear();
        self.way = Some(way);
    }

    /// A packet was written from `begin` on.
    fn add(&mut self, begin: usize) {
        let end = self.bytes.len();
        let length = end - begin;
        if let Some(part) = self.parts.back_mut() {
            let full = part.packets >= SEGMENTS_MAX || end - part.begin > RUN_BYTES_MAX;
            // Nothing comes behind a shorter one.
            let even = part.end - part.begin == part.packets * part.segment;
            if !full && even && length <= part.segment {
                part.end = end;
                part.packets += 1;
                return;
            }
        }
        self.parts.push_back(Part {
            begin,
            end,
            segment: length,
            packets: 1,
        });
    }

    /// Fills up with repeats of a stream's newest packet, if it has any.
    fn pad(&mut self, mut lane: Lane<'_>, wanted: usize, now: Instant) {
        while self.bytes.len() < wanted {
            let begin = self.bytes.len();
            let mut extensions = Extensions::default();
            name(&mut extensions, lane.leaving.ids, lane.leaving.mid);
            lane.number(&mut extensions);
            let stream = &mut lane.leaving.stream;
            if !stream.pad(lane.keys, &extensions, &mut self.bytes) {
                return;
            }
            lane.sent(self.bytes.len() - begin, Why::Probe, now);
            self.add(begin);
        }
    }

    fn next(&mut self) -> Option<Part> {
        self.parts.pop_front()
    }
}

/// What is under way to the subscribers.
#[derive(Debug, Default)]
pub(super) struct Fan {
    /// Tracks with packets that wait for others.
    holding: Vec<TrackKey>,
    /// When the first of them has waited long enough.
    release_at: Option<Instant>,
    /// Tracks whose packets are to leave.
    due: VecDeque<TrackKey>,
    repairs: VecDeque<(TransportKey, Missing)>,
    /// Bytes of padding.
    paddings: VecDeque<(TransportKey, usize)>,
    packets: Vec<Arrived>,
    subscribers: Vec<SubscriptionKey>,
    /// The subscriber whose turn it is.
    next: usize,
    run: Run,
    control: Option<Control>,
}

/// A datagram of str0m's that was handed out last.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) way: Way,
    pub(super) contents: Vec<u8>,
}

impl Fan {
    /// A client misses packets.
    pub(super) fn miss(&mut self, transport: TransportKey, missing: Missing) {
        if self.repairs.len() < REPAIRS_MAX {
            self.repairs.push_back((transport, missing));
        }
    }

    /// A client's line is probed with so many bytes; false: too many others are.
    pub(super) fn pad(&mut self, transport: TransportKey, bytes: usize) -> bool {
        let free = self.paddings.len() < PADDINGS_MAX;
        if free {
            self.paddings.push_back((transport, bytes));
        }
        free
    }

    /// When packets have waited long enough.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.release_at
    }

    fn is_idle(&self) -> bool {
        self.next >= self.subscribers.len()
    }
}

impl Engine {
    /// The next datagrams to send. Drain before waiting.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        if let Some(control) = self.outbox.transmits.pop_front() {
            let control = self.fan.control.insert(control);
            return Some(Transmit::new(control.way, &control.contents, None));
        }
        while self.fan.run.parts.is_empty() {
            if !self.repair() && !self.write_run() && !self.load() && !self.probe() {
                return None;
            }
        }
        let part = self.fan.run.next()?;
        let contents = self.fan.run.bytes.get(part.begin..part.end)?;
        self.outbox.counters.packets_out += part.packets as u64;
        self.outbox.counters.bytes_out += contents.len() as u64;
        let segment = (part.packets > 1).then_some(part.segment);
        Some(Transmit::new(self.fan.run.way?, contents, segment))
    }

    /// A packet has come for a track. `complete`: nothing behind it is worth waiting for.
    pub(super) fn hold(&mut self, key: TrackKey, packet: Arrived, complete: bool, now: Instant) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.held.push(packet);
        if complete || track.held.len() >= HELD_MAX {
            self.fan.holding.retain(|holding| *holding != key);
            self.make_due(key);
        } else if track.held.len() == 1 {
            self.fan.holding.push(key);
            self.fan.release_at.get_or_insert(now + HOLD);
        }
        if self.fan.holding.is_empty() {
            self.fan.release_at = None;
        }
    }

    /// If the first has waited long enough, nothing waits any longer.
    pub(super) fn release_held(&mut self, now: Instant) {
        if self.fan.release_at.is_none_or(|at| at > now) {
            return;
        }
        self.fan.release_at = None;
        while let Some(key) = self.fan.holding.pop() {
            self.make_due(key);
        }
    }

    fn make_due(&mut self, key: TrackKey) {
        if !self.fan.due.contains(&key) {
            self.fan.due.push_back(key);
        }
    }

    /// Takes the packets of the next track; false: there is none.
    fn load(&mut self) -> bool {
        let Some(key) = self.fan.due.pop_front() else {
            return false;
        };
        self.fan.packets.clear();
        self.fan.subscribers.clear();
        self.fan.next = 0;
        let fenced = self.is_fenced(self.now);
        if let Some(track) = self.tracks.get_mut(key) {
            std::mem::swap(&mut self.fan.packets, &mut track.held);
            // Muted since, or owned by somebody else: what came before is not heard either.
            if track.is_open() && !fenced {
                self.fan.subscribers.extend_from_slice(&track.subscriptions);
                self.relays.copy(track, &self.fan.packets, self.now);
            }
        }
        true
    }

    /// Writes what the next subscriber gets; false: all have got theirs.
    fn write_run(&mut self) -> bool {
        if self.fan.is_idle() {
            return false;
        }
        let subscriber = self.fan.subscribers.get(self.fan.next).copied();
        self.fan.next += 1;
        let subscription = subscriber
            .and_then(|key| self.subscriptions.get_mut(key))
            .filter(|subscription| subscription.is_open());
        let Some((exit, subscription)) = subscription.and_then(|it| Some((it.exit?, it))) else {
            return true;
        };
        let Some(transport) = self.transports.get_mut(exit.transport) else {
            return true;
        };
        let (Some(way), true) = (transport.outgoing.way, transport.connected) else {
            return true;
        };
        let (run, now) = (&mut self.fan.run, self.now);
        run.begin(way);
        for arrived in &self.fan.packets {
            let begin = run.bytes.len();
            if arrived.write(transport, exit.mid, subscription, now, &mut run.bytes) {
                run.add(begin);
            }
        }
        let (stuck, track) = (subscription.stuck(), subscription.track);
        if let Some(ssrc) = stuck
            && let Some(track) = self.tracks.get_mut(track)
            && let Some(source) = track.source_mut(ssrc)
        {
            source.asks.want(now);
        }
        true
    }

    /// Writes a packet once more that somebody misses; false: nobody misses any.
    fn repair(&mut self) -> bool {
        let Some((key, missing)) = self.fan.repairs.pop_front() else {
            return false;
        };
        if self.is_fenced(self.now) {
            // Whoever owns the room has told the client of other numbers.
            return true;
        }
        let Some(transport) = self.transports.get_mut(key) else {
            return true;
        };
        let Some(way) = transport.outgoing.way else {
            return true;
        };
        let (run, now) = (&mut self.fan.run, self.now);
        run.begin(way);
        if !transport.outgoing.may_repeat(now) {
            tracing::trace!(sequence = missing.sequence, "no room to repeat");
            return true;
        }
        if let Some(mut lane) = transport.outgoing.lane(missing.stream) {
            let mut extensions = Extensions::default();
            // Rare enough to be told each time.
            name(&mut extensions, lane.leaving.ids, lane.leaving.mid);
            lane.number(&mut extensions);
            let (stream, bytes) = (&mut lane.leaving.stream, &mut run.bytes);
            if stream.repeat(lane.keys, missing.sequence, &extensions, now, bytes) {
                lane.sent(run.bytes.len(), Why::Media, now);
                run.add(0);
            }
        }
        tracing::trace!(
            sequence = missing.sequence,
            bytes = run.bytes.len(),
            "repeated"
        );
        transport.outgoing.repeated(run.bytes.len());
        true
    }

    /// Writes padding for a client whose line is probed; false: nobody's is.
    fn probe(&mut self) -> bool {
        let Some((key, wanted)) = self.fan.paddings.pop_front() else {
            return false;
        };
        self.write_padding(key, wanted);
        self.padded(key);
        true
    }

    fn write_padding(&mut self, key: TransportKey, wanted: usize) {
        if self.is_fenced(self.now) {
            return;
        }
        let Some(transport) = self.transports.get_mut(key) else {
            return;
        };
        let Some(way) = transport.outgoing.way else {
            return;
        };
        self.fan.run.begin(way);
        for place in 0..transport.outgoing.places() {
            if let Some(lane) = transport.outgoing.lane(place) {
                self.fan.run.pad(lane, wanted, self.now);
            }
        }
    }
}
