//! How a model talks to its server: the second half of its builder.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::sync::Arc;

use rappel_core::Timer;

use crate::builder::ChatOpenAiBuilder;
use crate::client::Client;
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::http1::Http1;
use crate::limits::{Limits, Times};
use crate::proxy::ProxyChoice;
use crate::response::Leftovers;
use crate::retry::Retries;
use crate::secret::Secret;
use crate::socket::Connector;
use crate::tls::Roots;
use crate::transport::Transport;

/// What is set about the connection to the server.
#[derive(Default)]
pub(crate) struct ConnectionSettings {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) no_default_roots: bool,
    pub(crate) proxy: ProxyChoice,
    pub(crate) pool_size: Option<usize>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) times: Times,
    pub(crate) limits: Limits,
    pub(crate) retries: Retries,
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl ConnectionSettings {
    /// A program that asks many things at once keeps that many connections for the next time.
    const POOL_SIZE: usize = 8;

    pub(crate) fn client(self, endpoint: Endpoint, key: Option<Secret>) -> Result<Client, OpenAiError> {
        let clock = Clock::new(self.timer, self.times);
        let mut roots = if self.no_default_roots { Roots::empty() } else { Roots::webpki() };
        for pem in &self.certificates {
            roots.add_pem(pem)?;
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let proxy = self.proxy.resolve(&endpoint)?;
                let connector = Connector::new(endpoint.clone(), proxy, roots, self.limits.header)?;
                let pool_size = self.pool_size.unwrap_or(Self::POOL_SIZE);
                Arc::new(Http1::new(connector, pool_size, clock.clone(), self.limits.header))
            }
        };
        Ok(Client {
            transport,
            endpoint,
            key,
            limits: self.limits,
            clock,
            retries: self.retries,
            leftovers: Arc::new(Leftovers::default()),
        })
    }
}

/// # The connection
///
/// Limits of time take a `Duration`, or `None` for no limit. A limit that is over ends the run in [`OpenAiError::TimedOut`], which says what was
/// waited for; one of bytes in an error of its own.
impl ChatOpenAiBuilder {
    /// How often a request is sent again that failed before anything of its answer was handed on: could not connect, was closed without an
    /// answer, has the status 408, 409, 429 or 5xx, or, without streaming, broke off. Default: 2; 0 for never.
    ///
    /// The wait is the server's `retry-after`, if it asks for a minute at most; more than that is an error at once. Else it is half a second,
    /// twice as much after each attempt up to 8 s, and up to half less by chance. Handlers hear of each in `on_retry`. A retry counts into the
    /// [total](Self::total_timeout), and what cannot be waited for within that is not tried. An answer that has begun to stream is never
    /// asked for again.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.connection.retries.most = retries;
        self
    }

    /// How long a connection may take: name, TCP, proxy and TLS. Default: 10 s.
    ///
    /// A [`transport`](Self::transport) of your own has its own rule for that.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.connect = limit.into();
        self
    }

    /// How long the server may take until its response begins, connecting included. Default: 10 minutes, since an answer that is not streamed
    /// begins when it is done.
    pub fn first_byte_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.first_byte = limit.into();
        self
    }

    /// How long the server may be silent within a response. Comments count as a sign of life, the time that you or handlers take does not
    /// count. Default: 5 minutes.
    pub fn chunk_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.chunk = limit.into();
        self
    }

    /// How long a call may take from its request to the end of its answer, with all attempts and waits, and the time that you and handlers
    /// take. It is looked at where the server is waited for. Default: an hour.
    pub fn total_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.total = limit.into();
        self
    }

    /// The timer of all limits and waits: your runtime's, or a virtual one in a test. Default: that of the reactor which drives the sockets,
    /// `async-io`'s. It is there whatever the runtime, so the limits hold on a bare `block_on` too.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.connection.timer = Some(Arc::new(timer));
        self
    }

    /// The longest head of a response, in bytes. Default: 64 KiB. Beyond that, or with more than 100 headers: [`OpenAiError::HeaderTooLarge`].
    pub fn max_header_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.header = limit;
        self
    }

    /// The longest answer that is not streamed, in bytes. Default: 16 MiB. Beyond that: [`OpenAiError::BodyTooLarge`].
    pub fn max_body_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.body = limit;
        self
    }

    /// The longest stream, in bytes on the wire: a token takes some 200. Default: 1 GiB. Beyond that: [`OpenAiError::BodyTooLarge`].
    pub fn max_stream_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.stream = limit;
        self
    }

    /// The longest event of a stream, in bytes; 0 counts as 1. Default: 1 MiB. Beyond that: [`OpenAiError::EventTooLarge`].
    ///
    /// A stream that carries 8 MiB, or twice that limit, without any event, comments for example, is [`OpenAiError::NoEvents`].
    pub fn max_event_bytes(mut self, limit: usize) -> Self {
        self.connection
            .limits
            .set_event(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        self
    }

    /// How many idle connections are kept for the next requests. Default: 8; with 0 each request has a connection of its own.
    ///
    /// One that has been idle for 55 s is not used again; it is closed when the next request finds it, or with the model. Clones of a model
    /// share theirs.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.connection.pool_size = Some(connections);
        self
    }

    /// The HTTP proxy to go through, `http://user:password@host:port`, or with `https`. Default: the environment's `HTTPS_PROXY` for an `https`
    /// server and `HTTP_PROXY` for an `http` one, else `ALL_PROXY`, also in lower case, unless `NO_PROXY` names the server, as with curl; and
    /// none for a server on loopback.
    ///
    /// For an `https` server the proxy is asked to `CONNECT`, and sees neither key nor request. What goes to an `http` server is open to the
    /// proxy as to everybody else on the way.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.connection.proxy = ProxyChoice::Url(url.into());
        self
    }

    /// Goes through no proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.connection.proxy = ProxyChoice::None;
        self
    }

    /// Whether Mozilla's root certificates are trusted. Default: yes. Without them, only those of
    /// [`root_certificates`](Self::root_certificates) are.
    pub fn default_roots(mut self, trusted: bool) -> Self {
        self.connection.no_default_roots = !trusted;
        self
    }

    /// Root certificates to trust, in PEM: for the server, and for a proxy that is spoken to over TLS.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection.certificates.push(pem.into());
        self
    }

    /// Carries the requests in place of the built-in transport. Proxies, certificates, the pool and the limits for connecting and for the head
    /// of a response are then its own business; all else stays as it is.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.connection.transport = Some(Arc::new(transport));
        self
    }
}
