//! VP8 (RFC 7741): temporal layers, and numbers that stay continuous.

mod descriptor;
mod selector;

pub use descriptor::Descriptor;
pub use selector::Selector;
