//! The server's address: a parsed base URL.

use core::fmt;

use futures_rustls::pki_types::ServerName;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery},
};

use crate::error::OpenAiError;

/// A server's base URL, such as `https://api.openai.com/v1`.
#[derive(Clone)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    host_header: HeaderValue,
    /// The path, without the slash at its end.
    prefix: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Scheme {
    Http,
    /// With the name that the server's certificate must have.
    Https(ServerName<'static>),
}

impl Scheme {
    fn default_port(&self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https(_) => 443,
        }
    }
}

impl Endpoint {
    pub(crate) fn parse(base_url: &str) -> Result<Self, OpenAiError> {
        // `Uri` drops a fragment silently.
        if base_url.contains('#') {
            return Err(invalid("it has a fragment"));
        }
        if !base_url.contains("://") {
            return Err(invalid("it does not start with http:// or https://"));
        }
        let uri: Uri = base_url.parse().map_err(|_| invalid("not a URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it holds a user name or a password"));
        }
        if uri.query().is_some() {
            return Err(invalid("it has a query"));
        }

        let host = strip_brackets(authority.host());
        let scheme = scheme(&uri, host)?;
        let port = port(authority.as_str(), authority.host())?;
        let host_header = match port {
            Some(port) if port != scheme.default_port() => authority_header(authority.host(), port),
            _ => HeaderValue::from_str(authority.host()),
        }
        .map_err(|_| invalid("its host can't be sent in an HTTP header"))?;

        Ok(Self {
            port: port.unwrap_or(scheme.default_port()),
            host: host.to_owned(),
            host_header,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            scheme,
        })
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The name or the address. An IPv6 address has no brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_https(&self) -> bool {
        matches!(self.scheme, Scheme::Https(_))
    }

    /// Host and port, for a proxy's `CONNECT`.
    pub(crate) fn authority(&self) -> Result<Authority, OpenAiError> {
        let host = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        host.parse().map_err(|_| invalid("its host can't be sent to a proxy"))
    }

    /// The absolute URI of a path below the base URL.
    pub(crate) fn uri(&self, path: &'static str) -> Result<Uri, OpenAiError> {
        let authority = self.host_header.to_str().map_err(|_| invalid("its host is not ASCII"))?;
        Uri::builder()
            .scheme(if self.is_https() { "https" } else { "http" })
            .authority(authority)
            .path_and_query(self.target(path)?)
            .build()
            .map_err(|_| invalid("its path can't be extended"))
    }

    /// The value of the `host` header. It has the port if that is not the scheme's default.
    pub(crate) fn host_header(&self) -> HeaderValue {
        self.host_header.clone()
    }

    /// The request target of a path below the base URL.
    fn target(&self, path: &'static str) -> Result<PathAndQuery, OpenAiError> {
        format!("{}/{path}", self.prefix).parse().map_err(|_| invalid("its path can't be extended"))
    }
}

/// By hand: some gateways have keys in their paths.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn invalid(reason: &'static str) -> OpenAiError {
    OpenAiError::InvalidBaseUrl { reason }
}

fn scheme(uri: &Uri, host: &str) -> Result<Scheme, OpenAiError> {
    match uri.scheme_str() {
        Some("http") => Ok(Scheme::Http),
        Some("https") => ServerName::try_from(host.to_owned())
            .map(Scheme::Https)
            .map_err(|_| invalid("its host is neither a DNS name nor an IP address")),
        Some(other) => Err(OpenAiError::UnsupportedScheme { scheme: other.to_owned() }),
        None => Err(invalid("it does not start with http:// or https://")),
    }
}

/// `Uri` treats an invalid port as no port, and the client would connect to the default one.
fn port(authority: &str, host: &str) -> Result<Option<u16>, OpenAiError> {
    match authority[host.len()..].strip_prefix(':') {
        None => Ok(None),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => Err(invalid("its port is not a number from 1 to 65535")),
            Ok(port) => Ok(Some(port)),
        },
    }
}

fn authority_header(
    host: &str,
    port: u16,
) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&format!("{host}:{port}"))
}

fn strip_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn target(base_url: &str) -> String {
        let endpoint = Endpoint::parse(base_url).unwrap();
        endpoint.target("chat/completions").unwrap().to_string()
    }

    #[test]
    fn ports_have_the_schemes_default() {
        for (base_url, port, header) in [
            ("http://localhost/v1", 80, "localhost"),
            ("https://api.openai.com/v1", 443, "api.openai.com"),
            ("https://api.openai.com:443/v1", 443, "api.openai.com"),
            ("https://api.openai.com:80/v1", 80, "api.openai.com:80"),
            ("http://127.0.0.1:1234/v1", 1234, "127.0.0.1:1234"),
            ("HTTP://127.0.0.1:1234", 1234, "127.0.0.1:1234"),
        ] {
            let endpoint = Endpoint::parse(base_url).unwrap();
            assert_eq!(endpoint.port(), port, "{base_url}");
            assert_eq!(endpoint.host_header(), header, "{base_url}");
        }
    }

    #[test]
    fn ipv6_hosts_have_brackets_in_headers_and_none_for_sockets() {
        for base_url in ["http://[::1]:8080/v1", "https://[::1]:8080/v1"] {
            let endpoint = Endpoint::parse(base_url).unwrap();
            assert_eq!(endpoint.host(), "::1");
            assert_eq!(endpoint.host_header(), "[::1]:8080");
        }
        let endpoint = Endpoint::parse("http://[::1]/v1").unwrap();
        assert_eq!(endpoint.port(), 80);
    }

    #[test]
    fn paths_are_kept_and_slashes_are_not_doubled() {
        for (base_url, expected) in [
            ("http://h", "/chat/completions"),
            ("http://h/", "/chat/completions"),
            ("http://h/v1", "/v1/chat/completions"),
            ("http://h/v1/", "/v1/chat/completions"),
            ("http://h/a/b%20c//", "/a/b%20c/chat/completions"),
        ] {
            assert_eq!(target(base_url), expected, "{base_url}");
        }
    }

    #[test]
    fn https_has_the_name_to_verify() {
        let endpoint = Endpoint::parse("https://api.openai.com/v1").unwrap();
        let Scheme::Https(name) = endpoint.scheme() else {
            panic!("{endpoint:?}");
        };
        assert_eq!(name.to_str(), "api.openai.com");
    }

    #[test]
    fn an_invalid_base_url_is_refused_and_not_repeated() {
        for base_url in [
            "",
            "localhost:1234/v1",
            "/v1",
            "http://",
            "http:///v1",
            "http://user:sk-secret@host/v1",
            "http://sk-secret@host/v1",
            "http://host/v1?key=sk-secret",
            "http://host/v1#sk-secret",
            "http://host:/v1",
            "http://host:0/v1",
            "http://host:99999/v1",
            "http://host:80:80/v1",
            "http://ho st/v1",
            "http://[::1/v1",
            "https://a_b..c/v1",
        ] {
            let error = Endpoint::parse(base_url).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidBaseUrl { .. }), "{base_url}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("secret"));
        }
    }

    #[test]
    fn an_unsupported_scheme_is_named_in_the_error() {
        let error = Endpoint::parse("ftp://host/v1").unwrap_err();
        assert!(matches!(error, OpenAiError::UnsupportedScheme { scheme } if scheme == "ftp"));
    }
}
