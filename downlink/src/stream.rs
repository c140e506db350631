//! One outgoing RTP stream (RFC 3550), with the stream that repeats its packets (RFC 4588).

use crate::extension::{Extensions, SharedExtension};
use crate::history::{History, Sent};
use crate::patch::Patch;
use crate::protection::Keys;
use crate::report::Figures;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a header without extensions.
const FIXED: usize = 12;
const VERSION: u8 = 0x80;
const EXTENDED: u8 = 0x10;
const MARKER: u8 = 0x80;
/// First number of the repeating stream: below 65536, as RFC 3711 section 3.3.1 wants it.
const FIRST_REPEAT: u64 = 1;
/// Of what was sent, so much may be repeated: beyond, a link that loses more is only made worse.
const REPEATS_SHARE: u64 = 4;
/// And so much beyond it, bytes, so that a short stream can be repaired too.
const REPEATS_FREE: u64 = 64 * 1024;

/// The numbers under which a client knows a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// The stream's source.
    pub ssrc: u32,
    /// The source of repeated packets; `None`: nothing is repeated.
    pub repeat_ssrc: Option<u32>,
    /// Hz.
    pub clock_rate: u32,
}

/// What all receivers of a packet share, and under which types this one gets it.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The payload.
    pub bytes: &'a Arc<[u8]>,
    /// 7 bits.
    pub payload_type: u8,
    /// For the packet that repeats it; `None`: it is not kept to be sent once more.
    pub repeat_type: Option<u8>,
    /// The packet ends a frame.
    pub marker: bool,
}

/// A packet as one receiver gets it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Continued beyond 16 bits, never given twice.
    pub sequence: u64,
    /// In units of the stream's clock.
    pub timestamp: u32,
    /// What it carries.
    pub payload: Payload<'a>,
    /// What of that is different for this receiver.
    pub patch: Patch,
    /// The header's extensions.
    pub extensions: &'a Extensions,
    /// One more, that comes with the payload.
    pub shared: Option<&'a SharedExtension>,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug)]
struct Newest {
    timestamp: u32,
    /// When that was.
    at: Instant,
}

/// Which numbers were given: the ciphers fall with one that is given twice.
#[derive(Debug, Default)]
struct Given {
    newest: Option<u64>,
    /// Bit n: the number n below the newest one.
    window: u128,
}

impl Given {
    /// False: it was given, or is too far back to know.
    fn take(&mut self, sequence: u64) -> bool {
        let Some(newest) = self.newest else {
            (self.newest, self.window) = (Some(sequence), 1);
            return true;
        };
        if let Some(ahead) = sequence.checked_sub(newest).filter(|ahead| *ahead > 0) {
            let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
            self.window = self.window.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = Some(sequence);
            return true;
        }
        let behind = u32::try_from(newest - sequence).unwrap_or(u32::MAX);
        let bit = 1_u128.checked_shl(behind).unwrap_or(0);
        let fresh = bit != 0 && self.window & bit == 0;
        self.window |= bit;
        fresh
    }
}

/// One outgoing stream.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    given: Given,
    history: History,
    next_repeat: u64,
    newest: Option<Newest>,
    packets: u64,
    octets: u64,
    repeated: u64,
    known: bool,
}

impl Stream {
    /// A stream of which nothing was sent yet.
    pub fn new(config: StreamConfig) -> Self {
        Self {
            config,
            given: Given::default(),
            history: History::default(),
            next_repeat: FIRST_REPEAT,
            newest: None,
            packets: 0,
            octets: 0,
            repeated: 0,
            known: false,
        }
    }

    /// Its numbers.
    pub fn config(&self) -> StreamConfig {
        self.config
    }

    /// Another codec from now on: the clock may be another one, and the packets that repeat.
    pub fn reconfigure(&mut self, config: StreamConfig) {
        self.config = config;
    }

    /// The receiver has reported on it: it knows which section the stream belongs to.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// The receiver has reported on it.
    pub fn handle_known(&mut self) {
        self.known = true;
    }

