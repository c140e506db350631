//! LiveKit's `DataPacket` on the wire: stamps the sender, reads sequence and destinations.
//!
//! Edits the protobuf fields it owns and copies every other field as it came, so that payloads of
//! later protocol versions and encrypted ones pass. Holds no state and knows no transport.

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Largest packet relayed, in bytes, with the sender's name in it: clients cut theirs at 64,000, and
/// a peer that names no limit takes 65,536 (RFC 8841, section 6.1). Larger ones are refused.
pub(super) const MAX_DATA_PACKET: usize = 64 * 1024;
/// Most destinations honoured in one packet. More are refused: no room is this large.
const MAX_DESTINATIONS: usize = 1024;

/// Fields of `livekit.DataPacket`.
mod field {
    pub(super) const USER: u32 = 2;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 4;
    pub(super) const DESTINATION_IDENTITIES: u32 = 5;
    pub(super) const SEQUENCE: u32 = 16;
    pub(super) const PARTICIPANT_SID: u32 = 17;
}

/// Fields of `livekit.UserPacket`, which has (deprecated) sender and destinations of its own.
mod user_field {
    pub(super) const PARTICIPANT_SID: u32 = 1;
    pub(super) const DESTINATION_SIDS: u32 = 3;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 5;
    pub(super) const DESTINATION_IDENTITIES: u32 = 6;
}

/// Why a packet is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPacket {
    /// Longer than [`MAX_DATA_PACKET`], before or after it was stamped.
    #[error("the data packet is longer than 64 KiB: split it into a data stream")]
    TooLong,
    /// No protobuf message.
    #[error("the data packet is not a protobuf message: send livekit.DataPacket")]
    Malformed,
    /// More than [`MAX_DESTINATIONS`].
    #[error("the data packet names more than 1024 destinations: leave them out to reach everybody")]
    TooManyDestinations,
}

/// Who sent a packet, by the server's knowledge. What is empty is left out of the packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// `participant_identity`.
    pub(super) identity: &'a str,
    /// `participant_sid`.
    pub(super) sid: &'a str,
}

impl Stamp<'static> {
    /// For participants that others do not know of.
    pub(super) const NOBODY: Self = Self {
        identity: "",
        sid: "",
    };
}

/// A packet ready to be relayed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relayed {
    /// The packet with the sender's true name in it.
    pub(super) bytes: Vec<u8>,
    /// Number of a reliable packet, 0 if it has none.
    pub(super) sequence: u32,
    /// Whom it is for, by identity or participant sid.
    pub(super) destinations: Destinations,
}

/// Whom a packet is for. Nobody named: everybody.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Destinations {
    identities: Vec<String>,
    sids: Vec<String>,
}

impl Destinations {
    /// True if this participant shall get it.
    pub(super) fn include(&self, identity: &str, sid: &str) -> bool {
        (self.identities.is_empty() && self.sids.is_empty())
            || self.identities.iter().any(|named| named == identity)
            || self.sids.iter().any(|named| named == sid)
    }

    fn push(list: &mut Vec<String>, bytes: &[u8]) -> Result<(), BadPacket> {
        if list.len() >= MAX_DESTINATIONS {
            return Err(BadPacket::TooManyDestinations);
        }
        let name = std::str::from_utf8(bytes).map_err(|_| BadPacket::Malformed)?;
        list.push(name.to_owned());
        Ok(())
    }
}

/// Reads a packet that another node has stamped.
pub(super) fn read(packet: Vec<u8>) -> Result<Relayed, BadPacket> {
    // The sender's name takes no part in what is read.
    let Relayed {
        sequence,
        destinations,
        ..
    } = stamp(&packet, Stamp::NOBODY)?;
    Ok(Relayed {
        bytes: packet,
        sequence,
        destinations,
    })
}

