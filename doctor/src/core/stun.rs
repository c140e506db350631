//! A connectivity check of ICE (RFC 8445 section 7.2.4): the request, and what came back.

use super::sdp::IceSide;
use std::net::SocketAddr;
use stun_types::attribute::{AttributeType, ErrorCode, RawAttribute, Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageIntegrityCredentials,
    MessageWriteVec, ShortTermCredentials, TransactionId,
};
use stun_types::prelude::{MessageWrite as _, MessageWriteExt as _};

/// RFC 8445 section 16.1.
const PRIORITY: AttributeType = AttributeType::new(0x0024);
const ICE_CONTROLLING: AttributeType = AttributeType::new(0x802a);
/// Of a peer-reflexive candidate; nobody compares it.
const OUR_PRIORITY: u32 = 0x6eff_ffff;

/// A check for the node with these credentials, from somebody with the fragment `ours`. `None`: the
/// credentials cannot stand in a message.
pub(crate) fn check(node: &IceSide, ours: &str) -> Option<(TransactionId, Vec<u8>)> {
    let mut message = Message::builder_request(BINDING, MessageWriteVec::new());
    let transaction = message.transaction_id();
    let name = Username::new(&format!("{}:{ours}", node.ufrag)).ok()?;
    message.add_attribute(&name).ok()?;
    let priority = OUR_PRIORITY.to_be_bytes();
    message
        .add_attribute(&RawAttribute::new(PRIORITY, &priority))
        .ok()?;
    let tie_breaker = [0; 8];
    message
        .add_attribute(&RawAttribute::new(ICE_CONTROLLING, &tie_breaker))
        .ok()?;
    let key = ShortTermCredentials::new(node.password.clone());
    let key = MessageIntegrityCredentials::from(key);
    message
        .add_message_integrity(&key, IntegrityAlgorithm::Sha1)
        .ok()?;
    message.add_fingerprint().ok()?;
    Some((transaction, message.finish()))
}

/// An answer to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// From where the node sees us.
    Seen(SocketAddr),
    /// It says no.
    Refused(u16),
}

/// Reads an answer; `None`: it is something else.
pub(crate) fn answer(bytes: &[u8]) -> Option<(TransactionId, Answer)> {
    let message = Message::from_bytes(bytes).ok()?;
    let transaction = message.transaction_id();
    if message.method() != BINDING {
        return None;
    }
    let answer = match message.class() {
        MessageClass::Success => {
            let mapped = message.attribute::<XorMappedAddress>().ok()?;
            Answer::Seen(mapped.addr(transaction))
        }
        MessageClass::Error => Answer::Refused(message.attribute::<ErrorCode>().ok()?.code()),
        MessageClass::Request | MessageClass::Indication => return None,
    };
    Some((transaction, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> IceSide {
        IceSide {
            ufrag: "node".to_owned(),
            password: "the node's password".to_owned(),
            candidates: Vec::new(),
        }
    }

    #[test]
    fn a_check_is_signed_with_the_nodes_password_and_names_both() {
        let (_, bytes) = check(&node(), "ours").unwrap();
        let message = Message::from_bytes(&bytes).unwrap();
        let name = message.attribute::<Username>().unwrap();
        assert_eq!(name.username(), "node:ours");
        assert!(message.raw_attribute(PRIORITY).is_some());
        let key = ShortTermCredentials::new(node().password);
        let key = MessageIntegrityCredentials::from(key);
        assert!(message.validate_integrity(&key).is_ok());
    }

    #[test]
    fn answers_are_told_from_anything_else() {
        let (transaction, request) = check(&node(), "ours").unwrap();
        assert_eq!(answer(&request), None);
        assert_eq!(answer(b"hello"), None);
        let request = Message::from_bytes(&request).unwrap();
        let mut reply = Message::builder_success(&request, MessageWriteVec::new());
        let us: SocketAddr = "192.0.2.9:4000".parse().unwrap();
        reply
            .add_attribute(&XorMappedAddress::new(us, transaction))
            .unwrap();
        assert_eq!(
            answer(&reply.finish()),
            Some((transaction, Answer::Seen(us)))
        );
        let mut reply = Message::builder_error(&request, MessageWriteVec::new());
        let code = ErrorCode::builder(487).build().unwrap();
        reply.add_attribute(&code).unwrap();
        assert_eq!(
            answer(&reply.finish()),
            Some((transaction, Answer::Refused(487)))
        );
    }
}
