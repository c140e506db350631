//! What was sent of a stream and may be asked for once more (RFC 4585 section 6.2.1).

use crate::extension::SharedExtension;
use crate::patch::Patch;
use crate::stream::Packet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets that are kept: a second of a rich video. Beyond: the oldest goes.
pub(crate) const PACKETS_MAX: usize = 512;
/// Nobody waits for a packet that is older.
const AGE_MAX: Duration = Duration::from_secs(1);
/// A receiver that does not hear from a repeated packet within its round trip asks again; requests
/// that come faster are for the packet that is under way.
const REPEAT_AFTER: Duration = Duration::from_millis(20);

/// A packet that was sent. Each packet has one for each receiver, and none is in the processor's cache:
/// it is smaller than a line of that.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) payload: Arc<[u8]>,
    /// Continued beyond 16 bits.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    at: Moment,
    /// [`Moment::NEVER`] before.
    repeated: Moment,
    pub(crate) patch: Patch,
    /// Of the packet that repeats it.
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
}

/// Milliseconds since the first packet, from 1; a stream of 49 days begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(u32);

impl Moment {
    const NEVER: Self = Self(0);

    fn elapsed(self, now: Self) -> Duration {
        Duration::from_millis(u64::from(now.0.wrapping_sub(self.0)))
    }
}

#[derive(Debug, Default)]
pub(crate) struct History {
    /// Rising sequence numbers.
    sent: VecDeque<Sent>,
    /// Those that have any, by rising sequence numbers: few streams do.
    shared: VecDeque<(u64, SharedExtension)>,
    /// The newest one of those that were forgotten.
    spare: Option<Sent>,
    began: Option<Instant>,
}

impl History {
    pub(crate) fn note(&mut self, packet: &Packet<'_>, payload_type: u8, now: Instant) {
        // The oldest one is not looked at: it has long left the processor's cache.
        if self.sent.len() >= PACKETS_MAX {
            self.sent.pop_front();
        }
        let sequence = packet.sequence;
        let sent = Sent {
            payload: Arc::clone(packet.payload.bytes),
            sequence,
            timestamp: packet.timestamp,
            at: self.moment(now),
            repeated: Moment::NEVER,
            patch: packet.patch,
            payload_type,
            marker: packet.payload.marker,
        };
        insert(&mut self.sent, sent, |sent| sent.sequence);
        if let Some(shared) = packet.shared {
            if self.shared.len() >= PACKETS_MAX {
                self.shared.pop_front();
            }
            insert(&mut self.shared, (sequence, shared.clone()), |it| it.0);
        }
    }

    fn moment(&mut self, now: Instant) -> Moment {
        moment(*self.began.get_or_insert(now), now)
    }

    /// Where the packet with these last 16 bits is.
    fn place_of(&self, sequence: u16) -> Option<usize> {
        let newest = self.sent.back()?.sequence;
        // How far behind the newest one.
        let behind = (newest as u16).wrapping_sub(sequence);
        let sequence = newest.checked_sub(u64::from(behind))?;
        let place = self
            .sent
            .binary_search_by_key(&sequence, |sent| sent.sequence);
        place.ok()
    }

    /// How long ago the packet with these last 16 bits was sent, if it is kept.
    pub(crate) fn age_of(&self, sequence: u16, now: Instant) -> Option<Duration> {
        let sent = self.sent.get(self.place_of(sequence)?)?;
        Some(sent.at.elapsed(moment(self.began?, now)))
    }

    /// The packet with these last 16 bits, if it may be repeated now.
    pub(crate) fn take(&mut self, sequence: u16, now: Instant) -> Option<Sent> {
        let now = self.moment(now);
        let place = self.place_of(sequence)?;
        let sent = self.sent.get_mut(place)?;
        let old = sent.at.elapsed(now) > AGE_MAX;
        let under_way = sent.repeated != Moment::NEVER && sent.repeated.elapsed(now) < REPEAT_AFTER;
        if old || under_way {
            return None;
        }
        sent.repeated = now;
        Some(sent.clone())
    }

