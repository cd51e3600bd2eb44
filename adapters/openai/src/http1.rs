//! The built-in transport: HTTP/1.1, no task.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rappel_core::runtime::BoxFuture;
use smol_hyper::rt::FuturesIo;

use crate::body::{Body, io_kind};
use crate::clock::Clock;
use crate::error::OpenAiError;
use crate::limits::Phase;
use crate::pool::{Link, Pool};
use crate::socket::Connector;
use crate::transport::{BodyStream, Transport};

/// hyper over sockets of `async-net`. Each connection is polled by the request, and then the body, that it is lent to.
pub(crate) struct Http1 {
    connector: Connector,
    pool: Arc<Pool>,
    clock: Clock,
    header_limit: usize,
}

/// A request that is to be sent again over another connection, if it has certainly not been sent, and the reason.
type Unsent = (Option<Request<Full<Bytes>>>, OpenAiError);

impl Http1 {
    pub(crate) fn new(connector: Connector, pool_size: usize, clock: Clock, header_limit: usize) -> Self {
        Self {
            connector,
            pool: Arc::new(Pool::new(pool_size, clock.clone())),
            clock,
            header_limit,
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<BodyStream>, OpenAiError> {
        let mut request = self.dress(request)?;
        while let Some(link) = self.pool.take() {
            match self.send_over(link, request).await {
                Ok(response) => return Ok(response),
                // The server closed it between two requests, as it may.
                Err((Some(unsent), _)) => request = unsent,
                Err((None, error)) => return Err(error),
            }
        }
        let link = self.clock.within(Phase::Connect, None, self.link()).await?;
        self.send_over(link, request).await.map_err(|(_, error)| error)
    }

    async fn link(&self) -> Result<Link, OpenAiError> {
        let socket = self.connector.connect(&self.clock).await?;
        let (sender, connection) = builder(self.header_limit)
            .handshake(FuturesIo::new(socket))
            .await
            .map_err(|error| no_response(error, self.header_limit))?;
        Ok(Link { sender, connection })
    }

    /// The request as it goes over the wire: to a proxy with the whole URI, else with the path only.
    fn dress(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, OpenAiError> {
        let mut request = request.map(Full::new);
        let endpoint = self.connector.endpoint();
        let headers = request.headers_mut();
        headers.insert(HOST, endpoint.host_header());
        if !self.pool.keeps() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(proxy) = self.connector.forwarding_proxy() {
            if let Some(authorization) = proxy.authorization() {
                headers.insert(PROXY_AUTHORIZATION, authorization);
            }
        } else {
            let target = request.uri().path_and_query().cloned();
            *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        }
        Ok(request)
    }

    /// Sends the request and waits for the head of the response.
    async fn send_over(&self, link: Link, request: Request<Full<Bytes>>) -> Result<Response<BodyStream>, Unsent> {
        let Link { mut sender, connection } = link;
        let response = sender.try_send_request(request);
        let mut connection = Some(connection);
        match drive(&mut connection, response).await {
            Ok(response) => Ok(response.map(|incoming| {
                let link = connection.map(|connection| Link { sender, connection });
                Box::pin(Body::new(link, incoming, self.pool.clone())) as BodyStream
            })),
            Err(mut error) => {
                let unsent = error.take_message();
                Err((unsent, no_response(error.into_error(), self.header_limit)))
            }
        }
    }
}

impl Transport for Http1 {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<BodyStream>, OpenAiError>> {
        Box::pin(self.exchange(request))
    }
}

/// hyper's client, with a limit for the head of a response.
pub(crate) fn builder(header_limit: usize) -> http1::Builder {
    /// What hyper reads into, at least. Heads are bounded by a number of their own.
    const BUFFER: usize = 64 << 10;
    let mut builder = http1::Builder::new();
    builder.max_header_size(header_limit).max_buf_size(header_limit.max(BUFFER));
    builder
}

/// Polls the connection until the response is there. A short response may end
/// the connection at the same time; that is when `connection` becomes `None`.
pub(crate) async fn drive<C, E>(
    connection: &mut Option<C>,
    response: impl Future<Output = Result<Response<Incoming>, E>>,
) -> Result<Response<Incoming>, E>
where
    C: Future + Unpin,
{
    let mut response = pin!(response);
    poll_fn(|cx| {
        if let Some(running) = connection {
            // The connection hands an error to whoever waits for the response.
            if Pin::new(running).poll(cx).is_ready() {
                *connection = None;
            }
        }
        response.as_mut().poll(cx)
    })
    .await
}

pub(crate) fn no_response(error: hyper::Error, header_limit: usize) -> OpenAiError {
    // hyper has a question for that in its server only. A test has the words.
    if error.is_parse() && error.to_string() == "message head is too large" {
        return OpenAiError::HeaderTooLarge { limit: header_limit };
    }
    let gone = matches!(
        io_kind(&error),
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
    );
    let closed = gone || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let source = error.into();
    if closed {
        OpenAiError::ClosedBeforeResponse { source }
    } else {
        OpenAiError::Http { source }
    }
}
