//! The client's side of TURN (RFC 8656), as much as a relayed check takes: an allocation, one channel.

use super::report::Hop;
use std::net::SocketAddr;
use stun_types::attribute::{ErrorCode, Nonce, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageIntegrityCredentials,
    MessageWriteVec, Method, StunWriteError, TransactionId,
};
use stun_types::prelude::{AttributeWrite, MessageWrite as _, MessageWriteExt as _};
use turn_types::AddressFamily;
use turn_types::attribute::{
    ChannelNumber, RequestedAddressFamily, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND};

/// The one channel that is bound: the first of those that there are (RFC 8656 section 12).
pub(crate) const CHANNEL: u16 = 0x4000;
/// Header of channel data.
const CHANNEL_HEADER_BYTES: usize = 4;
/// Header of a STUN message.
const STUN_HEADER_BYTES: usize = 20;

/// A server's URL (RFC 7065).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnUrl {
    /// By what it is reached.
    pub(crate) hop: Hop,
    /// Name or address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) text: String,
}

impl TurnUrl {
    /// `None`: it is none, or one of a kind that nobody speaks.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
        let hop = match (scheme, query) {
            ("turn", "" | "transport=udp") => Hop::TurnUdp,
            ("turn", "transport=tcp") => Hop::TurnTcp,
            ("turns", "" | "transport=tcp") => Hop::TurnTls,
            _ => return None,
        };
        let default = if scheme == "turns" { 5349 } else { 3478 };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') && !host.is_empty() => {
                (host, port.parse().ok()?)
            }
            _ => (server, default),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            hop,
            host: host.to_owned(),
            port,
            text: text.to_owned(),
        })
    }
}

/// Credentials, and what the server wants them signed with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    /// Empty until the server has said it.
    realm: String,
    nonce: String,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Credentials are wanted, or a newer nonce.
    Challenge { realm: String, nonce: String },
    /// It says no.
    Refused { code: u16, reason: String },
    /// It is done; the relayed address, if it was an allocation.
    Done(Option<SocketAddr>),
}

impl Login {
    pub(crate) fn new(username: &str, password: &str) -> Self {
        Self {
            username: username.to_owned(),
            password: password.to_owned(),
            ..Self::default()
        }
    }

    /// The server has asked for credentials. False: it does so once more, for the same ones.
    pub(crate) fn take(&mut self, realm: String, nonce: String) -> bool {
        let is_new = self.nonce != nonce;
        (self.realm, self.nonce) = (realm, nonce);
        is_new
    }

    /// Asks for an address from which `peer` can be reached.
    pub(crate) fn allocate(
        &self,
        peer: SocketAddr,
    ) -> Result<(TransactionId, Vec<u8>), StunWriteError> {
        let udp = RequestedTransport::new(RequestedTransport::UDP);
        let family = RequestedAddressFamily::new(AddressFamily::IPV6);
        if peer.is_ipv6() {
            self.request(ALLOCATE, &[&udp, &family], None)
        } else {
            self.request(ALLOCATE, &[&udp], None)
        }
    }

    /// Asks for a channel to `peer`, and with it for a permission.
    pub(crate) fn bind(
        &self,
        peer: SocketAddr,
    ) -> Result<(TransactionId, Vec<u8>), StunWriteError> {
        self.request(CHANNEL_BIND, &[&ChannelNumber::new(CHANNEL)], Some(peer))
    }

    fn request(
        &self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peer: Option<SocketAddr>,
    ) -> Result<(TransactionId, Vec<u8>), StunWriteError> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        let transaction = message.transaction_id();
        for attribute in attributes {
            message.add_attribute(*attribute)?;
        }
        if let Some(peer) = peer {
            message.add_attribute(&XorPeerAddress::new(peer, transaction))?;
        }
        if !self.nonce.is_empty() {
            self.sign(&mut message)?;
        }
        Ok((transaction, message.finish()))
    }

    fn sign(&self, message: &mut MessageWriteVec) -> Result<(), StunWriteError> {
        // What is too long for a message is left out: the server says that it is missing.
        if let Ok(name) = Username::new(&self.username) {
            message.add_attribute(&name)?;
        }
        if let (Ok(realm), Ok(nonce)) = (Realm::new(&self.realm), Nonce::new(&self.nonce)) {
            message.add_attribute(&realm)?;
            message.add_attribute(&nonce)?;
        }
        let key = LongTermKeyCredentials::new(
            self.username.clone(),
            self.password.clone(),
            self.realm.clone(),
        );
        let key = MessageIntegrityCredentials::from(key);
        message.add_message_integrity(&key, IntegrityAlgorithm::Sha1)
    }
}

/// Reads an answer; `None`: it is something else.
pub(crate) fn reply(bytes: &[u8]) -> Option<(TransactionId, Reply)> {
    let message = Message::from_bytes(bytes).ok()?;
    let transaction = message.transaction_id();
    let reply = match message.class() {
        MessageClass::Success => {
            let relayed = message.attribute::<XorRelayedAddress>().ok();
            Reply::Done(relayed.map(|relayed| relayed.addr(transaction)))
        }
        MessageClass::Error => refusal(&message)?,
        MessageClass::Request | MessageClass::Indication => return None,
    };
    Some((transaction, reply))
}

