//! Sends spans to an OTLP receiver: protocol buffers over HTTP.
//!
//! OpenTelemetry's own processor is not used: what it drops it does not count, and it exports on a thread that has no
//! runtime for an HTTP client. What is left of it is a loop. Nor are its retries: while a receiver is away, spans wait in the
//! queue as long as there is room, and what was sent is not sent again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use floodgate_observe::{TraceMetrics, with_causes};
use opentelemetry::trace::{
    Link, SpanContext as WireContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _, SpanLinks};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use prost::Message;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
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

/// What is wrong with where and how to send.
pub(crate) fn problems(config: &OtelConfig) -> Vec<String> {
    let wrong = [
        endpoint(&config.endpoint).err().map(|why| format!("otel.endpoint {why}")),
        headers(config.headers.expose_secret()).err().map(|why| format!("otel.headers {why}")),
    ];
    wrong.into_iter().flatten().collect()
}

/// Sends spans, some at a time.
pub struct Exporter {
    exporter: SpanExporter,
    client: Arc<Client>,
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
        let endpoint = endpoint(&config.endpoint).map_err(|why| OpenError(format!("endpoint {why}")))?;
        let headers =
            headers(config.headers.expose_secret()).map_err(|why| OpenError(format!("headers {why}")))?;
        let timeout = Duration::from_millis(config.timeout_ms);
        let client = Arc::new(Client::open(&endpoint, timeout).map_err(OpenError)?);
        let endpoint = endpoint.to_string();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::clone(&client) as _)
            .with_endpoint(endpoint.clone())
            .with_timeout(timeout)
            // what was taken and answered badly would be there twice
            .with_retry_policy(RetryPolicy::disabled())
            .with_headers(headers)
            .build()
            .map_err(|error| OpenError(format!("{endpoint}: {}", with_causes(&error))))?;
        exporter.set_resource(
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
        Ok(Self { exporter, client, scope, endpoint, metrics })
    }

    /// Sends nothing, once, to see whether it would be taken.
    ///
    /// # Errors
    /// Why not.
    pub async fn ask(&self) -> Result<(), String> {
        let asked = self.exporter.export(Vec::new()).await;
        let said = std::mem::take(&mut *self.client.said.lock());
        asked.map_err(|error| said.why.unwrap_or_else(|| with_causes(&error)))
    }

    /// Until `stop`; what waits then is still sent, once. May be called again after a bug.
    pub async fn run(&self, spans: &mut mpsc::Receiver<Span>, stop: &CancellationToken) {
        let (mut pause, mut is_troubled) = (PAUSES.0, false);
        let mut gathered = Vec::with_capacity(AT_ONCE);
        while self.gather(spans, &mut gathered, stop).await {
            if self.send(&mut gathered, &mut is_troubled).await {
                pause = PAUSES.0;
                continue;
            }
            // what comes meanwhile waits, as far as there is room
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
        // nothing comes any more, or nothing is waited for: all that is there, as long as it is taken
        loop {
            while gathered.len() < AT_ONCE
                && let Ok(span) = spans.try_recv()
            {
                gathered.push(span);
            }
            if gathered.is_empty() || !self.send(&mut gathered, &mut is_troubled).await {
                return;
            }
        }
    }

    /// Whether they were sent. A change of that is told.
    async fn send(&self, gathered: &mut Vec<Span>, is_troubled: &mut bool) -> bool {
        let count = gathered.len() as u64;
        let batch = gathered.drain(..).map(|span| wire(span, &self.scope)).collect();
        let exported = self.exporter.export(batch).await;
        let Said { rejected, why } = std::mem::take(&mut *self.client.said.lock());
        let (failed, why) = match exported {
            Ok(()) => (rejected.min(count), why.unwrap_or_default()),
            Err(error) => (count, why.unwrap_or_else(|| error.to_string())),
        };
        self.metrics.sent.inc_by(count - failed);
        self.metrics.failed.inc_by(failed);
        let endpoint = &self.endpoint;
        let was_troubled = std::mem::replace(is_troubled, failed > 0);
        match (was_troubled, failed > 0) {
            (true, false) => tracing::info!(endpoint, "traces are sent again"),
            (false, true) => {
                tracing::warn!(endpoint, %why, "traces are not sent: is an OTLP/HTTP receiver there?")
            }
            _ => {}
        }
        failed < count
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

/// Where traces are posted: the receiver's address with the path that OTLP has for them.
fn endpoint(text: &str) -> Result<Url, String> {
    let as_in = "such as http://127.0.0.1:4318";
    let mut url = Url::parse(text).map_err(|error| format!("is no URL {as_in}: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("must be an OTLP/HTTP URL {as_in}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a name or a password: send them as a header field (otel.headers)".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.ends_with("/v1/traces") {
        url.set_path(&format!("{path}/v1/traces"));
    }
    Ok(url)
}

/// `name=value`, percent-encoded, several separated by commas.
fn headers(text: &str) -> Result<HashMap<String, String>, String> {
    let fields = text.split(',').map(str::trim).filter(|field| !field.is_empty());
    let field = |(number, field): (usize, &str)| {
        // not what it is: it may be a secret
        let wrong = |what: &str| format!("{what} in field {number}: each is name=value, separated by commas");
        let (name, value) = field.split_once('=').ok_or_else(|| wrong("has no ="))?;
        let value = percent_decode_str(value.trim())
            .decode_utf8()
            .map_err(|_| wrong("has bytes that are no text"))?;
        let name =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong("has a name that is none"))?;
        HeaderValue::from_str(&value).map_err(|_| wrong("has a value that is none"))?;
        Ok((name.to_string(), value.into_owned()))
    };
    (1..).zip(fields).map(field).collect()
}

/// Posts, and keeps what the library does not hand on: why it could not, and what was not taken.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    rejected: u64,
    why: Option<String>,
}

impl Client {
    /// One that trusts whom this machine trusts.
    fn open(endpoint: &Url, timeout: Duration) -> Result<Self, String> {
        // another one may have been chosen, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        // machines without certificates can do without TLS
        let client = if endpoint.scheme() == "http" { client.tls_certs_only([]) } else { client };
        let http = client.build().map_err(|error| with_causes(&error))?;
        Ok(Self { http, said: Mutex::default() })
    }

    async fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.http.send_bytes(request).await;
        let said = match &answer {
            Err(error) => Said { rejected: 0, why: Some(with_causes(&**error)) },
            Ok(answer) if !answer.status().is_success() => {
                let text = String::from_utf8_lossy(answer.body());
                let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
                Said { rejected: 0, why: Some(format!("{} {text}", answer.status()).trim_end().to_owned()) }
            }
            Ok(answer) => match ExportTraceServiceResponse::decode(answer.body().clone()) {
                Ok(ExportTraceServiceResponse { partial_success: Some(partly) }) => Said {
                    rejected: u64::try_from(partly.rejected_spans).unwrap_or_default(),
                    why: Some(format!("rejected: {}", partly.error_message)),
                },
                // nothing is said by most, and what is no message says nothing
                _ => Said::default(),
            },
        };
        *self.said.lock() = said;
        answer
    }
}

