//! Reaching the server: DNS, TCP, proxies and TLS.

use core::pin::pin;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use async_net::TcpStream;
use futures_rustls::TlsConnector;
use futures_util::future::{Either, select};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::{
    budget::Fair,
    clock::Clock,
    endpoint::{Endpoint, Scheme},
    error::OpenAiError,
    last_words::LastWords,
    proxy::{self, Proxy},
    tls::Roots,
};

/// A connected socket: plain, encrypted, or through a proxy and encrypted twice. Dropping it closes it.
pub(crate) type Socket = Box<dyn Duplex>;

/// What bytes go in and out of.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Opens sockets to one endpoint.
#[derive(Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    /// `None` where nothing is encrypted.
    tls: Option<TlsConnector>,
    proxy: Option<Proxy>,
    header_limit: usize,
}

impl Connector {
    pub(crate) fn new(endpoint: Endpoint, proxy: Option<Proxy>, roots: Roots, header_limit: usize) -> Result<Self, OpenAiError> {
        let encrypted = endpoint.is_https() || proxy.as_ref().is_some_and(|proxy| proxy.endpoint().is_https());
        let tls = encrypted.then(|| roots.connector()).transpose()?;
        Ok(Self {
            endpoint,
            tls,
            proxy,
            header_limit,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The proxy that is given the whole request; one for `https` is given only the server's name.
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
        self.encrypt(Box::new(Fair::new(LastWords::new(stream))), to).await
    }

    async fn encrypt(&self, socket: Socket, to: &Endpoint) -> Result<Socket, OpenAiError> {
        let (Some(tls), Scheme::Https(name)) = (&self.tls, to.scheme()) else {
            return Ok(socket);
        };
        let stream = tls.connect(name.clone(), socket).await.map_err(|source| OpenAiError::Tls {
            host: to.host().to_owned(),
            source: source.into(),
        })?;
        Ok(Box::new(stream))
    }
}

async fn connect_tcp(host: &str, port: u16, clock: &Clock) -> Result<TcpStream, OpenAiError> {
    let addresses = async_net::resolve((host, port)).await.map_err(|source| OpenAiError::Resolve {
        host: host.to_owned(),
        source,
    })?;
    let refused = |source| OpenAiError::Connect {
        host: host.to_owned(),
        port,
        source,
    };
    let stream = race(&addresses, clock).await.map_err(refused)?;
    // A request is one small write that should leave at once.
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}

/// Connects to the first address that takes the connection.
///
/// The addresses are tried in the resolver's order, and each has a head start only: else a network that swallows IPv6 would cost the whole
/// limit before IPv4 is tried (RFC 8305).
async fn race(addresses: &[SocketAddr], clock: &Clock) -> io::Result<TcpStream> {
    const HEAD_START: Duration = Duration::from_millis(250);
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (place, address) in addresses.iter().enumerate() {
        attempts.push(TcpStream::connect(*address));
        if place + 1 == addresses.len() {
            break;
        }
        match select(pin!(attempts.next()), clock.sleep(HEAD_START)).await {
            Either::Left((Some(Ok(stream)), _)) => return Ok(stream),
            Either::Left((Some(Err(error)), _)) => failure = error,
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
