//! How many bits per second one client's downlink takes, from what the client says of each packet.
//!
//! The client reports arrival times (transport-wide feedback,
//! draft-holmer-rmcat-transport-wide-cc-extensions-01). [`Estimator`] turns them into a rate in the way
//! of Google congestion control (draft-ietf-rmcat-gcc-02): the trend of the delay and the loss lower it,
//! time and probes raise it. It is made for a server that forwards layers: it mostly sends less than it
//! could, and each frame leaves at once. Sans-IO; the time is passed in.
//!
//! Owns: the estimate, the numbers of packets for the feedback, when to probe. Must not: send, or decide
//! what is sent.

mod acked;
mod arrival;
mod bitrate;
mod cluster;
mod estimator;
mod feedback;
mod loss;
mod probe;
mod queue;
mod rate;
mod sent;
mod trendline;
#[cfg(test)]
#[path = "../tests/it/writer.rs"]
mod writer;

pub use bitrate::Bitrate;
pub use estimator::{Config, Estimator, Why};
