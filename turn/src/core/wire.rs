//! STUN and TURN messages (RFC 8489, RFC 8656 sections 11, 12 and 18) as this server sees them.
//!
//! Owns: reading what a client sent into closed types, and writing answers. The bits are `stun-types`'
//! and `turn-types`'; before they get to see a message, its layout is checked here, so that what is
//! malformed costs neither a line in the log nor a surprise. Must not: decide anything.

use std::net::SocketAddr;
use stun_types::attribute::{
    AttributeType, ErrorCode, Fingerprint, MessageIntegrity, MessageIntegritySha256, Nonce,
    PasswordAlgorithm, PasswordAlgorithms, RawAttribute, Realm, UnknownAttributes, Username,
    XorMappedAddress,
};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials, Message, MessageClass,
    MessageIntegrityCredentials, MessageType, MessageWriteVec, Method, TransactionId,
};
use stun_types::prelude::{
    Attribute as _, AttributeFromRaw, AttributeStaticType as _, AttributeWrite, MessageWrite as _,
    MessageWriteExt as _,
};
use turn_types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedAddressFamily, RequestedTransport, XorPeerAddress,
    XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

/// Longest message of a client that is read, in bytes: a datagram of 1,500 in an indication.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2_048;
/// Header of a STUN message.
pub(crate) const STUN_HEADER_BYTES: usize = 20;
/// Header of channel data and of an attribute.
pub(crate) const SHORT_HEADER_BYTES: usize = 4;
/// Attributes of a message that are read. Browsers send up to about ten.
const ATTRIBUTES_MAX: usize = 64;
/// Room for nearly every answer; longer ones grow.
const ANSWER_BYTES: usize = 128;
/// The protocol number in REQUESTED-TRANSPORT.
pub(crate) const UDP: u8 = 17;

/// Something that a client sent.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// "What is my address?" (RFC 8489 section 2)
    Binding(Message<'a>),
    /// A request that needs credentials.
    Request(Request<'a>),
    /// A Send indication.
    Send { peer: SocketAddr, data: Vec<u8> },
    /// A ChannelData message.
    Channel { number: u16, data: &'a [u8] },
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
}

/// IP version of a relayed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// What an answer repeats of its request. The same request once more has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    method: Method,
    transaction: TransactionId,
}

/// A request with the attributes that stand before its integrity; what stands behind it is unsigned and
/// not read.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    message: Message<'a>,
    pub(crate) ask: Ask,
    pub(crate) is_signed: bool,
    pub(crate) username: Option<String>,
    pub(crate) has_realm: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) transport: Option<u8>,
    pub(crate) family: Option<Family>,
    /// Seconds.
    pub(crate) lifetime: Option<u32>,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) channel: Option<u16>,
    /// Attributes that must be understood and are not.
    pub(crate) unknown: Vec<AttributeType>,
    /// An attribute that is known and unreadable.
    pub(crate) is_malformed: bool,
}

/// Reads a datagram, or a frame of a stream. `None`: nothing that a client of ours sends.
pub(crate) fn read(bytes: &[u8]) -> Option<Incoming<'_>> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    // RFC 8656 section 12: the first two bits tell them apart.
    match bytes.first()? >> 6 {
        0 => read_message(bytes),
        1 => read_channel(bytes),
        _ => None,
    }
}

fn read_channel(bytes: &[u8]) -> Option<Incoming<'_>> {
    let (header, rest) = bytes.split_first_chunk::<SHORT_HEADER_BYTES>()?;
    let [a, b, c, d] = *header;
    let length = usize::from(u16::from_be_bytes([c, d]));
    // What follows is padding (RFC 8656 section 12.5).
    let data = rest.get(..length).filter(|_| rest.len() - length < 4)?;
    let number = u16::from_be_bytes([a, b]);
    Some(Incoming::Channel { number, data })
}