    /// Writes a packet behind `into`. False: nothing was written, because its number was given before,
    /// or is too old to know.
    pub fn send(
        &mut self,
        keys: &Keys,
        packet: &Packet<'_>,
        now: Instant,
        into: &mut Vec<u8>,
    ) -> bool {
        if !self.given.take(packet.sequence) {
            return false;
        }
        let start = into.len();
        let head = Head {
            payload_type: packet.payload.payload_type,
            marker: packet.payload.marker,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            ssrc: self.config.ssrc,
        };
        let header = head.write(packet.extensions, packet.shared, into);
        let body = into.len();
        into.extend_from_slice(packet.payload.bytes);
        if let Some(body) = into.get_mut(body..) {
            packet.patch.apply(body);
        }
        if !keys.seal_rtp(into, start, header, head.ssrc, head.sequence) {
            into.truncate(start);
            return false;
        }
        self.packets += 1;
        self.octets += packet.payload.bytes.len() as u64;
        self.newest = Some(Newest {
            timestamp: packet.timestamp,
            at: now,
        });
        if let (Some(payload_type), Some(_)) = (packet.payload.repeat_type, self.config.repeat_ssrc)
        {
            self.history.note(packet, payload_type, now);
        }
        true
    }

    /// Writes a packet that the receiver misses once more behind `into` (RFC 4588 section 4). False:
    /// nothing was written, because it is not known any more, was repeated just now, or too much was
    /// repeated already.
    pub fn repeat(
        &mut self,
        keys: &Keys,
        sequence: u16,
        extensions: &Extensions,
        now: Instant,
        into: &mut Vec<u8>,
    ) -> bool {
        let allowed = self.octets / REPEATS_SHARE + REPEATS_FREE;
        if self.repeated >= allowed {
            return false;
        }
        let Some(sent) = self.history.take(sequence, now) else {
            return false;
        };
        self.repeated += sent.payload.len() as u64;
        self.write_again(keys, &sent, extensions, into)
    }

    /// How long ago the packet with these last 16 bits was sent, if it is kept.
    pub fn age_of(&self, sequence: u16, now: Instant) -> Option<Duration> {
        self.history.age_of(sequence, now)
    }

    /// Nothing of what was sent until now is sent once more.
    pub fn forget(&mut self) {
        self.history.forget();
    }

    /// Writes the newest packet once more behind `into`, for nothing but its length: the receiver, who
    /// has it, drops it. False: nothing was written, because no packet is kept.
    pub fn pad(&mut self, keys: &Keys, extensions: &Extensions, into: &mut Vec<u8>) -> bool {
        let Some(newest) = self.history.newest() else {
            return false;
        };
        self.write_again(keys, &newest, extensions, into)
    }

    fn write_again(
        &mut self,
        keys: &Keys,
        sent: &Sent,
        extensions: &Extensions,
        into: &mut Vec<u8>,
    ) -> bool {
        let Some(ssrc) = self.config.repeat_ssrc else {
            return false;
        };
        let start = into.len();
        let number = self.next_repeat;
        self.next_repeat += 1;
        let head = Head {
            payload_type: sent.payload_type,
            marker: sent.marker,
            sequence: number,
            timestamp: sent.timestamp,
            ssrc,
        };
        let shared = self.history.shared_of(sent);
        let header = head.write(extensions, shared.as_ref(), into);
        // Its last 16 bits are its number.
        into.extend_from_slice(&(sent.sequence as u16).to_be_bytes());
        let body = into.len();
        into.extend_from_slice(&sent.payload);
        if let Some(body) = into.get_mut(body..) {
            sent.patch.apply(body);
        }
        if !keys.seal_rtp(into, start, header, ssrc, number) {
            into.truncate(start);
            return false;
        }
        true
    }

