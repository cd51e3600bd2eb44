//! The second half of the builder: how a model connects to its server.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::sync::Arc;

use rappel_core::Timer;

use super::ChatOpenAiBuilder;
use crate::proxy::ProxyChoice;
use crate::tls::Roots;
use crate::transport::Transport;

/// # The connection
///
/// A time limit is a `Duration`, or `None` for no limit. When one is exceeded, the run ends with
/// [`OpenAiError::TimedOut`](crate::OpenAiError::TimedOut), which names the limit. A limit in bytes
/// has an error of its own.
impl ChatOpenAiBuilder {
    /// A header of every request. It replaces one that the client sets itself, such as
    /// `authorization`.
    ///
    /// Its value is not in any `Debug` output, error or event. If a server repeats it, it is
    /// replaced as the key is, if it may be a secret: if it has at least 16 characters, or a name
    /// such as `api-key` or `x-token`.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let inserted = self.connection.headers.insert(name.as_ref(), value.as_ref());
        self.checked(inserted);
        self
    }

    /// A parameter for the query of every request. Its value is treated as that of a
    /// [`header`](Self::header).
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.connection.query.push((name.into(), value.into()));
        self
    }

    /// The organisation that the requests belong to, by OpenAI's header.
    pub fn organization(self, id: impl AsRef<str>) -> Self {
        self.header("openai-organization", id)
    }

    /// The project that the requests belong to, by OpenAI's header.
    pub fn project(self, id: impl AsRef<str>) -> Self {
        self.header("openai-project", id)
    }

    /// The provider's name, as OpenTelemetry writes it. The start of each run has it, beside the
    /// server's address and port. Default: by the host, or else `openai`.
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.connection.provider = Some(name.into());
        self
    }

    /// How often a failed request is sent again. Default: 2. With 0 it is never sent again.
    ///
    /// A request is sent again only if no part of its answer was returned: it could not connect,
    /// the connection was closed without an answer, the status is 408, 409, 429 or 5xx, or the
    /// answer broke off. A stream that has had text, reasoning or a tool call is never requested
    /// again. A chunk without content, such as the first one of many servers, does not count.
    ///
    /// The server's `x-should-retry` counts more than the status. A refusal that is final, such as
    /// `insufficient_quota`, is not asked for again.
    ///
    /// Not counted as a retry: the server closed a kept connection before it answered, and another
    /// one is used; or it refuses `stream_options`, and is asked without.
    ///
    /// The wait is the server's `retry-after` if that is at most a minute. If it is longer, the
    /// call fails at once. Without one, the wait is half a second, doubled after each attempt, at
    /// most 8 s, and reduced by up to half at random. Handlers get each retry in `on_retry`.
    ///
    /// Retries count towards the [total](Self::total_timeout). There is no attempt if its wait
    /// would exceed the total.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.connection.retries.most = retries;
        self
    }

    /// The limit for opening a connection: name resolution, TCP, proxy and TLS. Default: 10 s.
    ///
    /// It does not apply to a [`transport`](Self::transport) of your own.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.connect = limit.into();
        self
    }

    /// The limit until the response begins, including the connection. Default: 10 minutes, because
    /// an answer that is not streamed begins when it is complete.
    pub fn first_byte_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.first_byte = limit.into();
        self
    }

    /// The limit between two packets of a response. Default: 5 minutes.
    ///
    /// Comments of the stream count as packets. The time that you and the handlers take does not
    /// count.
    pub fn chunk_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.chunk = limit.into();
        self
    }

    /// The limit for the rest of a response whose answer is complete, counted from the last finish
    /// reason. Default: 2 s. A response ends with `[DONE]`, or with its last byte. Some servers send
    /// neither, and some send the usage late.
    ///
    /// The call ends well when the limit has passed. Comments and other heartbeats do not extend it.
    /// With `None` the [chunk timeout](Self::chunk_timeout) applies.
    pub fn finish_grace(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.grace = limit.into();
        self
    }

    /// The limit for a whole call, including all attempts, the waits between them, and the time
    /// that you and the handlers take. Default: an hour. It is checked while the call waits for the
    /// server.
    pub fn total_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.connection.times.total = limit.into();
        self
    }

    /// The timer for all limits and waits: that of your runtime, or a virtual one in a test.
    ///
    /// Default: the timer of `async-io`, whose reactor drives the sockets. It works on every
    /// runtime, and on a bare `block_on`.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.connection.timer = Some(Arc::new(timer));
        self
    }

    /// The maximum size of a response's head, in bytes. Default: 64 KiB. If it is exceeded, or if
    /// there are more than 100 headers, the error is
    /// [`OpenAiError::HeaderTooLarge`](crate::OpenAiError::HeaderTooLarge).
    pub fn max_header_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.header = limit;
        self
    }

    /// The maximum size of an answer that is not streamed, in bytes. Default: 16 MiB. If it is
    /// exceeded, the error is [`OpenAiError::BodyTooLarge`](crate::OpenAiError::BodyTooLarge).
    pub fn max_body_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.body = limit;
        self
    }

    /// The maximum size of a stream, in bytes on the wire. A token takes about 200 bytes. Default:
    /// 1 GiB. If it is exceeded, the error is
    /// [`OpenAiError::BodyTooLarge`](crate::OpenAiError::BodyTooLarge).
    pub fn max_stream_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.stream = limit;
        self
    }

    /// The maximum size of an event of a stream, in bytes: at least 1. Default: 1 MiB. If it is
    /// exceeded, the error is [`OpenAiError::EventTooLarge`](crate::OpenAiError::EventTooLarge).
    ///
    /// A stream that carries 8 MiB, or twice this limit if that is more, without an event fails
    /// with [`OpenAiError::NoEvents`](crate::OpenAiError::NoEvents).
    pub fn max_event_bytes(mut self, limit: usize) -> Self {
        self.connection.limits.set_event(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        self
    }

    /// The maximum number of idle connections that are kept for later requests. Default: 8. With 0,
    /// each request opens a connection.
    ///
    /// A connection that was idle for 55 s is not used again. It is closed when the next request
    /// finds it, or when the model is dropped. Clones of a model share their connections.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.connection.pool_size = Some(connections);
        self
    }

    /// The HTTP proxy: `http://user:password@host:port`, or with `https`.
    ///
    /// Default: the environment's `HTTPS_PROXY` for an `https` server and `HTTP_PROXY` for an
    /// `http` server, or else `ALL_PROXY`, also in lower case, unless `NO_PROXY` names the server,
    /// as with curl. A server on loopback has no proxy by default.
    ///
    /// A proxy for an `https` server is asked to `CONNECT`, and sees neither key nor request. A
    /// request to an `http` server can be read by the proxy, and by everyone else on the way.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.connection.proxy = ProxyChoice::Url(url.into());
        self
    }

    /// Uses no proxy, and ignores the environment's.
    pub fn no_proxy(mut self) -> Self {
        self.connection.proxy = ProxyChoice::None;
        self
    }

    /// Whether Mozilla's root certificates are trusted. Default: `true`. With `false`, only those
    /// of [`root_certificates`](Self::root_certificates) are.
    pub fn default_roots(self, trusted: bool) -> Self {
        self.roots(if trusted { Roots::WebPki } else { Roots::Empty })
    }

    /// The root certificates that are trusted beside those of
    /// [`root_certificates`](Self::root_certificates). Default: [`Roots::WebPki`].
    pub fn roots(mut self, roots: Roots) -> Self {
        self.connection.roots = roots;
        self
    }

    /// Root certificates to trust, in PEM. They apply to the server and to an `https` proxy.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection.certificates.push(pem.into());
        self
    }

    /// Sends the requests through `transport` in place of the built-in one.
    ///
    /// Proxies, certificates, the pool, and the limits for connecting and for the head of a
    /// response then do not apply. Everything else does.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.connection.transport = Some(Arc::new(transport));
        self
    }
}
