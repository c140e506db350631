//! AV1 by its dependency descriptor (RTP Payload Format For AV1, v1.0, appendix A).
//!
//! # How a caller carries the descriptor
//!
//! It is a header extension
//! (`https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`) that may
//! be used beside any codec. It must reach [`Structure::read`] as raw bytes, of each packet and in
//! order; the structure belongs to the source, not to a receiver. Most are 3 bytes. With the structure
//! (first packet of a key frame) L1T3 takes about 30 bytes, L3T3 about 90, and 255 is the limit of the
//! form. What is longer than 16 bytes, and what is empty, needs the two-byte form of header extensions
//! (RFC 8285 section 4.3); then all extensions of the packet have it, and the receiver must have
//! agreed to `extmap-allow-mixed` to get both forms in one stream. For a receiver the bytes go out
//! unchanged, or as [`Change::write`] makes them: as long, or up to 5 bytes longer.

mod bits;
mod change;
mod frame;
mod selector;
mod structure;

pub use change::{Change, DESCRIPTOR_BYTES_MAX, Descriptor};
pub use frame::{Frame, Targets};
pub use selector::Selector;
pub use structure::Structure;

/// True if `payload` is the first packet of a coded video sequence (N of the aggregation header,
/// section 4.4).
#[must_use]
pub fn starts_keyframe(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & 0x08 != 0)
}
