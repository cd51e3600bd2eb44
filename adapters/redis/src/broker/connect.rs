//! The address of a Redis server, and how to connect to it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Connection, ErrorKind, IntoConnectionInfo, RedisError};

use crate::error::Error;

/// The address of a Redis server, with the settings of the connection.
///
/// A `&str` or a `String` with an address converts into it. `Debug` does not show the address, because it
/// may contain a password.
///
/// ```
/// use std::time::Duration;
/// use rappel_redis::Connect;
///
/// let redis = Connect::to("redis://billing:secret@localhost:6379/").timeout(Duration::from_secs(5));
/// assert!(!format!("{redis:?}").contains("secret"));
/// ```
#[derive(Clone)]
pub struct Connect {
    url: Arc<str>,
    timeout: Duration,
    #[cfg(feature = "tls")]
    root_certificate: Option<Vec<u8>>,
}

impl Connect {
    /// Takes an address: `redis://[[user]:password@]host[:port][/database]`. With the feature `tls` it
    /// may begin with `rediss://`, for TLS. A wrong address is an error later, in
    /// [`build`](crate::PublisherBuilder::build) or [`run`](crate::RedisWorker::run).
    #[must_use]
    pub fn to(url: &str) -> Self {
        Self {
            url: url.into(),
            timeout: Duration::from_secs(2),
            #[cfg(feature = "tls")]
            root_certificate: None,
        }
    }

    /// Sets how long connecting, and each call, may take (minimum 1 ms). The default is 2 seconds. A
    /// worker uses at most a quarter of its lease.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Sets the certificate of the authority to trust, in PEM. It replaces the certificates of the system.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    pub(crate) fn at_most(mut self, timeout: Duration) -> Self {
        self.timeout = self.timeout.min(timeout);
        self
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.timeout
    }

    /// Checks the address.
    pub(crate) fn client(&self) -> Result<(Client, String), Error> {
        let info = (&*self.url).into_connection_info();
        // The message of the client could have the address in it, with a password.
        let info = info.map_err(|error| Error::Address(kind_of(&error)))?;
        let address = info.addr().to_string();
        #[cfg(feature = "tls")]
        let client = match matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. }) {
            true => {
                // The client takes the provider of the process. If the program has one, that stays.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let certificates = redis::TlsCertificates {
                    client_tls: None,
                    root_cert: self.root_certificate.clone(),
                };
                Client::build_with_tls(info, certificates)
            }
            false => Client::open(info),
        };
        #[cfg(not(feature = "tls"))]
        let client = Client::open(info);
        let client = client.map_err(|error| Error::Address(kind_of(&error)))?;
        Ok((client, address))
    }

    pub(crate) fn connect(&self, client: &Client, address: &str) -> Result<Connection, Error> {
        let connect = || {
            let connection = client.get_connection_with_timeout(self.timeout)?;
            connection.set_read_timeout(Some(self.timeout))?;
            connection.set_write_timeout(Some(self.timeout))?;
            Ok(connection)
        };
        connect().map_err(|error| error_of(error, address))
    }
}

impl From<&str> for Connect {
    fn from(url: &str) -> Self {
        Self::to(url)
    }
}

impl From<String> for Connect {
    fn from(url: String) -> Self {
        Self::to(&url)
    }
}

/// The address may have a password.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn kind_of(error: &RedisError) -> String {
    error.detail().map_or_else(|| error.category().to_owned(), str::to_owned)
}

/// What an error of the client means.
pub(crate) fn error_of(error: RedisError, address: &str) -> Error {
    // Of a transaction that was not done: what the first command was refused for.
    let refused = error.clone().into_server_errors();
    if let Some((_, refused)) = refused.as_ref().and_then(|errors| errors.first()) {
        let (code, details) = (refused.code(), refused.details().unwrap_or_default());
        return match code {
            "WRONGPASS" => Error::WrongPassword,
            "NOAUTH" => Error::PasswordNeeded,
            // If the first command is long.
            "ERR" if details.contains("unauthenticated") => Error::PasswordNeeded,
            "OOM" => Error::OutOfMemory,
            "NOPERM" => Error::NoPermission(details.to_owned()),
            // The same inside a script.
            _ if details.contains("user executing the script can't") => {
                Error::NoPermission(details.to_owned())
            }
            _ => Error::Refused(format!("{code} {details}")),
        };
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Error::WrongPassword,
        ErrorKind::Io => {
            let address = address.to_owned();
            if error.is_timeout() {
                // The system says "resource temporarily unavailable".
                let source = io::Error::new(io::ErrorKind::TimedOut, "it took too long");
                return Error::Unreachable { address, source: Arc::new(source) };
            }
            Error::Unreachable { address, source: Arc::new(error) }
        }
        _ => Error::Answer(error.to_string()),
    }
}
