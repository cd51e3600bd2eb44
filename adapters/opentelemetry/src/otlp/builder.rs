//! How the exporter is set up.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, Protocol, RetryPolicy, SpanExporter,
    WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use ureq::Agent;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::Otlp;
use super::books::Books;
use super::client::{Attempts, Client};
use super::pipeline::{Counted, Exporter};
use crate::handler::OpenTelemetry;
use crate::ids::RunIds;
use crate::settings::Settings;

/// Sends spans to a collector by OTLP over HTTP with protobuf.
///
/// ```no_run
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let telemetry = rappel_opentelemetry::otlp().service_name("my-agent").build()?;
/// let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
/// # let _ = callbacks;
/// # Ok(())
/// # }
/// ```
///
/// Requests are made on the thread of the SDK's batch processor, so no async runtime is needed and
/// none is blocked. The standard environment variables are read, and what is set in code comes
/// first:
///
/// | variable | what it sets | default |
/// |---|---|---|
/// | `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_TRACES_ENDPOINT` | the collector | `http://localhost:4318` |
/// | `OTEL_EXPORTER_OTLP_HEADERS`, `…_TRACES_HEADERS` | headers, as `name=value,name=value`; they replace those of the code | none |
/// | `OTEL_EXPORTER_OTLP_TIMEOUT`, `…_TRACES_TIMEOUT` | time for a request and its repetitions, in milliseconds | 10,000 |
/// | `OTEL_EXPORTER_OTLP_COMPRESSION`, `…_TRACES_COMPRESSION` | `gzip` | none |
/// | `OTEL_EXPORTER_OTLP_CERTIFICATE`, `…_TRACES_CERTIFICATE` | a PEM file of trusted roots | those of Mozilla |
/// | `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `…_CLIENT_KEY` | PEM files for a server that asks for them | none |
/// | `OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` | the queue, in spans; the delay of a batch, in milliseconds; its size | 2,048; 5,000; 512 |
/// | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | the resource | `unknown_service` |
/// | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | the sampler | `parentbased_always_on` |
/// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | the proxy | none |
///
/// [`Settings::from_env`] are the settings, unless [`settings`](OtlpBuilder::settings) are given.
///
/// # What is lost
/// A batch is sent in requests of about 4 MiB, before compression. A request that fails is repeated
/// with growing pauses, until its time-out: after no answer, and after the statuses 429, 502, 503
/// and 504. A pause is as long as `Retry-After` asks
/// for, but at most 30 seconds. A span that was sent twice has the same ids. What does not arrive is
/// counted: see [`Otlp::counts`].
///
/// # Memory
/// At most the queue's size in ended spans, and one open span for each open run.
pub fn otlp() -> OtlpBuilder {
    OtlpBuilder::default()
}

/// Makes an [`Otlp`]: see [`otlp`].
#[derive(Default)]
#[must_use = "nothing is sent until `build` is called"]
pub struct OtlpBuilder {
    endpoint: Option<String>,
    headers: HashMap<String, String>,
    timeout: Option<Duration>,
    gzip: bool,
    root_certificates: Option<Vec<u8>>,
    queue: Option<usize>,
    delay: Option<Duration>,
    resource: Vec<KeyValue>,
    metrics: bool,
    settings: Option<Settings>,
}

impl OtlpBuilder {
    /// Sets the collector, as `OTEL_EXPORTER_OTLP_ENDPOINT` does: `/v1/traces` is appended. It
    /// begins with `http://` or `https://`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Adds a header to each request: a key, usually. Its value is in no error, and in no log above the
    /// level TRACE. The dependency `ureq_proto` logs the bytes of requests at the level TRACE. A value
    /// that cannot be sent, such as one that ends in a newline, is an error of
    /// [`build`](Self::build).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the time for a request and its repetitions, at most a day.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Compresses requests with gzip.
    pub fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Trusts the certificates of this PEM text instead of Mozilla's roots.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Sets the maximum number of ended spans that wait, from 1 to 1,048,576. Room for them is
    /// allocated at once.
    pub fn queue_size(mut self, spans: usize) -> Self {
        self.queue = Some(spans);
        self
    }

    /// Sets how long a span waits for others at most, until they are sent as a batch.
    pub fn schedule_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Sets the name of the service, as `OTEL_SERVICE_NAME` does.
    pub fn service_name(self, name: impl Into<Value>) -> Self {
        self.resource_attribute("service.name", name)
    }

    /// Sets the project that Phoenix shows the traces in.
    pub fn project(self, name: impl Into<Value>) -> Self {
        self.resource_attribute("openinference.project.name", name)
    }

