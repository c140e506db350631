//! A real gateway on loopback, with small shards behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod ghosts;
mod hold;
mod limits;
mod logs;
mod ownership;
mod reload;
mod routes;
mod shared;
mod support;
mod tls;
mod tunnel;
