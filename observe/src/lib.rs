//! What operators see of a program: the form of its catalogue of metrics.
//!
//! Owns: what a metric is described by, and that it is there from the start. Must not: know any metric;
//! each program crate has its own catalogue.

mod metric;

pub use metric::{Kind, Label, Metric, Values, describe, register};
