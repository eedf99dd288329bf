//! Sends spans to an OTLP receiver: protocol buffers over HTTP.
//!
//! OpenTelemetry's own processor is not used: what it drops it does not count, and it exports on a thread that has no
//! runtime for an HTTP client. What is left of it is a loop.

use std::time::Duration;

use floodgate_observe::TraceMetrics;
use opentelemetry::trace::TraceState;
use opentelemetry::trace::{Link, SpanContext as WireContext, SpanId, SpanKind, Status, TraceFlags, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _, SpanLinks};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::OtelConfig;
use crate::{Kind, Span, SpanContext, Value, conventions};

/// Spans in one request.
const AT_ONCE: usize = 512;

/// How long a span waits for company.
const LINGER: Duration = Duration::from_secs(1);

/// Pauses after a request that failed: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Why traces cannot be sent: the configuration is wrong.
#[derive(Debug)]
pub struct OpenError(String);

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "otel: {}", self.0)
    }
}

impl std::error::Error for OpenError {}

/// Sends spans, some at a time.
pub struct Exporter {
    client: SpanExporter,
    scope: InstrumentationScope,
    endpoint: String,
    metrics: TraceMetrics,
}

impl Exporter {
    /// Opens what sends; nothing is connected yet. `version` is the program's, `instance` tells its processes apart.
    ///
    /// # Errors
    /// The endpoint or the header fields are none, or this machine's certificates cannot be read.
    pub fn open(
        config: &OtelConfig,
        version: &'static str,
        instance: String,
        metrics: TraceMetrics,
    ) -> Result<Self, OpenError> {
        let endpoint = with_path(&config.endpoint);
        let http = client(Duration::from_millis(config.timeout_ms)).map_err(OpenError)?;
        let headers = headers(config.headers.expose_secret()).map_err(OpenError)?;
        let mut client = SpanExporter::builder()
            .with_http()
            .with_http_client(http)
            .with_endpoint(endpoint.clone())
            .with_timeout(Duration::from_millis(config.timeout_ms))
            .with_headers(headers)
            .build()
            .map_err(|error| OpenError(format!("{endpoint}: {error}")))?;
        client.set_resource(
            &Resource::builder()
                .with_service_name(config.service_name.clone())
                .with_schema_url(
                    [
                        KeyValue::new("service.version", version),
                        KeyValue::new("service.instance.id", instance),
                    ],
                    conventions::SCHEMA_URL,
                )
                .build(),
        );
        let scope = InstrumentationScope::builder("floodgate")
            .with_version(version)
            .with_schema_url(conventions::SCHEMA_URL)
            .build();
        Ok(Self { client, scope, endpoint, metrics })
    }

    /// Until `stop`; what waits then is still sent, once.
    pub async fn run(self, mut spans: mpsc::Receiver<Span>, stop: CancellationToken) {
        let (mut pause, mut is_troubled) = (PAUSES.0, false);
        let mut gathered = Vec::with_capacity(AT_ONCE);
        loop {
            let is_last = !self.gather(&mut spans, &mut gathered, &stop).await;
            while !gathered.is_empty() {
                let count = gathered.len() as u64;
                let batch = gathered.drain(..).map(|span| wire(span, &self.scope)).collect();
                match self.client.export(batch).await {
                    Ok(()) => {
                        self.metrics.sent.inc_by(count);
                        if std::mem::take(&mut is_troubled) {
                            tracing::info!(endpoint = self.endpoint, "traces are sent again");
                        }
                        pause = PAUSES.0;
                    }
                    Err(error) => {
                        self.metrics.failed.inc_by(count);
                        if !std::mem::replace(&mut is_troubled, true) {
                            let endpoint = &self.endpoint;
                            tracing::warn!(endpoint, %error, "traces are not sent: is an OTLP/HTTP receiver there?");
                        }
                        // what comes meanwhile waits, as far as there is room
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            () = stop.cancelled() => {}
                        }
                        pause = (pause * 2).min(PAUSES.1);
                    }
                }
                if is_last && !is_troubled {
                    while gathered.len() < AT_ONCE
                        && let Ok(span) = spans.try_recv()
                    {
                        gathered.push(span);
                    }
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Waits for spans, and a while for more. Returns whether more may come.
    async fn gather(
        &self,
        spans: &mut mpsc::Receiver<Span>,
        gathered: &mut Vec<Span>,
        stop: &CancellationToken,
    ) -> bool {
        let mut until: Option<Instant> = None;
        while gathered.len() < AT_ONCE {
            let lingered = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                came = spans.recv_many(gathered, AT_ONCE - gathered.len()) => {
                    if came == 0 {
                        return false;
                    }
                    until.get_or_insert_with(|| Instant::now() + LINGER);
                }
                () = stop.cancelled() => return false,
                () = lingered => break,
            }
        }
        true
    }
}

/// The endpoint of traces, where only the receiver's was given.
fn with_path(endpoint: &str) -> String {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    match rest.trim_end_matches('/') {
        host if !host.contains('/') => format!("{scheme}://{host}/v1/traces"),
        _ => endpoint.to_owned(),
    }
}

/// `name=value`, several separated by commas.
fn headers(text: &str) -> Result<std::collections::HashMap<String, String>, String> {
    let fields = text.split(',').map(str::trim).filter(|field| !field.is_empty());
    let field = |field: &str| match field.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("headers: each must be name=value, separated by commas".to_owned()),
    };
    fields.map(field).collect()
}

/// One that trusts whom this machine trusts.
fn client(timeout: Duration) -> Result<reqwest::Client, String> {
    // another one may have been chosen, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    client.build().map_err(|error| error.to_string())
}

fn context(context: SpanContext, is_remote: bool) -> WireContext {
    let (trace_id, span_id) = (TraceId::from(context.trace_id()), SpanId::from(context.span_id()));
    WireContext::new(trace_id, span_id, TraceFlags::SAMPLED, is_remote, TraceState::NONE)
}

/// A span as the library has it.
fn wire(span: Span, scope: &InstrumentationScope) -> SpanData {
    let value = |value: Value| match value {
        Value::Text(text) => opentelemetry::Value::from(text),
        Value::Number(number) => opentelemetry::Value::from(number),
    };
    let micros = |time: floodgate_schemas::Timestamp| {
        let micros = u64::try_from(time.as_micros()).unwrap_or_default();
        std::time::UNIX_EPOCH + Duration::from_micros(micros)
    };
    let mut links = SpanLinks::default();
    links.links = span.links.iter().map(|link| Link::with_context(context(*link, true))).collect();
    links.dropped_count = span.links_dropped;
    SpanData {
        span_context: context(span.context, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.span_id())),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        },
        name: span.name.into(),
        start_time: micros(span.started),
        end_time: micros(span.ended),
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, found)| KeyValue::new(name, value(found)))
            .collect(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}
