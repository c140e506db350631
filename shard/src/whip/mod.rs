//! Sessions that are HTTP resources: WHIP (RFC 9725) for publishing, WHEP (draft-ietf-wish-whep) for
//! watching.
//!
//! Such a session is a participant like any other. Its signalling connection is a task that stands in for
//! the WebSocket: `resource`. The other files are pure: what is read of an offer, of an ICE fragment, and
//! when a fragment is taken.

mod entity;
mod fragment;
mod offer;
mod registry;
mod resource;

pub(crate) use entity::Unmet;
pub(crate) use fragment::{Fragment, MEDIA_TYPE as FRAGMENT_TYPE};
pub(crate) use offer::Offer;
pub(crate) use registry::{Handle, Registry};
pub(crate) use resource::{ASKS_MAX, Ask, Ended, Opened, Patched, Resource, Start, Unpatched};

/// Longest offer or fragment, bytes: a browser's offer of three sections has about 8 KiB. As much as the
/// gateway can send again to the owner of the room. Beyond: 413.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// WHIP: the client sends.
    Publish,
    /// WHEP: the client receives.
    Watch,
}

impl Flow {
    /// The word in paths and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "whip",
            Self::Watch => "whep",
        }
    }
}

/// What names an ICE session of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) password: String,
}

/// The value of `a=name:value`, if the line is that.
fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix("a=")?.strip_prefix(name)?;
    value.strip_prefix(':').map(str::trim)
}

/// Both sides' SDP begins a media section with this.
const MEDIA: &str = "m=";
