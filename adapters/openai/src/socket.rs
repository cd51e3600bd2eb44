//! Sockets: TCP connections, encrypted or not.

use core::pin::pin;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use async_net::TcpStream;
use futures_util::future::{Either, select};
use futures_util::io::{AsyncRead, AsyncWrite};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::clock::Clock;
use crate::error::OpenAiError;

/// A connected socket. It is plain, encrypted, or encrypted twice through a proxy. Dropping it
/// closes it.
pub(crate) type Socket = Box<dyn Duplex>;

/// Bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Resolves `host` and connects to one of its addresses.
pub(crate) async fn connect_tcp(
    host: &str,
    port: u16,
    clock: &Clock,
) -> Result<TcpStream, OpenAiError> {
    let addresses = async_net::resolve((host, port))
        .await
        .map_err(|source| OpenAiError::Resolve { host: host.to_owned(), source })?;
    let refused = |source| OpenAiError::Connect { host: host.to_owned(), port, source };
    let stream = race(&addresses, clock).await.map_err(refused)?;
    // A request is one small write that should leave at once.
    stream.set_nodelay(true).map_err(refused)?;
    Ok(stream)
}

/// Connects to the first address that accepts the connection.
///
/// The addresses are tried in the resolver's order, and the attempts overlap (RFC 8305). Otherwise
/// a network that drops IPv6 packets would use up the whole limit before IPv4 is tried.
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
