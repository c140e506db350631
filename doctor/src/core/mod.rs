//! What a check means: steps, their verdicts and texts, and the messages that are asked. No socket, no
//! clock, no runtime.

pub mod report;
pub(crate) mod sdp;
pub(crate) mod stun;
pub mod target;
pub(crate) mod token;
pub(crate) mod turn;
pub(crate) mod verdict;
