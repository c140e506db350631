//! What is measured of one received stream.
//!
//! Owns: counting by sequence number ([`sequence`]), frames that could be shown ([`frames`]) and
//! freezes ([`freeze`]). What belongs to a moment goes to the [`Timeline`] at once, so that a stream
//! stays below 1 kB; what belongs to the stream is its [`StreamSummary`].

pub mod frames;
pub mod freeze;
pub mod sequence;

use crate::media::Codec;
use crate::numbers::{as_f64, ratio, rounded, seconds};
use crate::stamp::Stamp;
use crate::timeline::Timeline;
use frames::FrameTracker;
use freeze::FreezeTracker;
use schemars::JsonSchema;
use sequence::{Arrival, SequenceTracker};
use serde::{Deserialize, Serialize};

/// Whole frames behind a gap, from which on a key frame is asked for: what was lost may still come, asked
/// for again, and a tenth of a second is enough for that.
const STUCK_MIN: usize = 3;
/// A larger change of transit time is a new source, not jitter.
const JITTER_STEP_MAX_S: f64 = 10.0;

/// One packet that came.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Bytes of the payload.
    pub bytes: usize,
    /// The stamp, if the payload was looked at and has one.
    pub stamp: Option<Stamp>,
}

/// One stream as one receiver sees it.
#[derive(Debug)]
pub struct StreamStats {
    codec: Codec,
    sequence: SequenceTracker,
    frames: FrameTracker,
    freeze: FreezeTracker,
    jitter: Jitter,
    first_packet_ns: Option<u64>,
    first_frame_ns: Option<u64>,
    last_ns: u64,
    summary: StreamSummary,
}

impl StreamStats {
    /// A stream that has not begun; `name` says whose it is and who receives it.
    #[must_use]
    pub fn new(codec: Codec, name: String) -> Self {
        Self {
            codec,
            sequence: SequenceTracker::default(),
            frames: FrameTracker::default(),
            freeze: FreezeTracker::default(),
            jitter: Jitter::default(),
            first_packet_ns: None,
            first_frame_ns: None,
            last_ns: 0,
            summary: StreamSummary::named(name, codec),
        }
    }

    /// Counts a packet. `now_ns` is the clock of [`Stamp::sent_ns`].
    pub fn handle_packet(&mut self, packet: &Packet, timeline: &mut Timeline, now_ns: u64) {
        self.first_packet_ns.get_or_insert(now_ns);
        self.last_ns = self.last_ns.max(now_ns);
        let arrival = self.sequence.handle(packet.sequence);
        let step = timeline.at(now_ns);
        match arrival {
            Arrival::Stray => return,
            Arrival::Duplicate => {
                self.summary.duplicates += 1;
                step.duplicates += 1;
                return;
            }
            Arrival::Next { missing } => {
                self.summary.missing += missing;
                step.missing += missing;
                self.jitter
                    .handle(packet.timestamp, self.codec.clock_rate(), now_ns);
            }
            Arrival::Late => {
                self.summary.reordered += 1;
                self.summary.missing = self.summary.missing.saturating_sub(1);
                step.reordered += 1;
                step.recovered += 1;
            }
            Arrival::Restart => {
                self.jitter.forget();
                self.frames.handle_restart();
            }
        }
        let bytes = u64::try_from(packet.bytes).unwrap_or(u64::MAX);
        self.summary.packets += 1;
        self.summary.bytes += bytes;
        step.packets += 1;
        step.bytes += bytes;
        if let Some(latency_ns) = packet
            .stamp
            .and_then(|stamp| now_ns.checked_sub(stamp.sent_ns))
        {
            self.summary.latency_max_us = self.summary.latency_max_us.max(latency_ns / 1000);
            step.latency.record_us(latency_ns / 1000);
        }
        if self.codec.is_video() {
            self.handle_video(packet, timeline, now_ns);
        }
    }

    fn handle_video(&mut self, packet: &Packet, timeline: &mut Timeline, now_ns: u64) {
        let extended = self.sequence.extended(packet.sequence);
        let shown = self.frames.handle_packet(packet, extended);
        if shown.frames == 0 {
            return;
        }
        self.first_frame_ns.get_or_insert(now_ns);
        let step = timeline.at(now_ns);
        step.frames += u64::from(shown.frames);
        step.layer_switches += u64::from(shown.switches);
        self.summary.frames += u64::from(shown.frames);
        self.summary.layer_switches += u64::from(shown.switches);
        for _ in 0..shown.frames {
            if let Some(gap) = self.freeze.handle_frame(now_ns) {
                self.note_gap(gap, timeline, now_ns);
            }
        }
    }

