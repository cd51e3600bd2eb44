//! Reaching the server: DNS, TCP and TLS.

use async_net::TcpStream;
use futures_rustls::{TlsConnector, client::TlsStream};
use futures_util::future::Either;

use crate::{
    endpoint::{Endpoint, Scheme},
    error::OpenAiError,
    tls::Roots,
};

/// A connected socket, plain or encrypted. Dropping it closes it.
pub(crate) type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Opens sockets to one endpoint.
#[derive(Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    /// `None` for `http`.
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(endpoint: Endpoint, roots: Roots) -> Result<Self, OpenAiError> {
        let tls = match endpoint.scheme() {
            Scheme::Http => None,
            Scheme::Https(_) => Some(roots.connector()?),
        };
        Ok(Self { endpoint, tls })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) async fn connect(&self) -> Result<Socket, OpenAiError> {
        let stream = connect_tcp(self.endpoint.host(), self.endpoint.port()).await?;
        let (Some(tls), Scheme::Https(name)) = (&self.tls, self.endpoint.scheme()) else {
            return Ok(Either::Left(stream));
        };
        let stream = tls.connect(name.clone(), stream).await.map_err(|source| OpenAiError::Tls {
            host: self.endpoint.host().to_owned(),
            source: source.into(),
        })?;
        Ok(Either::Right(Box::new(stream)))
    }
}

async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, OpenAiError> {
    let addresses = async_net::resolve((host, port)).await.map_err(|source| OpenAiError::Resolve {
        host: host.to_owned(),
        source,
    })?;
    let refused = |source| OpenAiError::Connect {
        host: host.to_owned(),
        port,
        source,
    };
    // Tries one address after the other.
    let stream = TcpStream::connect(&addresses[..]).await.map_err(refused)?;
    // A request is one small write that should leave at once.
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}
