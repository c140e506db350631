//! sfu
pub mod engine;
