//! Traces: what happened on the way of one request, through all programs.
//!
//! Owns: spans, and how a trace goes from program to program (W3C Trace Context, `traceparent`). Until a
//! program has said where traces go ([`enable`]), spans are empty and cost nothing; the number of a trace
//! is there all the same, for the logs.

use opentelemetry::global::{self, BoxedSpan};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Request header of a trace (W3C Trace Context, section 3.2). The gateway sets it; what clients say
/// under this name is dropped.
pub const TRACE_HEADER: &str = "traceparent";
/// The name under which the programs trace.
const SCOPE: &str = "anteroom";
/// The only version that there is.
const VERSION: &str = "00";

static ENABLED: AtomicBool = AtomicBool::new(false);

/// From now on spans are kept: the process has a tracer provider.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Where a request is in its trace: the number of the trace, and of the span that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Traceparent {
    /// A number for the logs alone: nobody keeps spans of it.
    pub fn unsampled() -> Self {
        // W3C forbids 0 alone.
        Self {
            trace: TraceId::from(rand::random::<u128>() | 1),
            span: SpanId::from(rand::random::<u64>() | 1),
            sampled: false,
        }
    }

    /// Reads the header's form, `00-{32 hex}-{16 hex}-{2 hex}`; `None` if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let part = parts.next()?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (part.len() == length && part.bytes().all(is_hex)).then_some(part)
        };
        let version = part(2)?;
        let trace = TraceId::from_hex(part(32)?).ok()?;
        let span = SpanId::from_hex(part(16)?).ok()?;
        let flags = u8::from_str_radix(part(2)?, 16).ok()?;
        let is_valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        (version == VERSION && parts.next().is_none() && is_valid).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The trace's number alone, 32 hexadecimal digits, as logs and trace viewers have it.
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    fn context(self) -> SpanContext {
        let flags = if self.sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        SpanContext::new(self.trace, self.span, flags, true, TraceState::default())
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "{VERSION}-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

/// Whose side of a request a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We were asked.
    Server,
    /// We ask another program.
    Client,
    /// A step of our own.
    Internal,
}

impl From<Side> for SpanKind {
    fn from(side: Side) -> Self {
        match side {
            Side::Server => Self::Server,
            Side::Client => Self::Client,
            Side::Internal => Self::Internal,
        }
    }
}

/// Something that took time. It ends when it is dropped. Empty if nobody keeps spans.
#[derive(Default)]
pub struct Span(Option<Box<BoxedSpan>>);

impl Span {
    /// One that is not kept.
    pub fn none() -> Self {
        Self(None)
    }

    /// The first span of a new trace.
    pub fn root(name: &'static str) -> Self {
        Self::start(name, Side::Server, Context::new)
    }

    /// The first span in this program of a trace that began elsewhere. Without a trace nothing is kept.
    pub fn remote(name: &'static str, parent: Option<Traceparent>) -> Self {
        match parent {
            Some(parent) => Self::start(name, Side::Server, || {
                Context::new().with_remote_span_context(parent.context())
            }),
            None => Self::none(),
        }
    }

    /// A part of this span.
    pub fn child(&self, name: &'static str, side: Side) -> Self {
        match &self.0 {
            Some(parent) => Self::start(name, side, || {
                Context::new().with_remote_span_context(parent.span_context().clone())
            }),
            None => Self::none(),
        }
    }

    fn start(name: &'static str, side: Side, parent: impl FnOnce() -> Context) -> Self {
        if !ENABLED.load(Ordering::Relaxed) {
            return Self::none();
        }
        let tracer = global::tracer(SCOPE);
        let builder = tracer.span_builder(name).with_kind(side.into());
        Self(Some(Box::new(
            builder.start_with_context(&tracer, &parent()),
        )))
    }

    /// Whether what is said of it is kept. Of use where saying it costs something.
    pub fn is_kept(&self) -> bool {
        self.0.as_ref().is_some_and(|span| span.is_recording())
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// It came to nothing.
    pub fn fail(&mut self, why: &str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why.to_owned()));
        }
    }

    /// What the next program is told, so that its spans belong here.
    pub fn traceparent(&self) -> Option<Traceparent> {
        let context = self.0.as_ref()?.span_context();
        context.is_valid().then(|| Traceparent {
            trace: context.trace_id(),
            span: context.span_id(),
            sampled: context.is_sampled(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_in_one_form_only() {
        let parsed = Traceparent::parse(TEXT).expect("the standard's own example");
        assert!(parsed.sampled);
        assert_eq!(parsed.to_string(), TEXT);
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for wrong in [
            "",
            "00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn logs_have_a_number_where_nobody_keeps_spans() {
        let one = Traceparent::unsampled();
        assert_ne!(one, Traceparent::unsampled());
        assert_eq!(Traceparent::parse(&one.to_string()), Some(one));
        let mut span = Span::root("join");
        span.set("why", "nobody looks");
        assert!(!span.is_kept());
        assert_eq!(span.traceparent(), None);
        assert!(!span.child("part", Side::Internal).is_kept());
    }
}