impl HttpClient for Client {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        Box::pin(self.post(request))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_lead_to_traces_or_are_refused() {
        for (text, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://gateway/otlp", "https://gateway/otlp/v1/traces"),
            ("https://gateway/otlp/v1/traces", "https://gateway/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(text).unwrap().to_string(), url);
        }
        for (text, needle) in [
            ("c:4318", "must be an OTLP/HTTP URL"),
            ("127.0.0.1:4318", "is no URL"),
            ("http://", "is no URL"),
            ("http://a b", "is no URL"),
            ("grpc://c:4317", "must be an OTLP/HTTP URL"),
            ("http://me:secret@c", "otel.headers"),
            ("http://c?token=1", "must end with its path"),
        ] {
            let told = endpoint(text).unwrap_err();
            assert!(told.contains(needle) && !told.contains("secret"), "{text}: {told}");
        }
    }

    #[test]
    fn header_fields_are_read_as_they_are_written_elsewhere() {
        let read = |text: &str| {
            headers(text).map(|fields| fields.into_iter().collect::<std::collections::BTreeMap<_, _>>())
        };
        let fields = read(" Authorization=Basic%20abc%2C= , x-team = blue ,").unwrap();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("authorization", "Basic abc,="), ("x-team", "blue")]);
        assert_eq!(read("").unwrap().len(), 0);
        for secret in ["secret", "my token=secret", "x=secret%0A", "x=secret%ff", "=secret"] {
            let told = read(secret).unwrap_err();
            assert!(told.contains("in field 1") && !told.contains("secret"), "{told}");
        }
    }
}