fn read_message(bytes: &[u8]) -> Option<Incoming<'_>> {
    if !is_sound(bytes) {
        return None;
    }
    let message = Message::from_bytes(bytes).ok()?;
    let method = message.method();
    match message.class() {
        MessageClass::Request if method == BINDING => Some(Incoming::Binding(message)),
        MessageClass::Request => {
            let asks = [
                (ALLOCATE, Ask::Allocate),
                (REFRESH, Ask::Refresh),
                (CREATE_PERMISSION, Ask::CreatePermission),
                (CHANNEL_BIND, Ask::ChannelBind),
            ];
            let ask = asks.into_iter().find(|(known, _)| *known == method)?.1;
            Some(Incoming::Request(Request::new(message, ask)))
        }
        MessageClass::Indication if method == SEND => read_send(&message),
        _ => None,
    }
}

/// Whether header and attributes fill the message exactly, with integrity and fingerprint at most once
/// and in their order (RFC 8489 sections 14.5 to 14.7).
fn is_sound(bytes: &[u8]) -> bool {
    let Some((header, mut rest)) = bytes.split_first_chunk::<STUN_HEADER_BYTES>() else {
        return false;
    };
    let [_, _, high, low, ..] = *header;
    if usize::from(u16::from_be_bytes([high, low])) != rest.len() {
        return false;
    }
    let mut endings = 0;
    for _ in 0..ATTRIBUTES_MAX {
        if rest.is_empty() {
            return true;
        }
        let Some((kind, after)) = cut_attribute(rest) else {
            return false;
        };
        let ending = ENDINGS.iter().position(|ending| *ending == kind);
        match ending.map(|place| place + 1) {
            Some(place) if place > endings => endings = place,
            None if endings == 0 => {}
            Some(_) | None => return false,
        }
        rest = after;
    }
    rest.is_empty()
}

/// What a message may end with, in this order.
const ENDINGS: [AttributeType; 3] = [
    MessageIntegrity::TYPE,
    MessageIntegritySha256::TYPE,
    Fingerprint::TYPE,
];

fn cut_attribute(bytes: &[u8]) -> Option<(AttributeType, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<SHORT_HEADER_BYTES>()?;
    let [a, b, c, d] = *header;
    let padded = usize::from(u16::from_be_bytes([c, d])).next_multiple_of(4);
    let kind = AttributeType::new(u16::from_be_bytes([a, b]));
    Some((kind, rest.get(padded..)?))
}