fn refusal(message: &Message<'_>) -> Option<Reply> {
    let error = message.attribute::<ErrorCode>().ok()?;
    let realm = message.attribute::<Realm>().ok();
    let nonce = message.attribute::<Nonce>().ok();
    match (error.code(), realm, nonce) {
        (401 | 438, Some(realm), Some(nonce)) => Some(Reply::Challenge {
            realm: realm.realm().to_owned(),
            nonce: nonce.nonce().to_owned(),
        }),
        (code, ..) => Some(Reply::Refused {
            code,
            reason: error.reason().to_owned(),
        }),
    }
}

/// Puts a datagram into the channel (RFC 8656 section 12.4); on streams it is padded.
pub(crate) fn into_channel(datagram: &[u8], is_stream: bool) -> Vec<u8> {
    let length = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(CHANNEL_HEADER_BYTES + datagram.len() + 3);
    bytes.extend_from_slice(&CHANNEL.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(datagram);
    if is_stream {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Takes a datagram out of the channel; `None`: it is something else.
pub(crate) fn from_channel(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<CHANNEL_HEADER_BYTES>()?;
    let [a, b, c, d] = *header;
    if u16::from_be_bytes([a, b]) != CHANNEL {
        return None;
    }
    rest.get(..usize::from(u16::from_be_bytes([c, d])))
}

/// How long the message is that begins a stream's bytes; `None`: its header is not there yet.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let (header, _) = bytes.split_first_chunk::<CHANNEL_HEADER_BYTES>()?;
    let [a, _, c, d] = *header;
    let body = usize::from(u16::from_be_bytes([c, d]));
    // RFC 8656 section 12: the first two bits tell them apart.
    Some(if a >> 6 == 0 {
        STUN_HEADER_BYTES + body
    } else {
        CHANNEL_HEADER_BYTES + body.next_multiple_of(4)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_how_the_server_is_reached() {
        let read = |text: &str| {
            let url = TurnUrl::parse(text)?;
            Some((url.hop, url.host, url.port))
        };
        let some = |hop, host: &str, port| Some((hop, host.to_owned(), port));
        assert_eq!(
            read("turn:a.b:1?transport=udp"),
            some(Hop::TurnUdp, "a.b", 1)
        );
        assert_eq!(read("turn:a.b"), some(Hop::TurnUdp, "a.b", 3478));
        assert_eq!(
            read("turn:[::1]:7?transport=tcp"),
            some(Hop::TurnTcp, "::1", 7)
        );
        assert_eq!(read("turns:[::1]"), some(Hop::TurnTls, "::1", 5349));
        assert_eq!(
            read("turns:a:443?transport=tcp"),
            some(Hop::TurnTls, "a", 443)
        );
        for text in [
            "stun:a",
            "turn:a?transport=sctp",
            "turns:a?transport=udp",
            "turn",
            "turn:a:x",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let mut login = Login::new("user", "password");
        let peer = "192.0.2.1:7882".parse().unwrap();
        let (_, bare) = login.allocate(peer).unwrap();
        assert!(
            Message::from_bytes(&bare)
                .unwrap()
                .attribute::<Username>()
                .is_err()
        );
        assert!(login.take("realm".to_owned(), "n1".to_owned()));
        let (_, signed) = login.allocate(peer).unwrap();
        let message = Message::from_bytes(&signed).unwrap();
        assert_eq!(message.attribute::<Nonce>().unwrap().nonce(), "n1");
        let key = LongTermKeyCredentials::new("user".into(), "password".into(), "realm".into());
        assert!(message.validate_integrity(&key.into()).is_ok());
        assert!(!login.take("realm".to_owned(), "n1".to_owned()));
    }

    #[test]
    fn answers_are_read() {
        let (transaction, request) = Login::new("u", "p")
            .bind("[::1]:1".parse().unwrap())
            .unwrap();
        assert_eq!(reply(&request), None);
        let request = Message::from_bytes(&request).unwrap();
        let mut refused = Message::builder_error(&request, MessageWriteVec::new());
        let code = ErrorCode::builder(403).reason("no").build().unwrap();
        refused.add_attribute(&code).unwrap();
        let told = Reply::Refused {
            code: 403,
            reason: "no".to_owned(),
        };
        assert_eq!(reply(&refused.finish()), Some((transaction, told)));
        let done = Message::builder_success(&request, MessageWriteVec::new()).finish();
        assert_eq!(reply(&done), Some((transaction, Reply::Done(None))));
    }

    #[test]
    fn a_channel_carries_datagrams() {
        for is_stream in [false, true] {
            let bytes = into_channel(b"hello", is_stream);
            assert_eq!(bytes.len(), if is_stream { 12 } else { 9 });
            assert_eq!(from_channel(&bytes), Some(&b"hello"[..]));
        }
        assert_eq!(frame_bytes(&into_channel(b"hello", true)), Some(12));
        assert_eq!(frame_bytes(&[0, 1, 0]), None);
        assert_eq!(frame_bytes(&[0, 1, 0, 8]), Some(28));
        assert_eq!(from_channel(&[0x40, 1, 0, 0]), None);
    }
}
