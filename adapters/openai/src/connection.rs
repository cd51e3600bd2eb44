//! The settings of the connection to a server, and the client that they make.

use std::sync::Arc;

use rappel_core::Timer;

use crate::client::Client;
use crate::clock::Clock;
use crate::connector::Connector;
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::http1::Http1;
use crate::limits::{Limits, Times};
use crate::proxy::ProxyChoice;
use crate::response::Leftovers;
use crate::retry::Retries;
use crate::secret::Secret;
use crate::tls::Roots;
use crate::transport::Transport;

/// The settings of the connection to the server.
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
    /// Enough for a program with a few concurrent requests.
    const POOL_SIZE: usize = 8;

    pub(crate) fn client(
        self,
        endpoint: Endpoint,
        key: Option<Secret>,
    ) -> Result<Client, OpenAiError> {
        let clock = Clock::new(self.timer, self.times);
        let header_limit = self.limits.header;
        let mut roots = if self.no_default_roots { Roots::empty() } else { Roots::webpki() };
        for pem in &self.certificates {
            roots.add_pem(pem)?;
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let proxy = self.proxy.resolve(&endpoint)?;
                let connector = Connector::new(endpoint.clone(), proxy, roots, header_limit)?;
                let pool_size = self.pool_size.unwrap_or(Self::POOL_SIZE);
                Arc::new(Http1::new(connector, pool_size, clock.clone(), header_limit))
            }
        };
        Ok(Client {
            transport,
            endpoint,
            secrets: key.iter().cloned().collect(),
            key,
            limits: self.limits,
            clock,
            retries: self.retries,
            leftovers: Arc::new(Leftovers::default()),
        })
    }
}
