//! What operators see of a program: the form of its catalogue of metrics, and spans of traces.
//!
//! Owns: what a metric is described by, and that it is there from the start; how a trace goes from
//! program to program. Must not: know any metric or any request; each program crate has its own.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod metric;
mod trace;

pub use metric::{Kind, Label, Metric, Values, describe, register};
pub use trace::{Side, Span, TRACE_HEADER, Traceparent, enable};
