//! A camera that shows nothing: frames of VP8 packets (RFC 7741) at a steady rate, each with the time
//! at which it was written.

use super::order::Order;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Frames a second.
pub(crate) const FRAMES_PER_SECOND: u32 = 30;
/// A key frame comes at least so often, in frames.
const KEY_FRAME_EVERY: u32 = 2 * FRAMES_PER_SECOND;
/// At the end of a payload: mark, then the time in ns since 1970.
const STAMP_BYTES: usize = 16;
const MARK: [u8; 8] = *b"anteroom";
/// Bytes of a payload that cannot be chosen: descriptor, frame header, stamp.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 14 + STAMP_BYTES;

/// What is written.
pub(crate) struct Packet {
    pub(crate) payload: Arc<[u8]>,
    /// 90 kHz.
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
}

/// A camera.
pub(crate) struct Camera {
    bytes: usize,
    packets: u32,
    /// By how much it is behind the others, so that not all speak at once.
    phase: Duration,
    born: Instant,
    order: Order,
    due: Option<Instant>,
    frame: u32,
    left: u32,
    key_wanted: bool,
}

impl Camera {
    /// `packets` of `bytes` each a frame.
    pub(crate) fn new(bytes: usize, packets: u32, phase: Duration, now: Instant) -> Self {
        Self {
            bytes,
            packets,
            phase,
            born: now,
            order: Order::Still,
            due: None,
            frame: 0,
            left: 0,
            key_wanted: true,
        }
    }

    /// Does as it is told from now on.
    pub(crate) fn obey(&mut self, order: Order, now: Instant) {
        self.order = order;
        (self.due, self.left) = match order {
            Order::Still => (None, 0),
            Order::Warm => (Some(now + self.phase), u32::MAX),
            Order::Run { begin, frames } => (Some(begin + self.phase), frames),
        };
    }

    /// When the next frame is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next frame is to be a key frame.
    pub(crate) fn refresh(&mut self) {
        self.key_wanted = true;
    }

    /// Writes the frame that is due, packet by packet.
    pub(crate) fn shoot(&mut self, due: Instant, mut write: impl FnMut(Packet)) {
        let key =
            std::mem::take(&mut self.key_wanted) || self.frame.is_multiple_of(KEY_FRAME_EVERY);
        // Warm is to keep everything alive, not to load it.
        let packets = match self.order {
            Order::Warm => 1,
            Order::Still | Order::Run { .. } => self.packets,
        };
        // Rounded: a thirtieth of a second is no whole number of nanoseconds.
        let ticks = (due.saturating_duration_since(self.born).as_nanos() * 9 + 50_000) / 100_000;
        for index in 0..packets {
            write(Packet {
                payload: payload(self.bytes, self.frame, index == 0, key).into(),
                // The clock wraps (RFC 3550 section 5.1).
                timestamp: (ticks & u128::from(u32::MAX)) as u32,
                marker: index + 1 == packets,
            });
        }
        self.frame = self.frame.wrapping_add(1);
        self.left = self.left.saturating_sub(1);
        self.due = (self.left > 0).then(|| due + Duration::from_secs(1) / FRAMES_PER_SECOND);
    }
}

/// A packet of a frame, stamped now.
fn payload(bytes: usize, frame: u32, first: bool, key: bool) -> Vec<u8> {
    let [_, _, high, low] = frame.to_be_bytes();
    // Descriptor with a picture id of 15 bits (section 4.2).
    let start = if first { 0x10 } else { 0 };
    let mut out = vec![0x80 | start, 0x80, 0x80 | high, low];
    if first {
        // Frame header (RFC 6386 section 9.1): 1280 x 720 in a key frame.
        out.extend_from_slice(&[if key { 0x10 } else { 0x11 }, 0, 0]);
        if key {
            out.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        }
    }
    out.resize(bytes.max(PAYLOAD_BYTES_MIN) - STAMP_BYTES, 0xab);
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&since_1970_ns().to_be_bytes());
    out
}

fn since_1970_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // In the year 2554 it no longer fits.
    u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// When a payload was written, since 1970; `None`: it is none of ours.
pub(crate) fn written_at(payload: &[u8]) -> Option<Duration> {
    let (rest, time) = payload.split_last_chunk::<8>()?;
    let (_, mark) = rest.split_last_chunk::<8>()?;
    (*mark == MARK).then(|| Duration::from_nanos(u64::from_be_bytes(*time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(camera: &mut Camera) -> Vec<Packet> {
        let mut packets = Vec::new();
        let due = camera.due().unwrap();
        camera.shoot(due, |packet| packets.push(packet));
        packets
    }

    #[test]
    fn a_run_has_its_frames_and_then_ends() {
        let begin = Instant::now();
        let mut camera = Camera::new(1150, 8, Duration::from_millis(5), begin);
        camera.obey(Order::Run { begin, frames: 2 }, begin);
        assert_eq!(camera.due(), Some(begin + Duration::from_millis(5)));
        let first = shot(&mut camera);
        assert_eq!(first.len(), 8);
        assert!(first.iter().all(|packet| packet.payload.len() == 1150));
        assert_eq!(first.iter().filter(|packet| packet.marker).count(), 1);
        assert!(first.last().unwrap().marker);
        assert_eq!(first[0].payload[0] & 0x10, 0x10, "the start of a frame");
        assert_eq!(first[1].payload[0] & 0x10, 0);
        assert_eq!(first[0].payload[4] & 1, 0, "a key frame");
        let second = shot(&mut camera);
        assert_eq!(second[0].payload[4] & 1, 1, "none");
        assert_eq!(second[0].timestamp.wrapping_sub(first[0].timestamp), 3000);
        assert_eq!(camera.due(), None);
    }

    #[test]
    fn a_wish_for_a_key_frame_is_granted_once() {
        let now = Instant::now();
        let mut camera = Camera::new(100, 1, Duration::ZERO, now);
        camera.obey(Order::Warm, now);
        let is_key = |packets: &[Packet]| packets[0].payload[4] & 1 == 0;
        assert!(is_key(&shot(&mut camera)));
        assert!(!is_key(&shot(&mut camera)));
        camera.refresh();
        assert!(is_key(&shot(&mut camera)));
        assert!(!is_key(&shot(&mut camera)));
    }

    #[test]
    fn the_stamp_is_read_back_and_no_other() {
        let before = since_1970_ns();
        let packet = payload(64, 0, true, true);
        let at = written_at(&packet).unwrap().as_nanos();
        assert!(at >= u128::from(before) && at <= u128::from(since_1970_ns()));
        assert_eq!(written_at(&[0; 64]), None);
        assert_eq!(written_at(&[]), None);
    }
}