    /// For a sender report of `now`; `None` before the first packet.
    pub fn figures(&self, now: Instant) -> Option<Figures> {
        let newest = self.newest?;
        let since = now.saturating_duration_since(newest.at).as_micros();
        let ticks = since * u128::from(self.config.clock_rate) / 1_000_000;
        // All three wrap around, as the RFC wants it.
        let timestamp = newest.timestamp.wrapping_add(ticks as u32);
        Some(Figures {
            timestamp,
            packets: self.packets as u32,
            octets: self.octets as u32,
        })
    }
}

/// A header (RFC 3550 section 5.1).
struct Head {
    payload_type: u8,
    marker: bool,
    sequence: u64,
    timestamp: u32,
    ssrc: u32,
}

impl Head {
    /// Its length.
    fn write(
        &self,
        extensions: &Extensions,
        shared: Option<&SharedExtension>,
        into: &mut Vec<u8>,
    ) -> usize {
        let start = into.len();
        let mut fixed = [0; FIXED];
        let has_any = !extensions.is_empty() || shared.is_some();
        let extended = if has_any { EXTENDED } else { 0 };
        let marker = if self.marker { MARKER } else { 0 };
        let [.., high, low] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [s0, s1, s2, s3] = self.ssrc.to_be_bytes();
        fixed.copy_from_slice(&[
            VERSION | extended,
            marker | self.payload_type,
            high,
            low,
            t0,
            t1,
            t2,
            t3,
            s0,
            s1,
            s2,
            s3,
        ]);
        into.extend_from_slice(&fixed);
        if has_any {
            extensions.write(shared, into);
        }
        into.len() - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Profile, Side};
    use std::sync::LazyLock;

    static ABC: LazyLock<Arc<[u8]>> = LazyLock::new(|| b"abc".as_slice().into());

    const CONFIG: StreamConfig = StreamConfig {
        ssrc: 0x0102_0304,
        repeat_ssrc: Some(0x0506_0708),
        clock_rate: 90_000,
    };

    fn keys() -> Keys {
        let material = [7; 56];
        Keys::new(Profile::Aes128Gcm, &material, Side::Server).unwrap()
    }

