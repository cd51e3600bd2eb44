//! The way to one server: TCP, a proxy if there is one, and TLS.

use futures_rustls::TlsConnector;

use crate::clock::Clock;
use crate::coop::Coop;
use crate::endpoint::{Endpoint, Scheme};
use crate::error::OpenAiError;
use crate::proxy::{self, Proxy};
use crate::read_after_write_error::ReadAfterWriteError;
use crate::socket::{Socket, connect_tcp};
use crate::tls::Store;

/// Opens sockets to one endpoint.
#[derive(Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    /// `None` if nothing is encrypted.
    tls: Option<TlsConnector>,
    proxy: Option<Proxy>,
    header_limit: usize,
}

impl Connector {
    pub(crate) fn new(
        endpoint: Endpoint,
        proxy: Option<Proxy>,
        roots: Store,
        header_limit: usize,
    ) -> Result<Self, OpenAiError> {
        let proxy_is_https = proxy.as_ref().is_some_and(|proxy| proxy.endpoint().is_https());
        let encrypted = endpoint.is_https() || proxy_is_https;
        let tls = encrypted.then(|| roots.connector()).transpose()?;
        Ok(Self { endpoint, tls, proxy, header_limit })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The proxy that forwards whole requests. A proxy for an `https` server only forwards bytes.
    pub(crate) fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.endpoint.is_https())
    }

    pub(crate) async fn connect(&self, clock: &Clock) -> Result<Socket, OpenAiError> {
        let Some(proxy) = &self.proxy else {
            return self.open(&self.endpoint, clock).await;
        };
        let socket = self.open(proxy.endpoint(), clock).await?;
        if !self.endpoint.is_https() {
            return Ok(socket);
        }
        let socket = proxy::tunnel(socket, proxy, &self.endpoint, self.header_limit).await?;
        self.encrypt(socket, &self.endpoint).await
    }

    async fn open(&self, to: &Endpoint, clock: &Clock) -> Result<Socket, OpenAiError> {
        let stream = connect_tcp(to.host(), to.port(), clock).await?;
        let socket = Coop::new(ReadAfterWriteError::new(stream));
        self.encrypt(Box::new(socket), to).await
    }

    async fn encrypt(&self, socket: Socket, to: &Endpoint) -> Result<Socket, OpenAiError> {
        let (Some(tls), Scheme::Https(name)) = (&self.tls, to.scheme()) else {
            return Ok(socket);
        };
        let stream = tls.connect(name.clone(), socket).await.map_err(|source| {
            OpenAiError::Tls { host: to.host().to_owned(), source: source.into() }
        })?;
        Ok(Box::new(stream))
    }
}
