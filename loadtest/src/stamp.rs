//! What each packet carries of its sending: when, which packet, which frame, which layer.
//!
//! 32 bytes. None of them is zero and all but the magic have the top bit set, so no stamp can look
//! like a start code inside an H.264 NAL unit (H.264 section 7.4.1) and no escaping is needed.
//! Where it sits is the packetizers' choice ([`crate::packetize`]): behind everything that an SFU
//! looks at, at the end of the payload, or in an H.264 SEI message of its own.

use crate::media::{Codec, Layer};

/// Bytes of a stamp.
pub const STAMP_LEN: usize = MAGIC.len() + GROUPS;

/// Unlikely at the end of coded media, and without a zero byte.
const MAGIC: [u8; 4] = [0xa7, 0x4c, 0x54, 0xe1];
/// Bytes with seven bits each: info 1, index 2, packets 2, frame 5, sequence 5, sent 10, check 3.
const GROUPS: usize = 1 + 2 + 2 + 5 + 5 + 10 + 3;
const CHECKED: usize = STAMP_LEN - 3;
const LAYER_MASK: u64 = 0b0011;
const KEY_BIT: u64 = 0b0100;

/// H.264 user data (SEI payload type 5) starts with a UUID that says whose it is.
const SEI_UUID: [u8; 16] = *b"anteroom-stamp-1";
const SEI_PAYLOAD_LEN: u8 = 48;
const _: () = assert!(SEI_UUID.len() + STAMP_LEN == SEI_PAYLOAD_LEN as usize);
const NAL_SEI: u8 = 6;
const NAL_STAP_A: u8 = 24;
const SEI_USER_DATA_UNREGISTERED: u8 = 5;
/// Most NAL units looked at in one aggregation packet: ours has at most four.
const AGGREGATED_MAX: usize = 8;

/// The sending of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the packet was handed to the socket, in nanoseconds of the clock that sender and
    /// receiver share (since the start of the run).
    pub sent_ns: u64,
    /// Packet of this track and layer, from 0, without gaps; wraps.
    pub sequence: u32,
    /// Frame of this track, the same for all layers; wraps.
    pub frame: u32,
    /// Which packet of its frame, from 0. At most [`Stamp::COUNT_MAX`].
    pub index: u16,
    /// How many packets the frame has. At most [`Stamp::COUNT_MAX`].
    pub packets: u16,
    /// The simulcast layer; audio is [`Layer::Low`].
    pub layer: Layer,
    /// The frame is a key frame.
    pub key: bool,
}

impl Stamp {
    /// The largest packet count of a frame that fits: 16 MiB of media.
    pub const COUNT_MAX: u16 = 0x3fff;

    /// The bytes to be sent.
    #[must_use]
    pub fn encode(&self) -> [u8; STAMP_LEN] {
        let mut out = [0; STAMP_LEN];
        let mut writer = Groups { rest: &mut out };
        writer.raw(&MAGIC);
        let key = if self.key { KEY_BIT } else { 0 };
        writer.number(1, u64::from(self.layer.index()) | key);
        writer.number(2, u64::from(self.index.min(Self::COUNT_MAX)));
        writer.number(2, u64::from(self.packets.min(Self::COUNT_MAX)));
        writer.number(5, u64::from(self.frame));
        writer.number(5, u64::from(self.sequence));
        writer.number(10, self.sent_ns);
        let check = check(&out);
        let mut writer = Groups {
            rest: out.get_mut(CHECKED..).unwrap_or_default(),
        };
        writer.number(3, check);
        out
    }

    /// A stamp that ends `payload`, however long that is. Anything else is `None`.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes = payload.last_chunk::<STAMP_LEN>()?;
        if bytes.first_chunk::<4>() != Some(&MAGIC) {
            return None;
        }
        let mut rest = bytes.get(MAGIC.len()..)?;
        let info = number(&mut rest, 1)?;
        let index = number(&mut rest, 2)?;
        let packets = number(&mut rest, 2)?;
        let frame = number(&mut rest, 5)?;
        let sequence = number(&mut rest, 5)?;
        let sent_ns = number(&mut rest, 10)?;
        let sum = number(&mut rest, 3)?;
        if sum != check(bytes) || info & !(LAYER_MASK | KEY_BIT) != 0 {
            return None;
        }
        Some(Self {
            sent_ns,
            sequence: u32::try_from(sequence).ok()?,
            frame: u32::try_from(frame).ok()?,
            index: u16::try_from(index).ok()?,
            packets: u16::try_from(packets).ok()?,
            layer: Layer::from_index(u8::try_from(info & LAYER_MASK).ok()?)?,
            key: info & KEY_BIT != 0,
        })
    }

    /// The stamp of an RTP payload of this codec: at its end, or in an H.264 SEI message.
    #[must_use]
    pub fn find(codec: Codec, payload: &[u8]) -> Option<Self> {
        Self::decode(payload).or_else(|| match codec {
            Codec::H264 => find_in_h264(payload),
            Codec::Vp8 | Codec::Opus => None,
        })
    }

    /// The stamp as an H.264 NAL unit: an SEI message of unregistered user data (H.264 D.1.7).
    /// Decoders pass over it.
    #[must_use]
    pub fn sei(&self) -> Vec<u8> {
        let mut nal = Vec::with_capacity(SEI_LEN);
        nal.extend([NAL_SEI, SEI_USER_DATA_UNREGISTERED, SEI_PAYLOAD_LEN]);
        nal.extend(SEI_UUID);
        nal.extend(self.encode());
        nal.push(0x80);
        nal
    }
}

/// Bytes of [`Stamp::sei`].
pub const SEI_LEN: usize = 3 + SEI_UUID.len() + STAMP_LEN + 1;