    /// Adds an attribute to the resource.
    pub fn resource_attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.resource.push(KeyValue::new(key, value));
        self
    }

    /// Sends metrics, too, to `/v1/metrics`. They are off by default, because Phoenix and Langfuse
    /// take traces only.
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Sets what spans have.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Starts the thread of the exporter. No request is made before there are spans.
    ///
    /// # Errors
    /// [`BuildError`] if a setting cannot be used.
    ///
    /// # Panics
    /// If the system has no more threads.
    pub fn build(self) -> Result<Otlp, BuildError> {
        self.check_endpoint()?;
        self.check_headers()?;
        let resource = Resource::builder().with_attributes(self.resource.clone()).build();
        let books = Arc::new(Books::default());
        let attempts = Attempts::new(books.clone());
        let agent = self.agent()?;
        let client = Client { agent: agent.clone(), attempts: Some(attempts.clone()) };
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_headers(self.headers.clone())
            .with_timeout(self.time_limit())
            .with_protocol(Protocol::HttpBinary)
            .with_retry_policy(until_the_time_is_up());
        if let Some(endpoint) = self.url("v1/traces") {
            exporter = exporter.with_endpoint(endpoint);
        }
        if self.gzip {
            exporter = exporter.with_compression(Compression::Gzip);
        }
        let limit = self.time_limit();
        let exporter =
            Exporter { exporter: exporter.build()?, books: books.clone(), attempts, limit };
        let capacity = self.queue.or_else(|| number("OTEL_BSP_MAX_QUEUE_SIZE")).unwrap_or(2048);
        let capacity = capacity.clamp(1, LARGEST_QUEUE);
        let mut config = BatchConfigBuilder::default().with_max_queue_size(capacity);
        if let Some(delay) = self.delay {
            config = config.with_scheduled_delay(delay);
        }
        let batches =
            BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        let capacity = capacity as u64;
        // OpenInference has several attributes for each message.
        let attributes = number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT").unwrap_or(MOST_ATTRIBUTES);
        let events = number("OTEL_SPAN_EVENT_COUNT_LIMIT").unwrap_or(MOST_EVENTS);
        let tracers = SdkTracerProvider::builder()
            .with_id_generator(RunIds::new())
            .with_resource(resource.clone())
            .with_span_processor(Counted { batches, books: books.clone(), capacity })
            .with_max_attributes_per_span(attributes)
            .with_max_events_per_span(events)
            .build();
        let meters = match self.metrics {
            true => Some(self.meters(agent, resource)?),
            false => None,
        };
        let settings = self.settings.unwrap_or_else(Settings::from_env);
        let handler = OpenTelemetry::with_our_ids(&tracers, settings, meters.as_ref(), events);
        Ok(Otlp { handler, tracers, meters, books })
    }

    fn meters(&self, agent: Agent, resource: Resource) -> Result<SdkMeterProvider, BuildError> {
        let mut exporter = MetricExporter::builder()
            .with_http()
            .with_http_client(Client { agent, attempts: None })
            .with_headers(self.headers.clone())
            .with_timeout(self.time_limit())
            .with_protocol(Protocol::HttpBinary);
        if let Some(endpoint) = self.url("v1/metrics") {
            exporter = exporter.with_endpoint(endpoint);
        }
        if self.gzip {
            exporter = exporter.with_compression(Compression::Gzip);
        }
        let meters = SdkMeterProvider::builder().with_resource(resource);
        Ok(meters.with_periodic_exporter(exporter.build()?).build())
    }

    fn url(&self, path: &str) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        Some(format!("{}/{path}", endpoint.trim_end_matches('/')))
    }

    fn time_limit(&self) -> Duration {
        let milliseconds = || {
            let of_traces = number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT");
            of_traces.or_else(|| number("OTEL_EXPORTER_OTLP_TIMEOUT")).unwrap_or(10_000)
        };
        self.timeout.unwrap_or_else(|| Duration::from_millis(milliseconds())).min(LONGEST_TIME)
    }

    /// Checks what the exporter would take and never reach.
    fn check_endpoint(&self) -> Result<(), BuildError> {
        // `/v1/traces` is appended, but for the variable of one signal.
        let check = |from: &str, url: &str, is_whole: bool| match unusable(url, is_whole) {
            Some(problem) => Err(BuildError::Endpoint { from: from.to_owned(), problem }),
            None => Ok(()),
        };
        if let Some(endpoint) = &self.endpoint {
            return check("`endpoint`", endpoint, false);
        }
        let signals = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", true)];
        let metrics = self.metrics.then_some(("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", true));
        for signal in signals.into_iter().chain(metrics) {
            let variables = [signal, ("OTEL_EXPORTER_OTLP_ENDPOINT", false)];
            let mut set = variables.iter().filter_map(|(name, is_whole)| {
                let url = std::env::var(name).ok().filter(|url| !url.is_empty())?;
                Some((name, url, *is_whole))
            });
            if let Some((name, url, is_whole)) = set.next() {
                check(name, &url, is_whole)?;
            }
        }
        Ok(())
    }

    /// Checks the headers that the exporter would leave out without a word.
    fn check_headers(&self) -> Result<(), BuildError> {
        let check = |from: &str, name: &str, value: &str| match name.parse::<HeaderName>() {
            // What was given as the name may be the secret.
            Err(_) => Err(BuildError::Header { from: from.to_owned(), name: None }),
            Ok(known) if value.parse::<HeaderValue>().is_err() => {
                Err(BuildError::Header { from: from.to_owned(), name: Some(known.to_string()) })
            }
            Ok(_) => Ok(()),
        };
        for (name, value) in &self.headers {
            check("`header`", name, value)?;
        }
        for signal in ["TRACES_", "METRICS_"].into_iter().take(1 + usize::from(self.metrics)) {
            // The variable of the signal replaces the general one.
            let variables = [signal, ""].map(|of| format!("OTEL_EXPORTER_OTLP_{of}HEADERS"));
            let set = |name: String| std::env::var(&name).ok().map(|list| (name, list));
            let Some((variable, list)) = variables.into_iter().find_map(set) else { continue };
            for header in list.split(',').map(str::trim).filter(|header| !header.is_empty()) {
                let (name, value) = header.split_once('=').unwrap_or_default();
                check(&variable, name.trim(), value.trim())?;
            }
        }
        Ok(())
    }

    fn agent(&self) -> Result<Agent, BuildError> {
        let timeout = self.time_limit();
        let mut tls = TlsConfig::builder();
        let roots = match &self.root_certificates {
            Some(pem) => Some(pem.clone()),
            None => {
                file(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"])?
            }
        };
        if let Some(pem) = roots {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(&pem)?));
        }
        let certificate = file(&[
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ])?;
        let key = file(&["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"])?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKey::from_pem(&key).map_err(|_| BuildError::Key)?;
                let chain = certificates(&certificate)?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
            }
            (None, None) => {}
            _ => return Err(BuildError::HalfOfClient),
        }
        Ok(Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout))
            .user_agent(concat!("rappel-opentelemetry/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent())
    }
}