    /// The extension that came with a packet.
    pub(crate) fn shared_of(&self, sent: &Sent) -> Option<SharedExtension> {
        let place = self.shared.binary_search_by_key(&sent.sequence, |it| it.0);
        let (_, shared) = self.shared.get(place.ok()?)?;
        Some(shared.clone())
    }

    /// Nothing of it is to be repeated.
    pub(crate) fn forget(&mut self) {
        self.spare = self.sent.pop_back().or(self.spare.take());
        self.sent.clear();
    }

    /// The packet that went out last.
    pub(crate) fn newest(&self) -> Option<Sent> {
        self.sent.back().or(self.spare.as_ref()).cloned()
    }
}

fn moment(began: Instant, now: Instant) -> Moment {
    let elapsed = now.saturating_duration_since(began).as_millis();
    // It wraps around.
    Moment((elapsed as u32).wrapping_add(1))
}

/// A packet that came late goes out late, but has its number.
fn insert<T>(sent: &mut VecDeque<T>, packet: T, sequence_of: impl Fn(&T) -> u64) {
    let sequence = sequence_of(&packet);
    let place = sent.iter().rposition(|it| sequence_of(it) < sequence);
    sent.insert(place.map_or(0, |place| place + 1), packet);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::Extensions;
    use crate::stream::Payload;

    fn with(sequences: &[u64], now: Instant) -> History {
        let mut history = History::default();
        for sequence in sequences {
            let bytes = sequence.to_be_bytes().to_vec().into();
            let payload = Payload {
                bytes: &bytes,
                payload_type: 96,
                repeat_type: Some(97),
                marker: false,
            };
            let packet = Packet {
                sequence: *sequence,
                timestamp: 0,
                payload,
                patch: Patch::default(),
                extensions: &Extensions::default(),
                shared: None,
            };
            history.note(&packet, 97, now);
        }
        history
    }

    fn found(history: &mut History, sequence: u16, now: Instant) -> Option<u64> {
        history.take(sequence, now).map(|sent| sent.sequence)
    }

    #[test]
    fn packets_are_found_by_their_last_16_bits_also_those_that_came_late() {
        let now = Instant::now();
        let mut history = with(&[65_534, 65_535, 65_537, 65_536], now);
        assert_eq!(found(&mut history, 65_534, now), Some(65_534));
        assert_eq!(found(&mut history, 0, now), Some(65_536));
        assert_eq!(found(&mut history, 1, now), Some(65_537));
        assert_eq!(found(&mut history, 2, now), None, "not sent yet");
        assert_eq!(found(&mut history, 65_533, now), None);
        assert_eq!(found(&mut with(&[], now), 1, now), None);
        assert_eq!(
            found(&mut with(&[3], now), 9, now),
            None,
            "before the first"
        );
    }

    #[test]
    fn nothing_is_repeated_twice_within_a_round_trip() {
        let now = Instant::now();
        let mut history = with(&[5], now);
        assert_eq!(found(&mut history, 5, now), Some(5));
        let soon = now + REPEAT_AFTER / 2;
        assert_eq!(found(&mut history, 5, soon), None);
        assert_eq!(found(&mut history, 5, now + REPEAT_AFTER), Some(5));
    }

    #[test]
    fn what_is_kept_of_a_packet_is_smaller_than_a_line_of_the_cache() {
        assert!(size_of::<Sent>() <= 64, "{}", size_of::<Sent>());
    }

    #[test]
    fn old_packets_go() {
        let now = Instant::now();
        let mut history = with(&[5], now);
        let late = now + AGE_MAX + Duration::from_millis(1);
        assert_eq!(found(&mut history, 5, late), None);
        let many: Vec<u64> = (0..2 * PACKETS_MAX as u64).collect();
        let mut history = with(&many, now);
        assert_eq!(history.sent.len(), PACKETS_MAX);
        assert_eq!(found(&mut history, 0, now), None);
        assert_eq!(
            found(&mut history, PACKETS_MAX as u16, now),
            Some(PACKETS_MAX as u64)
        );
    }
}
