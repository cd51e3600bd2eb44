//! The settings of the connection to a server, and the client that they make.

use std::sync::Arc;

use rappel_core::Timer;

use crate::client::Client;
use crate::clock::Clock;
use crate::connector::Connector;
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::headers::Headers;
use crate::http1::Http1;
use crate::limits::{Limits, Times};
use crate::proxy::ProxyChoice;
use crate::response::Leftovers;
use crate::retry::Retries;
use crate::secret::{KeyHeader, Secret};
use crate::tls::{Roots, Store};
use crate::transport::Transport;

/// The settings of the connection to the server.
#[derive(Default)]
pub(crate) struct ConnectionSettings {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) roots: Roots,
    pub(crate) proxy: ProxyChoice,
    pub(crate) pool_size: Option<usize>,
    pub(crate) timer: Option<Arc<dyn Timer>>,
    pub(crate) times: Times,
    pub(crate) limits: Limits,
    pub(crate) retries: Retries,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) key_header: KeyHeader,
    pub(crate) headers: Headers,
    /// Parameters for the query of each request.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) provider: Option<String>,
}

impl ConnectionSettings {
    /// Enough for a program with a few concurrent requests.
    const POOL_SIZE: usize = 8;

    pub(crate) fn client(
        self,
        mut endpoint: Endpoint,
        key: Option<Secret>,
    ) -> Result<Client, OpenAiError> {
        for (name, value) in &self.query {
            endpoint.set_query(name, value);
        }
        let clock = Clock::new(self.timer, self.times);
        let header_limit = self.limits.header;
        let mut roots = Store::of(self.roots)?;
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
        let secrets = key.iter().cloned().chain(self.headers.secrets()).chain(endpoint.secrets());
        let secrets = secrets.collect();
        let provider = match self.provider {
            Some(name) => name.into(),
            None => provider(endpoint.host()).into(),
        };
        Ok(Client {
            transport,
            endpoint,
            secrets,
            key,
            key_header: self.key_header,
            headers: self.headers,
            provider,
            limits: self.limits,
            clock,
            retries: self.retries,
            leftovers: Arc::new(Leftovers::default()),
        })
    }
}

/// The name of the provider at a host, as OpenTelemetry writes it. A server that is not known is
/// named after what it is compatible with.
pub(crate) fn provider(host: &str) -> &'static str {
    const HOSTS: [(&str, &str); 11] = [
        ("openai.azure.com", "azure.ai.openai"),
        ("services.ai.azure.com", "azure.ai.inference"),
        ("anthropic.com", "anthropic"),
        ("deepseek.com", "deepseek"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("perplexity.ai", "perplexity"),
        ("x.ai", "x_ai"),
        ("googleapis.com", "gcp.gemini"),
        ("cohere.com", "cohere"),
        ("openrouter.ai", "openrouter"),
    ];
    let is_at = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    HOSTS.iter().find(|(domain, _)| is_at(domain)).map_or("openai", |(_, name)| name)
}
