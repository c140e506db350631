//! What the participants do: connect, speak, listen.

use super::party::Task;
use crate::core::verdict::media::Heard;
use client::{Agent, DataKind, Layer, RtpOut, Session, SessionEvent, TrackHandle, TrackSpec};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two packets of sound.
const STEP: Duration = Duration::from_millis(20);
/// Media time of that, at 48 kHz.
const STEP_TICKS: u32 = 960;
/// Packets that are waited for: two seconds of sound.
pub(super) const PACKETS: u32 = 100;
/// Silence: RFC 6716 section 3.1, mode CELT, 20 ms, one frame (code 3) with padding, which nobody plays
/// and which carries our numbers.
const OPUS_HEAD: [u8; 5] = [0xfb, 0x41, PADDING_BYTES, 0xff, 0xfe];
/// The run, the number of the packet, its time.
const PADDING_BYTES: u8 = 4 + 4 + 8;
/// RFC 6464: nothing is heard.
const SILENT: u8 = 127;

/// Which packets are those of this run, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) run: u32,
    pub(super) began: Instant,
}

impl Mark {
    fn packet(&self, number: u32, now: Instant) -> Vec<u8> {
        let micros = now.saturating_duration_since(self.began).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let mut packet = OPUS_HEAD.to_vec();
        packet.extend_from_slice(&self.run.to_be_bytes());
        packet.extend_from_slice(&number.to_be_bytes());
        packet.extend_from_slice(&micros.to_be_bytes());
        packet
    }

    /// Its number, and how long it was on its way.
    fn read(&self, packet: &[u8], now: Instant) -> Option<(u32, Duration)> {
        let rest = packet.strip_prefix(&OPUS_HEAD)?;
        let (run, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (micros, _) = rest.split_first_chunk::<8>()?;
        if u32::from_be_bytes(*run) != self.run {
            return None;
        }
        let sent = Duration::from_micros(u64::from_be_bytes(*micros));
        let delay = now
            .saturating_duration_since(self.began)
            .saturating_sub(sent);
        Some((u32::from_be_bytes(*number), delay))
    }
}

/// Waits for keys, and for data channels.
#[derive(Debug, Default)]
pub(super) struct Connect {
    pub(super) is_connected: bool,
    pub(super) is_open: bool,
    /// Data channels are waited for, too.
    pub(super) with_data: bool,
}

impl Agent for Connect {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, _now: Instant) {
        match event {
            SessionEvent::Connected(_) => self.is_connected = true,
            SessionEvent::DataOpen(DataKind::Reliable) => self.is_open = true,
            _ => {}
        }
    }
}

impl Task for Connect {
    fn is_done(&self) -> bool {
        self.is_connected && (self.is_open || !self.with_data)
    }
}

/// Publishes silence, numbered.
#[derive(Debug)]
pub(super) struct Speak {
    mark: Mark,
    track: Option<TrackHandle>,
    next: Option<Instant>,
    number: u32,
    pub(super) refused: Option<String>,
}

impl Speak {
    pub(super) fn new(mark: Mark) -> Self {
        Self {
            mark,
            track: None,
            // It publishes as soon as it runs.
            next: Some(mark.began),
            number: 0,
            refused: None,
        }
    }
}

impl Agent for Speak {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, now: Instant) {
        match event {
            SessionEvent::Sending(_) => self.next = Some(now),
            SessionEvent::PublishRefused { cause, .. } => self.refused = Some(cause),
            _ => {}
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        let Some(track) = self.track else {
            self.track = Some(session.publish(TrackSpec::microphone(), now));
            self.next = None;
            return;
        };
        let packet = RtpOut {
            payload: self.mark.packet(self.number, now).into(),
            timestamp: self.number.wrapping_mul(STEP_TICKS),
            marker: self.number == 0,
            audio_level: Some(SILENT),
        };
        // What is not taken was not sent, and not numbered.
        if session.write(track, Layer::High, packet, now).is_ok() {
            self.number += 1;
        }
        self.next = Some(now + STEP);
    }
}

impl Task for Speak {
    fn is_done(&self) -> bool {
        self.refused.is_some()
    }
}

/// Counts what it hears.
#[derive(Debug)]
pub(super) struct Listen {
    mark: Mark,
    heard: BTreeMap<u32, Duration>,
}

impl Listen {
    pub(super) fn new(mark: Mark) -> Self {
        Self {
            mark,
            heard: BTreeMap::new(),
        }
    }

    pub(super) fn heard(&self) -> Heard {
        let first = self.heard.keys().next().copied().unwrap_or_default();
        let last = self.heard.keys().next_back().copied().unwrap_or_default();
        let mut delays: Vec<Duration> = self.heard.values().copied().collect();
        delays.sort_unstable();
        let received = u32::try_from(self.heard.len()).unwrap_or(u32::MAX);
        Heard {
            sent: if received == 0 { 0 } else { last - first + 1 },
            received,
            delay: delays.get(delays.len() / 2).copied().unwrap_or_default(),
        }
    }
}

impl Agent for Listen {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, _now: Instant) {
        if let SessionEvent::Rtp(packet) = event
            && let Some((number, delay)) = self.mark.read(&packet.payload, packet.at)
        {
            self.heard.entry(number).or_insert(delay);
        }
    }
}

impl Task for Listen {
    fn is_done(&self) -> bool {
        self.heard().sent >= PACKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            run: 7,
            began: Instant::now(),
        }
    }

    #[test]
    fn a_packet_tells_its_number_and_its_age_to_its_own_run() {
        let mark = mark();
        let sent = mark.began + Duration::from_millis(30);
        let packet = mark.packet(5, sent);
        assert_eq!(packet.len(), OPUS_HEAD.len() + usize::from(PADDING_BYTES));
        let heard = mark.read(&packet, sent + Duration::from_millis(4));
        assert_eq!(heard, Some((5, Duration::from_millis(4))));
        let other = Mark { run: 8, ..mark };
        assert_eq!(other.read(&packet, sent), None);
        assert_eq!(mark.read(&packet[..9], sent), None);
    }

    #[test]
    fn what_is_missing_between_first_and_last_is_lost() {
        let mut listen = Listen::new(mark());
        assert_eq!(listen.heard(), Heard::default());
        for number in [10, 11, 13, 13 + PACKETS] {
            listen
                .heard
                .insert(number, Duration::from_millis(u64::from(number)));
        }
        let heard = listen.heard();
        assert_eq!((heard.sent, heard.received), (PACKETS + 4, 4));
        assert_eq!(heard.delay, Duration::from_millis(13));
        assert!(listen.is_done());
    }
}
