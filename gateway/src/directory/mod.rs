//! What this gateway knows of the directory, and how it came to know it.
//!
//! Owns: the memory engine of a gateway that is alone ([`EmbeddedDirectory`]), the regular look at
//! whatever engine there is ([`Lookout`]), and where rooms were last seen ([`Hints`]).
//! Must not: decide who owns a room. Everything here may be late or wrong; the shards' claims are
//! what counts, and a request that goes to the wrong shard is told so.

mod announcer;
mod arrivals;
mod embedded;
mod hints;
mod lookout;
mod picture;

pub(crate) use embedded::EmbeddedDirectory;
pub use hints::Hints;
pub(crate) use lookout::{LOOK_EVERY, Lookout, as_gauge};
pub(crate) use picture::Picture;
