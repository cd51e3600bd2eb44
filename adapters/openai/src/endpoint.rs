//! The server's address: a parsed base URL.

use core::fmt;

use futures_rustls::pki_types::ServerName;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery},
};

use crate::error::OpenAiError;
use crate::headers::secret;
use crate::secret::Secret;

/// A server's base URL, such as `https://api.openai.com/v1`.
#[derive(Clone)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    host_header: HeaderValue,
    /// The path, without the slash at its end.
    prefix: String,
    /// The query, without the question mark. It may contain a secret.
    query: Option<String>,
}

/// The paths of the requests below a base URL.
const PATHS: [&str; 2] = ["/chat/completions", "/responses"];

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
            prefix: prefix(uri.path()).to_owned(),
            query: uri.query().filter(|query| !query.is_empty()).map(str::to_owned),
            scheme,
        })
    }

    /// Adds a parameter to the query. It replaces one of the same name.
    pub(crate) fn set_query(&mut self, name: &str, value: &str) {
        let (name, value) = (encoded(name), encoded(value));
        let others = self.query.as_deref().unwrap_or_default().split('&');
        let others =
            others.filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(&name));
        let own = format!("{name}={value}");
        let pairs: Vec<&str> = others.chain([own.as_str()]).collect();
        self.query = Some(pairs.join("&"));
    }

    /// The values of the query that may be secrets, as they are sent and as they were given.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Secret> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&');
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let secrets = pairs.flat_map(|(name, value)| {
            let decoded = decoded(value);
            let other = (decoded != value).then(|| secret(name, &decoded)).flatten();
            secret(name, value).into_iter().chain(other)
        });
        secrets.collect::<Vec<_>>().into_iter()
    }

    /// The address of the requests to a path, for an error: without the query, and without what may
    /// be a key in the path.
    pub(crate) fn shown(&self, requests: &str) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        let host = String::from_utf8_lossy(self.host_header.as_bytes()).into_owned();
        let path = self.prefix.split('/').map(|part| if may_be_key(part) { "…" } else { part });
        format!("{scheme}://{host}{}/{requests}", path.collect::<Vec<_>>().join("/"))
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
        let query = self.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
        let target = format!("{}/{path}{query}", self.prefix);
        target.parse().map_err(|_| invalid("its path can't be extended"))
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

/// The path of the base URL. Some take the address of the requests for it.
fn prefix(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    PATHS.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path).trim_end_matches('/')
}

/// Returns `true` for a part of a path that looks like a key.
fn may_be_key(part: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
    part.starts_with("sk-")
        || (part.len() >= 20 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic))
}

/// Encodes all but letters, digits, and `-._~`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| core::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    fn a_base_url_may_have_a_query_or_the_whole_path() {
        for (base_url, expected) in [
            ("http://h/v1?a=b", "/v1/chat/completions?a=b"),
            ("http://h/v1/?a=b&c=d", "/v1/chat/completions?a=b&c=d"),
            ("http://h/v1/chat/completions", "/v1/chat/completions"),
            ("http://h/v1/chat/completions/?a=b", "/v1/chat/completions?a=b"),
            ("http://h/chat/completions", "/chat/completions"),
            ("http://h/v1?", "/v1/chat/completions"),
        ] {
            assert_eq!(target(base_url), expected, "{base_url}");
        }
        let mut endpoint = Endpoint::parse("http://h/v1?a=b&api-version=1").unwrap();
        endpoint.set_query("api-version", "2");
        endpoint.set_query("x y", "a/b&c");
        let sent = endpoint.target("chat/completions").unwrap().to_string();
        assert_eq!(sent, "/v1/chat/completions?a=b&api-version=2&x%20y=a%2Fb%26c");
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (base_url, expected) in [
            ("https://h:8080/v1?key=secret", "https://h:8080/v1/chat/completions"),
            ("http://h", "http://h/chat/completions"),
            ("http://h/sk-secret/v1", "http://h/…/v1/chat/completions"),
            ("http://h/0123456789abcdef0123/v1", "http://h/…/v1/chat/completions"),
        ] {
            assert_eq!(Endpoint::parse(base_url).unwrap().shown("chat/completions"), expected);
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