/// More than that are dropped from a span, the newest first.
const MOST_ATTRIBUTES: u32 = 4096;

/// Why nothing can be sent to an endpoint.
fn unusable(url: &str, is_whole: bool) -> Option<&'static str> {
    let is_url = |url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    };
    let Some(url) = url.parse::<Uri>().ok().filter(is_url) else {
        return Some("it is no URL that begins with `http://` or `https://` and a host");
    };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some("it has a user or a password, which are not sent: use a header");
    }
    if url.query().is_some() && !is_whole {
        return Some("it has a query, and a path is appended: use a header");
    }
    None
}

/// Default of the SDK for the events of a span.
const MOST_EVENTS: u32 = 128;

/// The SDK allocates room for the whole queue at once.
const LARGEST_QUEUE: usize = 1 << 20;

/// A point in time that is later than that may not exist.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The exporter gives up at its time-out, not after a number of attempts.
fn until_the_time_is_up() -> RetryPolicy {
    RetryPolicy::recommended().with_max_retries(usize::MAX)
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.trim().parse().ok()
}

/// The file that the first of these variables names.
fn file(variables: &[&str]) -> Result<Option<Vec<u8>>, BuildError> {
    let named = variables.iter().find_map(|name| std::env::var_os(name).filter(|v| !v.is_empty()));
    let Some(path) = named.map(PathBuf::from) else { return Ok(None) };
    std::fs::read(&path).map(Some).map_err(|error| BuildError::File { path, error })
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, BuildError> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| BuildError::Certificates)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(BuildError::Certificates) } else { Ok(certificates) }
}

/// Header values are secrets.
impl fmt::Debug for OtlpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpBuilder")
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("timeout", &self.time_limit())
            .field("gzip", &self.gzip)
            .field("metrics", &self.metrics)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The exporter cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Another setting.
    #[error("the exporter cannot be made: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// Nothing can be sent to the endpoint. It is not shown, because it may contain a secret.
    #[error("the endpoint of {from} cannot be used: {problem}")]
    Endpoint {
        /// The method or the environment variable that set it.
        from: String,
        /// Why.
        problem: &'static str,
    },
    /// A header cannot be sent. Its value is not shown, because it may be a secret.
    #[error("{from} has a header that cannot be sent: {}", unsendable(name.as_deref()))]
    Header {
        /// The method or the environment variable that set it.
        from: String,
        /// The header's name. `None` if the name cannot be sent.
        name: Option<String>,
    },
    /// A file that an environment variable names cannot be read.
    #[error("the file {} cannot be read: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// There is no certificate in the PEM text.
    #[error("no certificate can be read: use the PEM format")]
    Certificates,
    /// The client's key cannot be read.
    #[error("the client's key cannot be read: use the PEM format, without a password")]
    Key,
    /// The client has a certificate without a key, or a key without a certificate.
    #[error("the client's certificate and its key are used together only: set both variables")]
    HalfOfClient,
}

fn unsendable(name: Option<&str>) -> String {
    match name {
        Some(name) => {
            format!("the value of `{name}` has a line break or another control character")
        }
        None => {
            "its name is empty, or has a space or another character that names cannot have".into()
        }
    }
}
