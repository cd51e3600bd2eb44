//! HTTP requests, and what came of them.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use ureq::{Agent, Timeout};

use super::books::{Books, Outcome};

/// The largest answer of a collector that is read, in bytes.
const LARGEST_ANSWER: u64 = 4 * 1024 * 1024;

/// Longest message of a collector in an error, in bytes.
const LONGEST_MESSAGE: usize = 200;

/// A client over `ureq`, which blocks the thread of the batch processor.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) agent: Agent,
    /// Absent for metrics.
    pub(super) attempts: Option<Arc<Attempts>>,
}

/// What came of the attempts to send the current request.
#[derive(Debug)]
pub(super) struct Attempts {
    books: Arc<Books>,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    outcome: Option<Outcome>,
    /// When the time for the request and its repetitions is up.
    until: Option<Instant>,
}

impl Attempts {
    pub(super) fn new(books: Arc<Books>) -> Arc<Self> {
        Arc::new(Self { books, current: Mutex::default() })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request begins, and has so much time.
    pub(super) fn begin(&self, limit: Duration) {
        *self.current() = Current { outcome: None, until: Instant::now().checked_add(limit) };
    }

    /// Whether there was no attempt yet.
    pub(super) fn is_empty(&self) -> bool {
        self.current().outcome.is_none()
    }

    /// What is known of the request so far, which is forgotten.
    pub(super) fn take(&self) -> Option<Outcome> {
        self.current().outcome.take()
    }

    /// The time that is left for the request.
    fn time_left(&self) -> Option<Duration> {
        Some(self.current().until?.saturating_duration_since(Instant::now()))
    }

    fn add(&self, attempt: Outcome) {
        let outcome = &mut self.current().outcome;
        *outcome = Some(match (*outcome, attempt) {
            (_, Outcome::Acknowledged { .. }) => attempt,
            // An earlier attempt may have arrived.
            (Some(Outcome::Unknown), _) | (_, Outcome::Unknown) => Outcome::Unknown,
            (Some(Outcome::Rejected), _) | (_, Outcome::Rejected) => Outcome::Rejected,
            (_, Outcome::NotSent) => Outcome::NotSent,
        });
    }
}

/// The exporter was shut down while it tried again.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the exporter has been shut down")
    }
}

impl Error for Closed {}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Some(attempts) = &self.attempts else { return Ok(self.send(request)?) };
        if attempts.books.is_closed() {
            return Err(Closed.into());
        }
        let answer = self.send(request);
        let (outcome, error) = match &answer {
            Ok(response) if response.status().is_success() => acknowledged(response.body()),
            Ok(response) => {
                let error = format!("the collector answered {}", response.status());
                (Outcome::Rejected, Some(error))
            }
            Err(error) if is_sent(error) => (Outcome::Unknown, Some(describe(error))),
            Err(error) => (Outcome::NotSent, Some(describe(error))),
        };
        attempts.add(outcome);
        if let Some(error) = error {
            attempts.books.set_error(error);
        }
        Ok(answer?)
    }
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, &*body);
        if let Some(left) = self.attempts.as_ref().and_then(|attempts| attempts.time_left()) {
            request = self.agent.configure_request(request).timeout_global(Some(left)).build();
        }
        let mut response = self.agent.run(request)?;
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(response.into_parts().0, body.into()))
    }
}

/// A success, which may be partial.
fn acknowledged(body: &[u8]) -> (Outcome, Option<String>) {
    // The status counts if the body is not what the protocol asks for.
    let partial = ExportTraceServiceResponse::decode(body).ok().and_then(|r| r.partial_success);
    let Some(partial) = partial else { return (Outcome::Acknowledged { rejected: 0 }, None) };
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
    let mut message = partial.error_message;
    message
        .truncate((0..=LONGEST_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0));
    let error = (rejected > 0 || !message.is_empty())
        .then(|| format!("the collector rejected {rejected} spans: {message}"));
    (Outcome::Acknowledged { rejected }, error)
}

/// Whether a part of the request may have arrived.
fn is_sent(error: &ureq::Error) -> bool {
    use ureq::Error;
    match error {
        Error::Io(error) => !matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::AddrNotAvailable
        ),
        Error::Timeout(Timeout::Resolve | Timeout::Connect)
        | Error::BadUri(_)
        | Error::HostNotFound
        | Error::InvalidProxyUrl
        | Error::ConnectionFailed
        | Error::ConnectProxyFailed(_)
        | Error::Tls(_)
        | Error::Pem(_)
        | Error::Rustls(_)
        | Error::RequireHttpsOnly(_)
        | Error::TlsRequired => false,
        _ => true,
    }
}

/// The error without addresses, which may contain a secret.
fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "the endpoint is not a url".into(),
        ureq::Error::ConnectProxyFailed(_) => "the proxy could not be connected to".into(),
        error => error.to_string(),
    }
}
