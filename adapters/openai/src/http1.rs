//! The built-in transport: HTTP/1.1, without a task of its own.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rappel_core::runtime::BoxFuture;
use smol_hyper::rt::FuturesIo;

use crate::body::Body;
use crate::clock::Clock;
use crate::connector::Connector;
use crate::error::OpenAiError;
use crate::hyper_client::{builder, no_response};
use crate::limits::Phase;
use crate::pool::{Link, Pool, Received};
use crate::transport::{BodyStream, Transport};

/// hyper over sockets of `async-net`.
///
/// A request owns its connection and polls it. The body of the response takes the connection over.
pub(crate) struct Http1 {
    connector: Connector,
    pool: Arc<Pool>,
    clock: Clock,
    header_limit: usize,
}

/// The reason of a failure, and the request if it was certainly not sent.
type Unsent = (Option<Request<Full<Bytes>>>, OpenAiError);

impl Http1 {
    pub(crate) fn new(
        connector: Connector,
        pool_size: usize,
        clock: Clock,
        header_limit: usize,
    ) -> Self {
        Self { connector, pool: Arc::new(Pool::new(pool_size, clock.clone())), clock, header_limit }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<BodyStream>, OpenAiError> {
        let mut request = self.on_the_wire(request)?;
        while let Some(link) = self.pool.take() {
            let (again, received) = (request.clone(), link.received.clone());
            received.forget();
            match self.send_over(link, request).await {
                Ok(response) => return Ok(response),
                // The server closed the connection between two requests, as it may.
                Err((Some(unsent), _)) => request = unsent,
                // It closed the connection as the request went out, and has not answered.
                Err((None, OpenAiError::ClosedBeforeResponse { .. })) if !received.anything() => {
                    request = again;
                    break;
                }
                Err((None, error)) => return Err(error),
            }
        }
        let link = self.clock.within(Phase::Connect, None, self.connect()).await?;
        self.send_over(link, request).await.map_err(|(_, error)| error)
    }

    async fn connect(&self) -> Result<Link, OpenAiError> {
        let socket = self.connector.connect(&self.clock).await?;
        let received = Received::default();
        let (sender, connection) = builder(self.header_limit)
            .handshake(FuturesIo::new(received.watch(socket)))
            .await
            .map_err(|error| no_response(error, self.header_limit))?;
        Ok(Link { sender, connection, received })
    }

    /// The request as it is written: to a proxy with the whole URI, otherwise with the path only.
    fn on_the_wire(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, OpenAiError> {
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
    async fn send_over(
        &self,
        link: Link,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<BodyStream>, Unsent> {
        let Link { mut sender, connection, received } = link;
        let response = sender.try_send_request(request);
        let mut connection = Some(connection);
        match drive(&mut connection, response).await {
            Ok(response) => Ok(response.map(|incoming| {
                let link = connection.map(|connection| Link { sender, connection, received });
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
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<BodyStream>, OpenAiError>> {
        Box::pin(self.exchange(request))
    }
}

/// Polls the connection until the response has arrived.
///
/// A short response may end the connection at the same time. Then `connection` becomes `None`.
async fn drive<C, E>(
    connection: &mut Option<C>,
    response: impl Future<Output = Result<Response<Incoming>, E>>,
) -> Result<Response<Incoming>, E>
where
    C: Future + Unpin,
{
    let mut response = pin!(response);
    poll_fn(|cx| {
        if let Some(running) = connection {
            // The connection passes its error to the future of the response.
            if Pin::new(running).poll(cx).is_ready() {
                *connection = None;
            }
        }
        response.as_mut().poll(cx)
    })
    .await
}