    fn note_gap(&mut self, gap: freeze::Gap, timeline: &mut Timeline, now_ns: u64) {
        let step = timeline.at(now_ns);
        step.watched_ns += gap.ns;
        self.summary.watched_s += seconds(gap.ns);
        if gap.frozen {
            step.freezes += 1;
            step.frozen_ns += gap.ns;
            self.summary.freezes += 1;
            self.summary.frozen_s += seconds(gap.ns);
        }
    }

    /// A decoder would ask for a key frame by now: frames come, and none can be shown.
    #[must_use]
    pub fn wants_key_frame(&self) -> bool {
        self.codec.is_video() && self.frames.stuck() >= STUCK_MIN
    }

    /// Another source follows in the same track: its numbers and timestamps have nothing to do with
    /// those before.
    pub fn handle_restart(&mut self) {
        self.sequence.handle_restart();
        self.frames.handle_restart();
        self.jitter.forget();
    }

    /// The publisher muted, or we asked for nothing: the time until the next frame is no freeze.
    pub fn handle_pause(&mut self) {
        self.freeze.handle_pause();
    }

    /// When the first packet came, in nanoseconds since the start of the run.
    #[must_use]
    pub fn first_packet_ns(&self) -> Option<u64> {
        self.first_packet_ns
    }

    /// When the first frame could be shown.
    #[must_use]
    pub fn first_frame_ns(&self) -> Option<u64> {
        self.first_frame_ns
    }

    /// The stream has ended now. A picture that stood still until then is a freeze.
    #[must_use]
    pub fn finish(mut self, timeline: &mut Timeline, now_ns: u64) -> StreamSummary {
        if let Some(gap) = self.freeze.finish(now_ns) {
            self.note_gap(gap, timeline, now_ns);
        }
        let from = self.first_packet_ns.unwrap_or(self.last_ns);
        let lasted_ns = self.last_ns.saturating_sub(from);
        let mut summary = self.summary;
        summary.jitter_ms = rounded(self.jitter.ms());
        summary.loss = rounded(ratio(summary.missing, summary.packets + summary.missing));
        if lasted_ns > 0 {
            summary.bitrate = rounded(as_f64(summary.bytes) * 8.0 / seconds(lasted_ns));
        }
        if summary.watched_s > 0.0 {
            summary.freeze_ratio = rounded(summary.frozen_s / summary.watched_s);
        }
        summary.watched_s = rounded(summary.watched_s);
        summary.frozen_s = rounded(summary.frozen_s);
        summary
    }
}

/// A stream when it has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamSummary {
    /// Who sends and who receives.
    pub name: String,
    /// The codec.
    pub codec: Codec,
    /// Packets that came, without duplicates.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that never came.
    pub missing: u64,
    /// `missing` of all that should have come, 0 to 1.
    pub loss: f64,
    /// Packets that came after a later one, retransmitted ones too.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Interarrival jitter at the end (RFC 3550 section 6.4.1), in milliseconds.
    pub jitter_ms: f64,
    /// The longest way of a packet, in microseconds.
    pub latency_max_us: u64,
    /// Frames that a decoder could have shown.
    pub frames: u64,
    /// How often the picture froze.
    pub freezes: u64,
    /// For how long, in seconds.
    pub frozen_s: f64,
    /// Of how many seconds between the first and the last frame.
    pub watched_s: f64,
    /// `frozen_s` of `watched_s`, 0 to 1.
    pub freeze_ratio: f64,
    /// How often another simulcast layer was shown.
    pub layer_switches: u64,
    /// Mean rate of the payloads, in bits a second.
    pub bitrate: f64,
}

impl StreamSummary {
    fn named(name: String, codec: Codec) -> Self {
        Self {
            name,
            codec,
            packets: 0,
            bytes: 0,
            missing: 0,
            loss: 0.0,
            reordered: 0,
            duplicates: 0,
            jitter_ms: 0.0,
            latency_max_us: 0,
            frames: 0,
            freezes: 0,
            frozen_s: 0.0,
            watched_s: 0.0,
            freeze_ratio: 0.0,
            layer_switches: 0,
            bitrate: 0.0,
        }
    }
}

/// Interarrival jitter (RFC 3550 section 6.4.1 and appendix A.8), in seconds.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<(u32, u64)>,
    seconds: f64,
}

impl Jitter {
    fn handle(&mut self, timestamp: u32, clock_rate: u32, now_ns: u64) {
        if let Some((last_timestamp, last_ns)) = self.last {
            let ticks = timestamp.wrapping_sub(last_timestamp).cast_signed();
            let media = f64::from(ticks) / f64::from(clock_rate);
            let step = (seconds(now_ns.saturating_sub(last_ns)) - media).abs();
            if step < JITTER_STEP_MAX_S {
                self.seconds += (step - self.seconds) / 16.0;
            }
        }
        self.last = Some((timestamp, now_ns));
    }

    fn forget(&mut self) {
        self.last = None;
    }

    fn ms(&self) -> f64 {
        self.seconds * 1000.0
    }
}

#[cfg(test)]
mod tests;
