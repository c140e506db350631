//! Where traces go: an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Owns: the pipeline and what becomes of it if nobody takes traces: they are lost, and nothing else.

use crate::config::Otlp;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Where a collector takes traces (OTLP 1, section OTLP/HTTP).
const PATH: &str = "v1/traces";
/// Spans that wait to be sent. Beyond: the newest are lost.
const SPANS_MAX: usize = 8_192;
/// How often they are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long a collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the program waits for the last spans.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Longest answer read from a collector, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The running pipeline, if there is one. Dropping it sends what is left.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts it where the file says so. `role` is the service's name in traces.
    pub(crate) fn start(
        otlp: Option<&Otlp>,
        role: &'static str,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let Some(otlp) = otlp else {
            return Ok(Self(None));
        };
        let endpoint = format!("{}/{PATH}", otlp.endpoint.trim_end_matches('/'));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(endpoint.clone(), runtime.clone()))
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(&endpoint)
            .with_timeout(SEND_TIMEOUT)
            .build()
            .with_context(|| format!("telemetry.otlp.endpoint {}", otlp.endpoint))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_MAX)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let processor = BatchSpanProcessor::builder(exporter)
            .with_batch_config(batches)
            .build();
        let sampler = Sampler::TraceIdRatioBased(otlp.sample);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(role))
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_span_processor(processor)
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        observe::enable();
        tracing::info!(endpoint, sample = otlp.sample, "traces are sent");
        Ok(Self(Some(provider)))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // What cannot be sent now is lost, and has been said.
            let _ = provider.shutdown_with_timeout(LAST_WORDS);
        }
    }
}

fn resource(role: &'static str) -> Resource {
    Resource::builder_empty()
        .with_service_name(format!("anteroom-{role}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// Sends on our runtime: the pipeline has a thread of its own, without one.
#[derive(Debug)]
struct Collector {
    endpoint: String,
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    /// The last spans were not taken: it has been said.
    failing: AtomicBool,
}

impl Collector {
    fn new(endpoint: String, runtime: Handle) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            endpoint,
            client,
            runtime,
            failing: AtomicBool::new(false),
        }
    }

    /// One line when it begins and one when it ends, whatever happens between.
    fn note(&self, result: Result<(), String>) {
        let failed = result.is_err();
        let before = self.failing.swap(failed, Ordering::Relaxed);
        let endpoint = self.endpoint.as_str();
        match result {
            Err(cause) if !before => tracing::warn!(
                endpoint,
                cause,
                "traces are not taken and are lost; calls go on"
            ),
            Ok(()) if before => tracing::info!(endpoint, "traces are taken again"),
            Ok(()) | Err(_) => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.request(request.map(Full::new)).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(parts, body.to_bytes()))
        };
        // Timers, too, are the runtime's.
        let limited = async move { tokio::time::timeout(SEND_TIMEOUT, exchange).await };
        let result = match self.runtime.spawn(limited).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("no answer in time".into()),
            Err(error) => Err(error.into()),
        };
        self.note(match &result {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status())),
            Err(error) => Err(error.to_string()),
        });
        result
    }
}
