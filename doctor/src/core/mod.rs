//! What a check means: steps, their verdicts and texts, and the messages that are asked. No socket, no
//! clock, no runtime.

pub mod report;
pub(crate) mod sdp;
pub(crate) mod stun;
pub mod target;
pub(crate) mod token;
pub(crate) mod turn;
pub(crate) mod verdict;

#[cfg(test)]
mod tests {
    use super::{sdp, stun, token, turn};
    use proptest::prelude::*;

    proptest! {
        /// Whatever a server sends: it may be understood or not.
        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..4) {
            let mut message = bytes;
            // Some that begin as messages do.
            if let Some(header) = message.get_mut(..8) {
                header[0] = kind;
                header[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
            }
            let _ = (stun::answer(&message), turn::reply(&message));
            let _ = (turn::from_channel(&message), turn::frame_bytes(&message));
        }

        #[test]
        fn foreign_text_never_panics(text in "(a=candidate:|a=ice-ufrag:|turns?:|[0-9. \\[\\]:?=\r\n]|\\PC){0,60}") {
            let _ = (sdp::IceSide::read(&text), turn::TurnUrl::parse(&text));
            let _ = (token::Claims::read(&text), super::target::Target::parse(&text));
            let only = sdp::only(&text, ([192, 0, 2, 1], 9).into());
            prop_assert!(sdp::IceSide::read(&only).candidates.len() <= 1);
        }
    }
}
