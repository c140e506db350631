//! The edge: every request of a room goes to the one shard that has the room.
//!
//! Owns: the listeners (HTTP/1.1, HTTP/2, WebSocket, TLS), the limits on what a client may send
//! before it is known, the running topology and its reload, the look at the directory (its own, with a
//! door for shards of other processes, or one that gateways share), and where rooms were last seen.
//! Must not: hold room state, decide ownership (the directory does), touch media, or try another
//! shard when one does not answer: before the directory has given the first one up, a request waits.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod admin;
mod admit;
mod answer;
mod background;
mod catalogue;
mod config;
mod directory;
mod edge;
mod error;
mod farewell;
mod forward;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gathered;
mod ghosts;
mod head;
mod hold;
mod http2;
mod journey;
mod leaving;
mod listen;
mod proxy;
mod reload;
mod report;
mod roll_call;
mod routing;
mod server;
mod snapshot;
mod sni;
mod tls;
mod trace;
mod tunnel;
mod watch;
mod way;

pub use catalogue::METRICS;
pub use config::{
    CertificateConfig, Config, ListenConfig, ShardConfig, ShardStateConfig, TlsConfig,
    UpstreamConfig,
};
#[doc(hidden)]
pub use directory::Hints;
pub use error::GatewayError;
pub use report::{ReloadReport, Reweighed};
pub use routing::NativeRouting;
pub use server::{Deps, Gateway, Loader};
pub use snapshot::{Loaded, routing};
pub use sni::{SniConfig, SniRoute};
pub use tls::check_files;
