//! Load tests: many rooms full of participants who publish, watch and measure.
//!
//! Owns: the plan of a run ([`plan`]), the media and its packets ([`media`], [`packetize`]) with the
//! stamp that each packet carries ([`stamp`]), the pace of sending ([`pace`]), what receivers count
//! ([`receive`], [`collect`]), the servers' own figures ([`scrape`]), the objectives ([`slo`]), the
//! report ([`report`], [`html`]), the progress line ([`progress`]), and what drives all of that
//! ([`run`]). Must not: know a server's inside; it meets one as any client does.
//!
//! Everything but [`run`] is pure: no socket, thread or clock; packets and times go in, actions,
//! packets and figures come out. Two exceptions, both named: [`media::make`] runs ffmpeg and keeps its
//! work in a folder, [`progress`] writes where it is told to.
//!
//! Times are nanoseconds since the start of the run where packets are concerned, `Duration`s since
//! the start of the run in plans and paces. Start reading at [`run`], or at [`collect::Collector`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod collect;
pub mod distribution;
pub mod errors;
pub mod generator;
pub mod html;
pub mod media;
pub mod pace;
pub mod packetize;
pub mod phases;
pub mod plan;
pub mod progress;
pub mod receive;
pub mod report;
pub mod run;
pub mod scrape;
pub mod slo;
pub mod stamp;
pub mod summary;
pub mod timeline;
pub mod witness;

mod numbers;
mod random;
mod series;