/// Puts the sender's name into a packet and reads what relaying needs.
pub(super) fn stamp(packet: &[u8], sender: Stamp<'_>) -> Result<Relayed, BadPacket> {
    if packet.len() > MAX_DATA_PACKET {
        return Err(BadPacket::TooLong);
    }
    let mut relayed = Relayed {
        bytes: Vec::with_capacity(packet.len() + sender.identity.len() + sender.sid.len() + 16),
        sequence: 0,
        destinations: Destinations::default(),
    };
    let mut rest = packet;
    while !rest.is_empty() {
        let found = Field::take(&mut rest)?;
        match (found.number, found.value) {
            (field::PARTICIPANT_IDENTITY | field::PARTICIPANT_SID, _) => continue,
            (field::USER, Value::Bytes(user)) => {
                let user = stamp_user(user, sender, &mut relayed.destinations)?;
                put_bytes(field::USER, &user, &mut relayed.bytes);
                continue;
            }
            (field::DESTINATION_IDENTITIES, Value::Bytes(name)) => {
                Destinations::push(&mut relayed.destinations.identities, name)?;
            }
            (field::SEQUENCE, Value::Varint(sequence)) => {
                // Protobuf readers keep the low 32 bits of an uint32.
                relayed.sequence = (sequence & u64::from(u32::MAX)) as u32;
            }
            _ => {}
        }
        relayed.bytes.extend_from_slice(found.raw);
    }
    let bytes = &mut relayed.bytes;
    put_name(field::PARTICIPANT_IDENTITY, sender.identity, bytes);
    put_name(field::PARTICIPANT_SID, sender.sid, bytes);
    if bytes.len() > MAX_DATA_PACKET {
        return Err(BadPacket::TooLong);
    }
    Ok(relayed)
}

fn stamp_user(
    user: &[u8],
    sender: Stamp<'_>,
    destinations: &mut Destinations,
) -> Result<Vec<u8>, BadPacket> {
    let mut out = Vec::with_capacity(user.len() + sender.identity.len() + sender.sid.len() + 8);
    let mut rest = user;
    while !rest.is_empty() {
        let found = Field::take(&mut rest)?;
        match (found.number, found.value) {
            (user_field::PARTICIPANT_SID | user_field::PARTICIPANT_IDENTITY, _) => continue,
            (user_field::DESTINATION_SIDS, Value::Bytes(sid)) => {
                Destinations::push(&mut destinations.sids, sid)?;
            }
            (user_field::DESTINATION_IDENTITIES, Value::Bytes(name)) => {
                Destinations::push(&mut destinations.identities, name)?;
            }
            _ => {}
        }
        out.extend_from_slice(found.raw);
    }
    put_name(user_field::PARTICIPANT_SID, sender.sid, &mut out);
    put_name(user_field::PARTICIPANT_IDENTITY, sender.identity, &mut out);
    Ok(out)
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// One field with its key, as it stands on the wire.
struct Field<'a> {
    number: u32,
    value: Value<'a>,
    raw: &'a [u8],
}

impl<'a> Field<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Self, BadPacket> {
        let start = *rest;
        let mut cursor = start;
        let (number, wire_type) = decode_key(&mut cursor).map_err(|_| BadPacket::Malformed)?;
        let value = match wire_type {
            WireType::Varint => {
                Value::Varint(decode_varint(&mut cursor).map_err(|_| BadPacket::Malformed)?)
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut cursor).map_err(|_| BadPacket::Malformed)?;
                Value::Bytes(split(&mut cursor, length)?)
            }
            WireType::ThirtyTwoBit => {
                split(&mut cursor, 4)?;
                Value::Fixed
            }
            WireType::SixtyFourBit => {
                split(&mut cursor, 8)?;
                Value::Fixed
            }
            // Groups left protobuf before LiveKit began.
            WireType::StartGroup | WireType::EndGroup => return Err(BadPacket::Malformed),
        };
        let length = start.len() - cursor.len();
        let raw = start.get(..length).unwrap_or_default();
        *rest = cursor;
        Ok(Self { number, value, raw })
    }
}