fn read_send(message: &Message<'_>) -> Option<Incoming<'static>> {
    let (mut peer, mut data) = (None, None);
    for (_, attribute) in message.iter_attributes() {
        let kind = attribute.get_type();
        if kind == XorPeerAddress::TYPE {
            let address = XorPeerAddress::from_raw_ref(&attribute).ok()?;
            peer.get_or_insert(address.addr(message.transaction_id()));
        } else if kind == Data::TYPE {
            data.get_or_insert_with(|| attribute.value.to_vec());
        } else if kind.comprehension_required() && !ENDINGS.contains(&kind) {
            // Such as DONT-FRAGMENT, which cannot be kept here: the datagram is not sent then
            // (RFC 8656 section 11.2).
            return None;
        }
    }
    Some(Incoming::Send {
        peer: peer?,
        data: data?,
    })
}

impl<'a> Request<'a> {
    fn new(message: Message<'a>, ask: Ask) -> Self {
        let mut request = Self {
            ask,
            is_signed: false,
            username: None,
            has_realm: false,
            nonce: None,
            transport: None,
            family: None,
            lifetime: None,
            peers: Vec::new(),
            channel: None,
            unknown: Vec::new(),
            is_malformed: false,
            message,
        };
        for (_, attribute) in message.iter_attributes() {
            if ENDINGS.contains(&attribute.get_type()) {
                request.is_signed |= attribute.get_type() == MessageIntegrity::TYPE;
                break;
            }
            if request.read_attribute(&attribute).is_none() {
                request.is_malformed = true;
            }
        }
        request
    }

    /// The first of a kind counts (RFC 8489 section 14), except for peers. `None`: unreadable.
    fn read_attribute(&mut self, raw: &RawAttribute<'_>) -> Option<()> {
        match raw.get_type() {
            Username::TYPE => {
                let name = of::<Username>(raw)?.username().to_owned();
                self.username.get_or_insert(name);
            }
            Realm::TYPE => self.has_realm = true,
            Nonce::TYPE => {
                let nonce = of::<Nonce>(raw)?.nonce().to_owned();
                self.nonce.get_or_insert(nonce);
            }
            RequestedTransport::TYPE => {
                let transport = of::<RequestedTransport>(raw)?.protocol();
                self.transport.get_or_insert(transport);
            }
            RequestedAddressFamily::TYPE => {
                let family = match of::<RequestedAddressFamily>(raw)?.family() {
                    turn_types::AddressFamily::IPV4 => Family::V4,
                    turn_types::AddressFamily::IPV6 => Family::V6,
                };
                self.family.get_or_insert(family);
            }
            Lifetime::TYPE => {
                let seconds = of::<Lifetime>(raw)?.seconds();
                self.lifetime.get_or_insert(seconds);
            }
            XorPeerAddress::TYPE => {
                let address = of::<XorPeerAddress>(raw)?;
                self.peers.push(address.addr(self.message.transaction_id()));
            }
            ChannelNumber::TYPE => {
                let number = of::<ChannelNumber>(raw)?.channel();
                self.channel.get_or_insert(number);
            }
            // Never offered, so that what a client says of it changes nothing.
            PasswordAlgorithm::TYPE | PasswordAlgorithms::TYPE => {}
            other if other.comprehension_required() => self.unknown.push(other),
            _ => {}
        }
        Some(())
    }

    /// What an answer repeats of it.
    pub(crate) fn head(&self) -> Head {
        Head {
            method: self.message.method(),
            transaction: self.message.transaction_id(),
        }
    }

    /// Whether it was signed with this key.
    pub(crate) fn is_of(&self, key: &Key) -> bool {
        self.message.validate_integrity_with_key(&key.0).is_ok()
    }
}

fn of<'a, T: AttributeFromRaw<'a>>(raw: &RawAttribute<'_>) -> Option<T> {
    T::from_raw_ref(raw).ok()
}

/// What requests and answers of one user are signed with (RFC 8489 section 9.2.2).
#[derive(Clone, Debug)]
pub(crate) struct Key(IntegrityKey);

impl Key {
    pub(crate) fn new(username: &str, password: String, realm: &str) -> Self {
        let credentials =
            LongTermKeyCredentials::new(username.to_owned(), password, realm.to_owned());
        let credentials = MessageIntegrityCredentials::from(credentials);
        Self(credentials.make_key(IntegrityAlgorithm::Sha1))
    }
}

/// An answer being written. An attribute that does not fit is left out, which cannot happen with these.
#[derive(Debug)]
pub(crate) struct Answer(MessageWriteVec);

impl Answer {
    pub(crate) fn success(to: Head) -> Self {
        Self::new(MessageClass::Success, to)
    }

    fn new(class: MessageClass, to: Head) -> Self {
        let kind = MessageType::from_class_method(class, to.method);
        let write = MessageWriteVec::with_capacity(ANSWER_BYTES);
        Self(Message::builder(kind, to.transaction, write))
    }

    /// Without a reason phrase: the code says it, and the answer stays short.
    pub(crate) fn error(to: Head, code: u16) -> Self {
        let answer = Self::new(MessageClass::Error, to);
        match ErrorCode::new(code, "") {
            Ok(code) => answer.with(&code),
            Err(_) => answer,
        }
    }

    /// What a client needs to sign its next request.
    pub(crate) fn challenge(self, realm: &str, nonce: &str) -> Self {
        let (Ok(realm), Ok(nonce)) = (Realm::new(realm), Nonce::new(nonce)) else {
            return self;
        };
        self.with(&realm).with(&nonce)
    }

    pub(crate) fn unknown(self, unknown: &[AttributeType]) -> Self {
        self.with(&UnknownAttributes::new(unknown))
    }

    pub(crate) fn lifetime(self, seconds: u32) -> Self {
        self.with(&Lifetime::new(seconds))
    }

    pub(crate) fn addresses(self, relayed: SocketAddr, mapped: SocketAddr) -> Self {
        let transaction = self.0.transaction_id();
        self.with(&XorRelayedAddress::new(relayed, transaction))
            .with(&XorMappedAddress::new(mapped, transaction))
    }

    fn with(mut self, attribute: &dyn AttributeWrite) -> Self {
        let _ = self.0.add_attribute(attribute);
        self
    }

    pub(crate) fn signed(mut self, key: &Key) -> Vec<u8> {
        let algorithm = IntegrityAlgorithm::Sha1;
        let _ = self.0.add_message_integrity_with_key(&key.0, algorithm);
        self.0.finish()
    }

    pub(crate) fn unsigned(self) -> Vec<u8> {
        self.0.finish()
    }
}

/// The answer to [`Incoming::Binding`].
pub(crate) fn binding_success(request: &Message<'_>, remote: SocketAddr) -> Vec<u8> {
    let write = MessageWriteVec::with_capacity(64);
    let mut answer = Message::builder_success(request, write);
    let mapped = XorMappedAddress::new(remote, request.transaction_id());
    let _ = answer.add_attribute(&mapped);
    answer.finish()
}

/// A Data indication; `serial` makes its transaction id.
pub(crate) fn data_indication(peer: SocketAddr, data: &[u8], serial: u64) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
    let transaction = TransactionId::from(u128::from(serial));
    let write = MessageWriteVec::with_capacity(STUN_HEADER_BYTES + 32 + data.len());
    let mut message = Message::builder(kind, transaction, write);
    let _ = message.add_attribute(&XorPeerAddress::new(peer, transaction));
    let _ = message.add_attribute(&Data::new(data));
    message.finish()
}