fn find_in_h264(payload: &[u8]) -> Option<Stamp> {
    let (header, mut rest) = payload.split_first()?;
    if header & 0x1f != NAL_STAP_A {
        return stamp_of_sei(payload);
    }
    for _ in 0..AGGREGATED_MAX {
        let (size, after) = rest.split_first_chunk::<2>()?;
        let (nal, next) = after.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        if let Some(stamp) = stamp_of_sei(nal) {
            return Some(stamp);
        }
        rest = next;
    }
    None
}

fn stamp_of_sei(nal: &[u8]) -> Option<Stamp> {
    let (header, rest) = nal.split_first_chunk::<3>()?;
    let ours = [NAL_SEI, SEI_USER_DATA_UNREGISTERED, SEI_PAYLOAD_LEN];
    if header[0] & 0x1f != NAL_SEI || header[1..] != ours[1..] {
        return None;
    }
    let (uuid, rest) = rest.split_first_chunk::<16>()?;
    if *uuid != SEI_UUID {
        return None;
    }
    Stamp::decode(rest.get(..STAMP_LEN)?)
}

/// FNV-1a, folded to 16 bits: a stamp is told from media by magic and check together.
fn check(bytes: &[u8; STAMP_LEN]) -> u64 {
    let covered = bytes.get(..CHECKED).unwrap_or_default();
    let hash = covered.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    u64::from((hash >> 16) ^ (hash & 0xffff))
}

/// Writes numbers in groups of seven bits, the most significant first.
struct Groups<'a> {
    rest: &'a mut [u8],
}

impl Groups<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.rest = rest;
    }

    fn number(&mut self, groups: usize, value: u64) {
        let (here, rest) = std::mem::take(&mut self.rest).split_at_mut(groups);
        let mut left = value;
        for byte in here.iter_mut().rev() {
            *byte = 0x80 | u8::try_from(left & 0x7f).unwrap_or(0);
            left >>= 7;
        }
        self.rest = rest;
    }
}

/// Reads what [`Groups::number`] wrote; `None` if a byte is not of a group or the number overflows.
fn number(rest: &mut &[u8], groups: usize) -> Option<u64> {
    let (here, after) = rest.split_at_checked(groups)?;
    *rest = after;
    here.iter().try_fold(0_u64, |value, byte| {
        let fits = byte & 0x80 != 0 && value >> 57 == 0;
        fits.then(|| (value << 7) | u64::from(byte & 0x7f))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        let parts = (
            any::<u64>(),
            any::<u32>(),
            any::<u32>(),
            0..=Stamp::COUNT_MAX,
            0..=Stamp::COUNT_MAX,
            0_u8..3,
            any::<bool>(),
        );
        parts.prop_map(
            |(sent_ns, sequence, frame, index, packets, layer, key)| Stamp {
                sent_ns,
                sequence,
                frame,
                index,
                packets,
                layer: Layer::from_index(layer).unwrap(),
                key,
            },
        )
    }

    #[test]
    fn the_bytes_are_these_for_ever() {
        let stamp = Stamp {
            sent_ns: 1_000_000_000,
            sequence: 300,
            frame: 7,
            index: 1,
            packets: 2,
            layer: Layer::High,
            key: true,
        };
        let bytes = stamp.encode();
        let head = [
            0xa7, 0x4c, 0x54, 0xe1, 0x86, 0x80, 0x81, 0x80, 0x82, 0x80, 0x80, 0x80, 0x80, 0x87,
        ];
        assert_eq!(bytes[..head.len()], head);
        assert_eq!(bytes.len(), 32);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_behind_any_payload(stamp in any_stamp(), media: Vec<u8>) {
            let mut payload = media;
            payload.extend(stamp.encode());
            for codec in [Codec::Vp8, Codec::H264, Codec::Opus] {
                prop_assert_eq!(Stamp::find(codec, &payload), Some(stamp));
            }
        }

        #[test]
        fn no_stamp_has_a_zero_byte_so_none_looks_like_a_start_code(stamp in any_stamp()) {
            prop_assert!(stamp.encode().iter().all(|byte| *byte != 0));
            prop_assert!(stamp.sei().iter().all(|byte| *byte != 0));
        }

        #[test]
        fn an_sei_message_is_found_alone_and_aggregated(stamp in any_stamp()) {
            let sei = stamp.sei();
            prop_assert_eq!(sei.len(), SEI_LEN);
            prop_assert_eq!(Stamp::find(Codec::H264, &sei), Some(stamp));
            let mut stap = vec![0x78, 0, 2, 0x67, 0x42];
            stap.extend(u16::try_from(sei.len()).unwrap().to_be_bytes());
            stap.extend(&sei);
            stap.extend([0, 1, 0x65]);
            prop_assert_eq!(Stamp::find(Codec::H264, &stap), Some(stamp));
            prop_assert_eq!(Stamp::find(Codec::Vp8, &stap), None);
        }

        #[test]
        fn a_broken_bit_is_noticed(stamp in any_stamp(), at in 0..STAMP_LEN, bit in 0_u8..8) {
            let mut bytes = stamp.encode();
            bytes[at] ^= 1 << bit;
            prop_assert_ne!(Stamp::decode(&bytes), Some(stamp));
        }

        #[test]
        fn no_payload_breaks_the_reader(payload: Vec<u8>) {
            for codec in [Codec::Vp8, Codec::H264, Codec::Opus] {
                let _ = Stamp::find(codec, &payload);
            }
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend(payload.iter().cycle().take(GROUPS));
            let _ = Stamp::decode(&with_magic);
        }
    }
}