fn split<'a>(cursor: &mut &'a [u8], length: u64) -> Result<&'a [u8], BadPacket> {
    let length = usize::try_from(length).map_err(|_| BadPacket::Malformed)?;
    let (head, tail) = cursor
        .split_at_checked(length)
        .ok_or(BadPacket::Malformed)?;
    *cursor = tail;
    Ok(head)
}

/// An empty string is the same as none (proto3), and shorter.
fn put_name(number: u32, name: &str, out: &mut Vec<u8>) {
    if !name.is_empty() {
        put_bytes(number, name.as_bytes(), out);
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    /// The parts of `livekit.DataPacket` that this module owns, and one that it does not.
    #[derive(Clone, PartialEq, Message)]
    struct DataPacket {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(message, optional, tag = "2")]
        user: Option<UserPacket>,
        #[prost(string, tag = "4")]
        participant_identity: String,
        #[prost(string, repeated, tag = "5")]
        destination_identities: Vec<String>,
        #[prost(bytes = "vec", tag = "13")]
        stream_header: Vec<u8>,
        #[prost(uint32, tag = "16")]
        sequence: u32,
        #[prost(string, tag = "17")]
        participant_sid: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct UserPacket {
        #[prost(string, tag = "1")]
        participant_sid: String,
        #[prost(bytes = "vec", tag = "2")]
        payload: Vec<u8>,
        #[prost(string, repeated, tag = "3")]
        destination_sids: Vec<String>,
        #[prost(string, optional, tag = "4")]
        topic: Option<String>,
        #[prost(string, tag = "5")]
        participant_identity: String,
        #[prost(string, repeated, tag = "6")]
        destination_identities: Vec<String>,
    }

    const ALICE: Stamp<'static> = Stamp {
        identity: "alice",
        sid: "PA_alice",
    };

    #[test]
    fn the_sender_cannot_name_somebody_else() {
        let packet = DataPacket {
            user: Some(UserPacket {
                participant_sid: "PA_mallory".into(),
                participant_identity: "bob".into(),
                payload: b"hi".to_vec(),
                topic: Some("chat".into()),
                ..UserPacket::default()
            }),
            participant_identity: "bob".into(),
            participant_sid: "PA_bob".into(),
            sequence: 7,
            ..DataPacket::default()
        };
        let relayed = stamp(&packet.encode_to_vec(), ALICE).unwrap();
        let seen = DataPacket::decode(relayed.bytes.as_slice()).unwrap();
        assert_eq!(seen.participant_identity, "alice");
        assert_eq!(seen.participant_sid, "PA_alice");
        assert_eq!(seen.sequence, 7);
        assert_eq!(relayed.sequence, 7);
        let user = seen.user.unwrap();
        assert_eq!(user.participant_sid, "PA_alice");
        assert_eq!(user.participant_identity, "alice");
        assert_eq!(user.payload, b"hi");
        assert_eq!(user.topic.as_deref(), Some("chat"));
    }

    #[test]
    fn a_sender_that_nobody_knows_of_is_not_named() {
        let packet = DataPacket {
            user: Some(UserPacket {
                participant_sid: "PA_mallory".into(),
                participant_identity: "bob".into(),
                ..UserPacket::default()
            }),
            participant_identity: "bob".into(),
            participant_sid: "PA_bob".into(),
            sequence: 7,
            ..DataPacket::default()
        };
        let relayed = stamp(&packet.encode_to_vec(), Stamp::NOBODY).unwrap();
        let expected = DataPacket {
            user: Some(UserPacket::default()),
            sequence: 7,
            ..DataPacket::default()
        };
        let mut fields = relayed.bytes.as_slice();
        while !fields.is_empty() {
            let number = Field::take(&mut fields).unwrap().number;
            assert!([field::USER, field::SEQUENCE].contains(&number), "{number}");
        }
        assert_eq!(DataPacket::decode(relayed.bytes.as_slice()), Ok(expected));
    }

    #[test]
    fn a_packet_that_the_stamp_makes_too_long_is_refused() {
        let mut packet = Vec::new();
        put_bytes(13, &vec![0; MAX_DATA_PACKET - 4], &mut packet);
        assert_eq!(packet.len(), MAX_DATA_PACKET);
        assert_eq!(stamp(&packet, ALICE), Err(BadPacket::TooLong));
        assert!(stamp(&packet, Stamp::NOBODY).is_ok());
    }

    #[test]
    fn destinations_are_honoured_at_both_levels() {
        let packet = DataPacket {
            destination_identities: vec!["bob".into()],
            user: Some(UserPacket {
                destination_sids: vec!["PA_carol".into()],
                destination_identities: vec!["dave".into()],
                ..UserPacket::default()
            }),
            ..DataPacket::default()
        };
        let relayed = stamp(&packet.encode_to_vec(), ALICE).unwrap();
        assert!(relayed.destinations.include("bob", "PA_b"));
        assert!(relayed.destinations.include("x", "PA_carol"));
        assert!(relayed.destinations.include("dave", "PA_d"));
        assert!(!relayed.destinations.include("eve", "PA_e"));
        assert!(Destinations::default().include("eve", "PA_e"));
    }

    #[test]
    fn unknown_fields_pass_byte_for_byte() {
        let mut packet = Vec::new();
        encode_key(900, WireType::Varint, &mut packet);
        encode_varint(5, &mut packet);
        encode_key(901, WireType::SixtyFourBit, &mut packet);
        packet.extend_from_slice(&[1; 8]);
        encode_key(902, WireType::ThirtyTwoBit, &mut packet);
        packet.extend_from_slice(&[2; 4]);
        put_bytes(18, &[0xff, 0x00, 0xff], &mut packet);
        let relayed = stamp(&packet, ALICE).unwrap();
        assert!(relayed.bytes.starts_with(&packet));
    }

    #[test]
    fn hostile_packets_are_refused() {
        for bad in [
            &[0x0b][..],               // a group
            &[0x2a, 0x02, 0xff, 0xfe], // an identity that is not UTF-8
            &[0x2a, 0x05, b'x'],       // a length beyond the end
            &[
                0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
            &[0x00, 0x00],       // field number 0
            &[0x12, 0x01, 0x0b], // a group in the user packet
            &[0x80],             // half a key
        ] {
            assert_eq!(stamp(bad, ALICE), Err(BadPacket::Malformed), "{bad:?}");
        }
        assert_eq!(
            stamp(&vec![0; MAX_DATA_PACKET + 1], ALICE),
            Err(BadPacket::TooLong)
        );
        let crowd = DataPacket {
            destination_identities: vec![String::new(); MAX_DESTINATIONS + 1],
            ..DataPacket::default()
        };
        assert_eq!(
            stamp(&crowd.encode_to_vec(), ALICE),
            Err(BadPacket::TooManyDestinations)
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_break_it(packet: Vec<u8>) {
            let _ = stamp(&packet, ALICE);
        }

        #[test]
        fn what_is_relayed_decodes_to_the_same_packet_with_the_true_sender(
            identity in ".{0,20}",
            payload: Vec<u8>,
            header: Vec<u8>,
            sequence: u32,
            destinations in prop::collection::vec("[a-z]{1,8}", 0..4),
        ) {
            let packet = DataPacket {
                kind: 1,
                user: Some(UserPacket { payload, participant_identity: identity.clone(), ..UserPacket::default() }),
                participant_identity: identity,
                destination_identities: destinations,
                stream_header: header,
                sequence,
                participant_sid: "PA_forged".into(),
            };
            let relayed = stamp(&packet.encode_to_vec(), ALICE).unwrap();
            let seen = DataPacket::decode(relayed.bytes.as_slice()).unwrap();
            let mut expected = packet;
            expected.participant_identity = "alice".into();
            expected.participant_sid = "PA_alice".into();
            let user = expected.user.as_mut().unwrap();
            user.participant_identity = "alice".into();
            user.participant_sid = "PA_alice".into();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(relayed.sequence, sequence);
        }
    }
}
