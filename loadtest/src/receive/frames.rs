//! Frames that a decoder could show: complete, and with nothing missing before them since the last
//! key frame.
//!
//! Stamps say how many packets a frame has and which frame follows which. Without stamps (foreign or
//! encrypted media) a frame is complete when its packets have no gap up to the marker, and nothing is
//! known of what it needs.

use super::Packet;
use crate::media::Layer;
use std::collections::BTreeMap;

/// Frames in the making at most: more than a second of video. The oldest is given up.
const OPEN_MAX: usize = 32;
/// Ticks of 90 kHz: timestamps that are so far from the newest are another source's, 10 s.
const STEP_MAX: u32 = 900_000;

/// What a packet made possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Frames that can be shown now.
    pub frames: u32,
    /// How often the layer changed among them.
    pub switches: u32,
}

#[derive(Debug, Default)]
struct Open {
    packets: u64,
    first: u64,
    marker: Option<u64>,
    needed: Option<u64>,
    number: Option<u32>,
    key: bool,
    layer: Option<Layer>,
}

impl Open {
    fn is_complete(&self, stamped: bool) -> bool {
        match (self.needed, self.marker) {
            (Some(needed), _) => self.packets >= needed,
            (None, Some(marker)) if !stamped => marker.saturating_sub(self.first) < self.packets,
            (None, _) => false,
        }
    }
}

/// Puts the packets of one video stream together.
#[derive(Debug, Default)]
pub struct FrameTracker {
    open: BTreeMap<i64, Open>,
    newest: Option<(i64, u32)>,
    /// Time and number of the last frame shown.
    shown: Option<(i64, Option<u32>)>,
    layer: Option<Layer>,
    /// The stream has stamps: a frame without one is not whole.
    stamped: bool,
}

impl FrameTracker {
    /// Takes a packet that has not come before; `extended` is its sequence number without wraps.
    pub fn handle_packet(&mut self, packet: &Packet, extended: u64) -> Shown {
        if self.is_foreign(packet.timestamp) {
            self.handle_restart();
        }
        let time = self.unwrap(packet.timestamp);
        self.stamped |= packet.stamp.is_some();
        if self.shown.is_some_and(|(shown, _)| time <= shown) {
            return Shown::default();
        }
        let open = self.open.entry(time).or_default();
        open.first = if open.packets == 0 {
            extended
        } else {
            open.first.min(extended)
        };
        open.packets += 1;
        if packet.marker {
            open.marker = Some(extended);
        }
        if let Some(stamp) = packet.stamp {
            open.needed = Some(u64::from(stamp.packets));
            open.number = Some(stamp.frame);
            open.key |= stamp.key;
            open.layer = Some(stamp.layer);
        }
        let shown = self.show();
        while self.open.len() > OPEN_MAX {
            self.open.pop_first();
        }
        shown
    }

    /// So many frames are whole and cannot be shown, because something before them is missing.
    #[must_use]
    pub fn stuck(&self) -> usize {
        let whole = |frame: &&Open| frame.is_complete(self.stamped);
        self.open.values().filter(whole).count()
    }

    /// The source has changed: nothing can be shown until the next key frame.
    pub fn handle_restart(&mut self) {
        self.open.clear();
        self.newest = None;
        self.shown = None;
    }

    fn show(&mut self) -> Shown {
        let mut all = Shown::default();
        loop {
            let next = self.open.first_entry().filter(|first| {
                first.get().is_complete(self.stamped) && follows(self.shown, first.get())
            });
            if let Some((time, frame)) = next.map(|next| next.remove_entry()) {
                all.frames += 1;
                let changed = frame.layer.is_some() && self.layer.is_some();
                all.switches += u32::from(changed && frame.layer != self.layer);
                self.layer = frame.layer.or(self.layer);
                self.shown = Some((time, frame.number));
                continue;
            }
            // A whole key frame needs nothing of what is missing before it. Without stamps we do
            // not know, and take it that decoders conceal.
            let stamped = self.stamped;
            let starts = |frame: &Open| (frame.key || !stamped) && frame.is_complete(stamped);
            let key = self.open.iter().rev().find(|(_, frame)| starts(frame));
            let Some(key) = key.map(|(time, _)| *time) else {
                return all;
            };
            self.open = self.open.split_off(&key);
        }
    }

    /// The timestamp has nothing to do with those before.
    fn is_foreign(&self, timestamp: u32) -> bool {
        let step = |newest: u32| timestamp.wrapping_sub(newest).cast_signed().unsigned_abs();
        self.newest
            .is_some_and(|(_, newest)| step(newest) > STEP_MAX)
    }

