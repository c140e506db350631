//! Finds the broken link between a person and a call: asks a deployment what a client asks, one thing
//! after the other, and says in words what does not work and what to do about it.
//!
//! Owns: the steps, their verdicts, and the sockets to make them with. Must not: know anything of a
//! server but what clients see, or start one.
//!
//! [`run`] makes the steps in the order of [`Hop`] and tells each as it ends. Up to the
//! join each needs the one before. Then every way of media is tried by itself, with a connectivity
//! check under the credentials of a participant who joined for that: each address by UDP and by TCP,
//! and each TURN server. Last, two participants meet on the best way, and one hears the other.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod core;
mod run;

pub use crate::core::report::{Hop, Report, Status, Step};
pub use crate::core::target::{Target, TargetError};
pub use run::{Login, Settings, run};
