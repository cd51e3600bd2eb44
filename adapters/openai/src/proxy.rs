//! HTTP proxies: which one is used, and the tunnel through it.

use core::future::poll_fn;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use smol_hyper::rt::FuturesIo;

use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::hyper_client::{builder, no_response};
use crate::socket::Socket;

/// Where the proxy is configured.
#[derive(Clone, Default)]
pub(crate) enum ProxyChoice {
    /// In `HTTP_PROXY` and its relatives.
    #[default]
    Environment,
    /// This URL is used for every server.
    Url(String),
    None,
}

/// A proxy and its credentials.
#[derive(Clone)]
pub(crate) struct Proxy {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
}

impl ProxyChoice {
    /// The proxy for that server.
    pub(crate) fn resolve(&self, server: &Endpoint) -> Result<Option<Proxy>, OpenAiError> {
        let matcher = match self {
            Self::None => return Ok(None),
            // As in Go and unlike curl: another machine's proxy cannot reach this machine's
            // loopback.
            Self::Environment if is_loopback(server.host()) => return Ok(None),
            Self::Environment => Matcher::from_env(),
            Self::Url(url) => Matcher::builder().all(url.clone()).build(),
        };
        match (matcher.intercept(&server.uri("")?), self) {
            (Some(intercept), _) => Proxy::new(&intercept).map(Some),
            (None, Self::Url(_)) => Err(invalid("it is not the URL of a proxy")),
            (None, _) => Ok(None),
        }
    }
}

impl Proxy {
    fn new(intercept: &Intercept) -> Result<Self, OpenAiError> {
        let endpoint =
            Endpoint::parse(&intercept.uri().to_string()).map_err(|error| match error {
                OpenAiError::InvalidBaseUrl { reason } => invalid(reason),
                _ => invalid("only http and https proxies are supported"),
            })?;
        Ok(Self { endpoint, authorization: intercept.basic_auth().cloned() })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The value of `proxy-authorization`, marked as sensitive.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.clone()
    }
}

fn invalid(reason: &'static str) -> OpenAiError {
    OpenAiError::InvalidProxy { reason }
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Asks the proxy to connect `socket` to the server. The proxy sees the server's name, and nothing
/// of the request.
pub(crate) async fn tunnel(
    socket: Socket,
    proxy: &Proxy,
    server: &Endpoint,
    header_limit: usize,
) -> Result<Socket, OpenAiError> {
    let failed = |error| no_response(error, header_limit);
    let io = FuturesIo::new(socket);
    let (mut sender, mut connection) =
        builder(header_limit).handshake::<_, Empty<Bytes>>(io).await.map_err(failed)?;
    let mut response = core::pin::pin!(sender.send_request(connect_request(proxy, server)?));
    let mut over = false;
    // The connection must not be shut down at its end: its socket is the tunnel.
    let head = poll_fn(|cx| {
        if !over && connection.poll_without_shutdown(cx).is_ready() {
            over = true;
        }
        response.as_mut().poll(cx)
    });
    let status = head.await.map_err(failed)?.status();
    if !status.is_success() {
        return Err(OpenAiError::ProxyRefused { status: status.as_u16() });
    }
    if !over {
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await.map_err(failed)?;
    }
    let parts = connection.into_parts();
    if !parts.read_buf.is_empty() {
        // In TLS the client sends first, so these bytes are not the server's.
        return Err(OpenAiError::Http {
            source: "the proxy sent bytes of its own through the tunnel".into(),
        });
    }
    Ok(parts.io.into_inner())
}

fn connect_request(proxy: &Proxy, server: &Endpoint) -> Result<Request<Empty<Bytes>>, OpenAiError> {
    let authority = server.authority()?;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    let host = HeaderValue::from_str(authority.as_str())
        .map_err(|_| invalid("the server's name can't be sent in a header"))?;
    *request.uri_mut() = Uri::from(authority);
    request.headers_mut().insert(HOST, host);
    if let Some(authorization) = proxy.authorization() {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
    }
    Ok(request)
}