    /// The timestamp without wraps, near the newest so far.
    fn unwrap(&mut self, timestamp: u32) -> i64 {
        let Some((time, newest)) = self.newest else {
            self.newest = Some((0, timestamp));
            return 0;
        };
        let step = i64::from(timestamp.wrapping_sub(newest).cast_signed());
        if step > 0 {
            self.newest = Some((time + step, timestamp));
        }
        time + step
    }
}

fn follows(shown: Option<(i64, Option<u32>)>, frame: &Open) -> bool {
    let Some(number) = frame.number else {
        return true;
    };
    let before = shown.and_then(|(_, number)| number);
    frame.key || before.is_some_and(|before| before.wrapping_add(1) == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    /// Packet `index` of `packets` of frame `number`; sequence numbers are 10 a frame.
    fn packet(number: u32, index: u16, packets: u16) -> (Packet, u64) {
        let stamp = Stamp {
            sent_ns: 0,
            sequence: 0,
            frame: number,
            index,
            packets,
            layer: if number < 20 { Layer::High } else { Layer::Low },
            key: number.is_multiple_of(10),
        };
        let packet = Packet {
            sequence: 0,
            timestamp: (number * 3600).wrapping_sub(10_000),
            marker: index + 1 == packets,
            bytes: 1000,
            stamp: Some(stamp),
        };
        (packet, u64::from(number) * 10 + u64::from(index))
    }

    fn play(tracker: &mut FrameTracker, packets: &[(u32, u16, u16)]) -> Vec<u32> {
        let mut shown = Vec::new();
        for (number, index, count) in packets {
            let (packet, extended) = packet(*number, *index, *count);
            shown.push(tracker.handle_packet(&packet, extended).frames);
        }
        shown
    }

    #[test]
    fn a_frame_is_shown_with_its_last_packet_whatever_the_order() {
        let mut tracker = FrameTracker::default();
        let packets = [(0, 1, 2), (0, 0, 2), (1, 0, 2), (2, 0, 1), (1, 1, 2)];
        assert_eq!(play(&mut tracker, &packets), [0, 1, 0, 0, 2]);
        assert!(tracker.open.is_empty());
    }

    #[test]
    fn after_a_loss_nothing_is_shown_until_the_next_key_frame() {
        let mut tracker = FrameTracker::default();
        let packets = [(0, 0, 1), (2, 0, 1), (3, 0, 1), (10, 0, 1), (11, 0, 1)];
        assert_eq!(play(&mut tracker, &packets), [1, 0, 0, 1, 1]);
        assert!(tracker.open.is_empty());
    }

    #[test]
    fn a_stream_starts_with_a_key_frame() {
        let mut tracker = FrameTracker::default();
        assert_eq!(
            play(&mut tracker, &[(8, 0, 1), (9, 0, 1), (10, 0, 1)]),
            [0, 0, 1]
        );
    }

    #[test]
    fn another_layer_is_a_switch() {
        let mut tracker = FrameTracker::default();
        play(&mut tracker, &[(10, 0, 1)]);
        let (key, extended) = packet(20, 0, 1);
        let shown = tracker.handle_packet(&key, extended);
        assert_eq!((shown.frames, shown.switches), (1, 1));
    }

    #[test]
    fn without_stamps_a_frame_without_gaps_is_shown() {
        let mut tracker = FrameTracker::default();
        let mut frames = Vec::new();
        for (number, index, count) in [(0, 0, 2), (0, 1, 2), (1, 0, 3), (1, 2, 3), (2, 0, 1)] {
            let (packet, extended) = packet(number, index, count);
            let bare = Packet {
                stamp: None,
                ..packet
            };
            frames.push(tracker.handle_packet(&bare, extended).frames);
        }
        assert_eq!(frames, [0, 1, 0, 0, 1], "the second has a gap");
    }

    #[test]
    fn timestamps_of_another_source_start_anew_with_its_key_frame() {
        let mut tracker = FrameTracker::default();
        play(&mut tracker, &[(0, 0, 1), (1, 0, 1)]);
        let moved = |number| {
            let (packet, extended) = packet(number, 0, 1);
            let timestamp = packet.timestamp.wrapping_sub(90_000 * 60);
            (
                Packet {
                    timestamp,
                    ..packet
                },
                extended,
            )
        };
        let shown: Vec<u32> = [9, 10, 11]
            .map(|number| {
                let (packet, extended) = moved(number);
                tracker.handle_packet(&packet, extended).frames
            })
            .to_vec();
        assert_eq!(shown, [0, 1, 1]);
    }

    #[test]
    fn open_frames_are_bounded() {
        let mut tracker = FrameTracker::default();
        for number in 1..200 {
            play(&mut tracker, &[(number * 10 + 1, 0, 2)]);
        }
        assert_eq!(tracker.open.len(), OPEN_MAX);
    }
}