    fn video(bytes: &Arc<[u8]>) -> Payload<'_> {
        Payload {
            bytes,
            payload_type: 96,
            repeat_type: Some(97),
            marker: true,
        }
    }

    fn packet<'a>(sequence: u64, payload: Payload<'a>, extensions: &'a Extensions) -> Packet<'a> {
        Packet {
            sequence,
            timestamp: 0x1122_3344,
            payload,
            patch: Patch::default(),
            extensions,
            shared: None,
        }
    }

    fn repeat(stream: &mut Stream, sequence: u16, now: Instant) -> Option<Vec<u8>> {
        let mut sent = Vec::new();
        stream
            .repeat(&keys(), sequence, &Extensions::default(), now, &mut sent)
            .then_some(sent)
    }

    #[test]
    fn packets_lie_one_behind_the_other_under_their_own_numbers() {
        let (now, keys) = (Instant::now(), keys());
        let mut stream = Stream::new(CONFIG);
        let mut sent = Vec::new();
        let mut extensions = Extensions::default();
        assert!(stream.send(
            &keys,
            &packet(0x1_0005, video(&ABC), &extensions),
            now,
            &mut sent
        ));
        assert_eq!(sent.len(), 12 + 3 + 16);
        assert_eq!(
            sent[..12],
            [0x80, 0xe0, 0, 5, 0x11, 0x22, 0x33, 0x44, 1, 2, 3, 4]
        );
        extensions.push(1, &[0x85]).unwrap();
        let mut quiet = video(&ABC);
        quiet.marker = false;
        assert!(stream.send(&keys, &packet(0x1_0006, quiet, &extensions), now, &mut sent));
        let second = &sent[31..];
        assert_eq!(second.len(), 12 + 8 + 3 + 16);
        assert_eq!(second[..4], [0x90, 0x60, 0, 6]);
        assert_eq!(second[12..20], [0xbe, 0xde, 0, 1, 0x10, 0x85, 0, 0]);
    }

    #[test]
    fn what_is_missing_is_sent_once_more_as_it_was_under_another_name() {
        let (now, keys) = (Instant::now(), keys());
        let mut stream = Stream::new(CONFIG);
        let mut patched = Patch::default();
        patched.set(0, b'x');
        let payload = video(&ABC);
        let extensions = Extensions::default();
        let mut one = packet(9, payload, &extensions);
        one.patch = patched;
        assert!(stream.send(&keys, &one, now, &mut Vec::new()));
        let again = repeat(&mut stream, 9, now).unwrap();
        assert_eq!(again[..4], [0x80, 0x80 | 97, 0, 1]);
        assert_eq!(again[8..12], [5, 6, 7, 8]);
        assert_eq!(again.len(), 12 + 2 + 3 + 16);
        // The same, sealed by hand.
        let mut by_hand = again[..12].to_vec();
        by_hand.extend_from_slice(b"\x00\x09xbc");
        assert!(keys.seal_rtp(&mut by_hand, 0, 12, 0x0506_0708, 1));
        assert_eq!(again, by_hand);
        assert_eq!(repeat(&mut stream, 9, now), None, "it is under way");
        assert_eq!(repeat(&mut stream, 8, now), None, "never sent");
        let later = now + Duration::from_millis(50);
        assert_eq!(repeat(&mut stream, 9, later).unwrap()[2..4], [0, 2]);
    }

    #[test]
    fn a_shared_extension_goes_along_whenever_the_packet_is_sent() {
        let (now, keys) = (Instant::now(), keys());
        let (payload, extensions) = (video(&ABC), Extensions::default());
        let shared = SharedExtension {
            id: 12,
            bytes: [1, 2, 3].as_slice().into(),
            patch: Patch::default(),
        };
        let mut stream = Stream::new(CONFIG);
        let mut one = packet(9, payload, &extensions);
        one.shared = Some(&shared);
        let mut sent = Vec::new();
        assert!(stream.send(&keys, &one, now, &mut sent));
        let again = repeat(&mut stream, 9, now).unwrap();
        for written in [&sent, &again] {
            assert_eq!(written[0], 0x90);
            assert_eq!(written[12..20], [0xbe, 0xde, 0, 1, 0xc2, 1, 2, 3]);
        }
    }

    #[test]
    fn what_is_forgotten_is_not_sent_once_more() {
        let (now, keys) = (Instant::now(), keys());
        let (payload, extensions) = (video(&ABC), Extensions::default());
        let mut stream = Stream::new(CONFIG);
        let send = |stream: &mut Stream, sequence| {
            let one = packet(sequence, payload, &extensions);
            assert!(stream.send(&keys, &one, now, &mut Vec::new()));
        };
        send(&mut stream, 8);
        let later = now + Duration::from_millis(40);
        assert_eq!(stream.age_of(8, later), Some(Duration::from_millis(40)));
        assert_eq!(stream.age_of(7, later), None);
        stream.forget();
        assert_eq!(stream.age_of(8, later), None);
        assert_eq!(repeat(&mut stream, 8, now), None);
        let padding = stream.pad(&keys, &extensions, &mut Vec::new());
        assert!(padding, "the line can be probed all the same");
        send(&mut stream, 9);
        assert!(repeat(&mut stream, 9, now).is_some());
    }

    #[test]
    fn padding_is_the_newest_packet_once_more_as_often_as_wanted() {
        let (now, keys) = (Instant::now(), keys());
        let (payload, extensions) = (video(&ABC), Extensions::default());
        let mut stream = Stream::new(CONFIG);
        let mut sent = Vec::new();
        assert!(
            !stream.pad(&keys, &extensions, &mut sent),
            "nothing to take"
        );
        for sequence in [8, 9] {
            let one = packet(sequence, payload, &extensions);
            assert!(stream.send(&keys, &one, now, &mut Vec::new()));
        }
        assert!(stream.pad(&keys, &extensions, &mut sent));
        assert!(stream.pad(&keys, &extensions, &mut sent));
        let (first, second) = sent.split_at(12 + 2 + 3 + 16);
        assert_eq!(
            (&first[..4], &second[..4]),
            (&[0x80, 0xe1, 0, 1][..], &[0x80, 0xe1, 0, 2][..])
        );
        let mut by_hand = first[..12].to_vec();
        by_hand.extend_from_slice(b"\x00\x09abc");
        assert!(keys.seal_rtp(&mut by_hand, 0, 12, 0x0506_0708, 1));
        assert_eq!(first, by_hand);
        assert!(
            repeat(&mut stream, 9, now).is_some(),
            "it may still be asked for"
        );
    }

    #[test]
    fn sound_is_not_kept() {
        let (now, keys) = (Instant::now(), keys());
        let extensions = Extensions::default();
        let mut sound = video(&ABC);
        sound.repeat_type = None;
        let mut stream = Stream::new(CONFIG);
        assert!(stream.send(&keys, &packet(9, sound, &extensions), now, &mut Vec::new()));
        assert_eq!(repeat(&mut stream, 9, now), None);
        let mut once = Stream::new(StreamConfig {
            repeat_ssrc: None,
            ..CONFIG
        });
        let payload = video(&ABC);
        assert!(once.send(
            &keys,
            &packet(9, payload, &extensions),
            now,
            &mut Vec::new()
        ));
        assert_eq!(repeat(&mut once, 9, now), None);
    }

    #[test]
    fn no_number_is_given_twice() {
        let (now, keys) = (Instant::now(), keys());
        let (payload, extensions) = (video(&ABC), Extensions::default());
        let mut stream = Stream::new(CONFIG);
        let mut send = |sequence| {
            let mut sent = b"x".to_vec();
            let done = stream.send(
                &keys,
                &packet(sequence, payload, &extensions),
                now,
                &mut sent,
            );
            assert_eq!(sent.len() > 1, done);
            done
        };
        assert!(send(1000) && send(1002) && send(1001));
        assert!(!send(1000) && !send(1001) && !send(1002));
        assert!(send(999), "late, but new");
        assert!(!send(999));
        assert!(send(1500));
        assert!(!send(1003), "too far back to know");
        assert!(send(1499) && send(u64::from(u32::MAX) * 5));
    }

    #[test]
    fn a_link_that_loses_everything_is_not_drowned() {
        let (now, keys) = (Instant::now(), keys());
        let bytes = [0; 1000].as_slice().into();
        let (payload, extensions) = (video(&bytes), Extensions::default());
        let mut stream = Stream::new(CONFIG);
        for sequence in 0..500 {
            assert!(stream.send(
                &keys,
                &packet(sequence, payload, &extensions),
                now,
                &mut Vec::new()
            ));
        }
        let mut repeated = 0;
        for round in 0..10 {
            let now = now + Duration::from_millis(30 * round);
            repeated += (0..500)
                .filter(|n| repeat(&mut stream, *n, now).is_some())
                .count();
        }
        // A quarter of what was sent, and 64 KiB.
        assert_eq!(repeated, 125 + 66);
    }

    #[test]
    fn reports_know_the_time_of_the_stream_and_all_that_was_sent() {
        let (now, keys) = (Instant::now(), keys());
        let (payload, extensions) = (video(&ABC), Extensions::default());
        let mut stream = Stream::new(CONFIG);
        assert_eq!(stream.figures(now), None);
        for sequence in 0..2 {
            stream.send(
                &keys,
                &packet(sequence, payload, &extensions),
                now,
                &mut Vec::new(),
            );
        }
        let figures = stream.figures(now + Duration::from_millis(100)).unwrap();
        assert_eq!(
            (figures.timestamp, figures.packets, figures.octets),
            (0x1122_3344 + 9000, 2, 6)
        );
    }
}
