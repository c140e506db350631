//! A TURN server inside the media node (RFC 8656): for clients whose network lets out nothing but
//! TCP, TLS, or UDP to one port. The usual peer of an allocation is the node's own media port.
//!
//! Owns: [`core`], the server as a pure state machine, and the sockets, certificate and thread around
//! it ([`TurnServer`]). Must not: know rooms, tokens or media; who may come in says the credential
//! ([`proto::turn`]).
//!
//! Start reading at `core/mod.rs`; a packet's way is `driver.rs` (datagrams) and `streams.rs` (TCP and
//! TLS).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod config;
pub mod core;
mod driver;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod server;
mod streams;
mod tls;

pub use config::{Config, ConfigError, PortRange};
pub use core::Figures;
pub use core::range::IpRange;
pub use server::{Running, Sockets, Start, TurnError, TurnServer};
pub use tls::CertificateError;