/// A ChannelData message, padded if it goes over a stream (RFC 8656 section 12.5).
pub(crate) fn channel_data(number: u16, data: &[u8], is_padded: bool) -> Vec<u8> {
    // The caller's datagrams are far below 64 KiB; one that is not would be cut, not misread.
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let data = data.get(..usize::from(length)).unwrap_or(data);
    let mut bytes = Vec::with_capacity(SHORT_HEADER_BYTES + data.len().next_multiple_of(4));
    bytes.extend(number.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    if is_padded {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 section 2.4: a request with long-term authentication.
    const RFC_5769_2_4: &str = "00010060 2112a442 78ad3433c6ad72c029da412e
        00060012 e3839ee38388e383aae38383e382afe382b9 0000
        0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341
        0014000b 6578616d706c652e6f7267 00
        00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        pairs.map(|pair| byte(pair).unwrap()).collect()
    }

    #[test]
    fn the_example_of_the_standard_is_of_its_key_and_of_no_other() {
        let mut bytes = hex(RFC_5769_2_4);
        // Signed is the method too: to read the attributes as ours, it is changed, and not checked.
        let Some(Incoming::Binding(message)) = read(&bytes) else {
            panic!("a binding request");
        };
        let key = |realm: &str| {
            let name = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
            Key::new(name, "TheMatrIX".to_owned(), realm)
        };
        assert!(
            message
                .validate_integrity_with_key(&key("example.org").0)
                .is_ok()
        );
        assert!(
            message
                .validate_integrity_with_key(&key("example.net").0)
                .is_err()
        );
        bytes[1] = 3;
        let Some(Incoming::Request(request)) = read(&bytes) else {
            panic!("a request");
        };
        assert_eq!(request.ask, Ask::Allocate);
        assert_eq!(
            request.nonce.as_deref(),
            Some("f//499k954d6OL34oL9FSTvy64sA")
        );
        assert!(request.has_realm && request.is_signed && !request.is_malformed);
        assert!(
            !request.is_of(&key("example.org")),
            "the method was changed"
        );
    }

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(hex("2112a442000000000000000000000001"));
        bytes.extend(body);
        bytes
    }

    #[test]
    fn attributes_behind_the_integrity_are_not_read() {
        let lifetime: (u16, &[u8]) = (0x000d, &[0, 0, 0, 9]);
        let signature: (u16, &[u8]) = (0x0008, &[0; 20]);
        let bytes = message(4, &[lifetime, signature]);
        let Some(Incoming::Request(request)) = read(&bytes) else {
            panic!("a request");
        };
        assert_eq!(request.lifetime, Some(9));
        assert!(read(&message(4, &[signature, lifetime])).is_none());
        assert!(read(&message(4, &[signature, signature])).is_none());
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_listed() {
        let even_port: (u16, &[u8]) = (0x0018, &[0]);
        let optional: (u16, &[u8]) = (0x8022, b"name");
        let bytes = message(3, &[even_port, optional, (0x000d, &[1])]);
        let Some(Incoming::Request(request)) = read(&bytes) else {
            panic!("a request");
        };
        assert_eq!(request.unknown, [AttributeType::new(0x0018)]);
        assert!(request.is_malformed, "a lifetime of one byte");
    }

    #[test]
    fn a_length_that_is_not_the_messages_is_refused() {
        let good = message(3, &[(0x000d, &[0, 0, 0, 9])]);
        assert!(read(&good).is_some());
        assert!(read(&good[..good.len() - 4]).is_none());
        let mut longer = good;
        longer.extend([0; 4]);
        assert!(read(&longer).is_none());
        assert!(read(&message(3, &[(0x8022, &[0; MESSAGE_BYTES_MAX])])).is_none());
    }

    #[test]
    fn channel_data_may_be_padded_and_not_cut() {
        for padding in 0..4 {
            let mut bytes = vec![0x40, 1, 0, 1, 7];
            bytes.resize(bytes.len() + padding, 0);
            let Some(Incoming::Channel { number, data }) = read(&bytes) else {
                panic!("channel data");
            };
            assert_eq!((number, data), (0x4001, &[7][..]));
        }
        assert!(read(&[0x40, 1, 0, 2, 7]).is_none());
        assert!(read(&[0x40, 1, 0, 1, 7, 0, 0, 0, 0]).is_none());
        assert_eq!(
            channel_data(0x4001, &[7], true),
            [0x40, 1, 0, 1, 7, 0, 0, 0]
        );
        assert_eq!(channel_data(0x4001, &[7], false), [0x40, 1, 0, 1, 7]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        /// Sound in its layout, anything inside.
        #[test]
        fn no_attributes_panic(
            kind in prop::sample::select(vec![1u16, 3, 4, 8, 9, 0x16]),
            attributes in proptest::collection::vec(
                (
                    prop::sample::select(vec![6u16, 8, 9, 0xc, 0xd, 0x12, 0x13, 0x14, 0x15, 0x17, 0x19, 0x1c, 0x8028]),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ),
                0..8,
            ),
        ) {
            let attributes: Vec<(u16, &[u8])> =
                attributes.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            if let Some(Incoming::Request(request)) = read(&message(kind, &attributes)) {
                let key = Key::new("a", "b".to_owned(), "c");
                prop_assert!(!request.is_of(&key));
                let answer = Answer::error(request.head(), 420).unknown(&request.unknown).signed(&key);
                prop_assert!(is_sound(&answer));
            }
        }

        #[test]
        fn data_comes_through_an_indication(
            data in proptest::collection::vec(any::<u8>(), 0..1_500), ip: [u8; 4], port: u16, serial: u64,
        ) {
            let peer = SocketAddr::from((ip, port));
            // Ours are Data indications; as a Send indication the same bytes are read here.
            let mut bytes = data_indication(peer, &data, serial);
            bytes[1] = 0x16;
            let Some(Incoming::Send { peer: found, data: carried }) = read(&bytes) else {
                return Err(TestCaseError::fail("an indication"));
            };
            prop_assert_eq!((found, carried), (peer, data));
        }
    }
}
