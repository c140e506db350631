//! Ids and the messages that Anteroom's programs exchange.
//!
//! Owns: the vocabulary between gateway, shard and node ([`media`]), access tokens ([`token`]),
//! credentials for TURN ([`turn`]), the gateway's signed statement about a request ([`context`]), and
//! the links that carry messages inside one process or between processes ([`link`], [`rpc`]).
//! Must not: know any program, hold state about rooms, or read a clock.

pub mod context;
pub mod id;
pub mod link;
pub mod media;
pub mod rpc;
pub mod token;
pub mod turn;
