//! VP9 (RFC 9628): spatial and temporal layers in one stream.

mod descriptor;
mod selector;

pub use descriptor::{Descriptor, References, Size, Structure};
pub use selector::Selector;
