//! From facts to words: what each step's outcome means, and what to do about it.

pub(crate) mod gateway;
pub(crate) mod join;
pub(crate) mod media;
pub(crate) mod overall;
pub(crate) mod reach;
pub(crate) mod ways;
