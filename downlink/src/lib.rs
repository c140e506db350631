//! Media on its way out to one client: RTP headers, SRTP, retransmission, sender reports.
//!
//! A forwarding server sends each packet as often as there are receivers, so this way has no queue, no
//! timer and no allocation of its own: [`Stream::send`] writes a packet behind others into a buffer of
//! the caller, who sends equal packets in one system call. Sans-IO; the time is passed in.
//!
//! Owns: the form of what leaves, and what of it can be sent once more. Must not: decide what is sent.

mod extension;
mod feedback;
mod history;
mod keys;
mod patch;
mod protection;
mod report;
mod stream;

pub use extension::{Extensions, FormError, SharedExtension};
pub use feedback::{Feedback, read as read_feedback};
pub use keys::{Profile, Side};
pub use patch::Patch;
pub use protection::{Keys, KeysError};
pub use report::{Figures, rewrite as rewrite_reports};
pub use stream::{Packet, Payload, Stream, StreamConfig};
