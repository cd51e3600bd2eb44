//! The application's own headers and query parameters, and which of their values are secrets.

use core::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::OpenAiError;
use crate::secret::Secret;

/// A value that is at least this long, and of letters and digits, may be a secret, whatever its name
/// is.
const LONG: usize = 16;

/// Parts of the names of secrets.
const SECRET_NAMES: [&str; 9] =
    ["key", "token", "secret", "auth", "password", "cookie", "signature", "credential", "code"];

/// Names whose values are never secrets, and which servers name in their errors.
const PUBLIC_NAMES: [&str; 8] = [
    "accept",
    "api-version",
    "http-referer",
    "openai-organization",
    "openai-project",
    "referer",
    "user-agent",
    "x-title",
];

/// Headers that belong to the transport, or to the form of the request.
const RESERVED: [&str; 8] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// The application's own headers. A later one replaces an earlier one of the same name.
#[derive(Clone, Default)]
pub(crate) struct Headers(HeaderMap);

impl Headers {
    /// # Errors
    /// If the name or the value cannot be sent.
    pub(crate) fn insert(&mut self, name: &str, value: &str) -> Result<(), OpenAiError> {
        let invalid = |reason| OpenAiError::InvalidHeader { name: name.to_owned(), reason };
        let parsed: HeaderName = name.parse().map_err(|_| OpenAiError::InvalidHeader {
            // It may be a value in the wrong place.
            name: String::new(),
            reason: "has a name that is not valid",
        })?;
        if RESERVED.contains(&parsed.as_str()) {
            return Err(invalid("is set by the client itself"));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| invalid("has a value with a line break or another control character"))?;
        value.set_sensitive(true);
        self.0.insert(parsed, value);
        Ok(())
    }

    /// Adds them to a request. They replace the client's own.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The values that may be secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = Secret> {
        let values =
            self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        values.filter_map(|(name, value)| secret(name, value)).collect::<Vec<_>>().into_iter()
    }
}

/// By hand: the values may be secrets.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The secret in a header or a query parameter, if there may be one.
pub(crate) fn secret(name: &str, value: &str) -> Option<Secret> {
    let name = name.to_ascii_lowercase();
    if PUBLIC_NAMES.contains(&&*name) {
        return None;
    }
    // `Bearer …`, and other schemes.
    let value = match value.split_once(' ') {
        Some((_, rest)) if name.contains("auth") => rest,
        _ => value,
    };
    let by_name = SECRET_NAMES.iter().any(|part| name.contains(part));
    let has = |kind: fn(&u8) -> bool| value.as_bytes().iter().any(kind);
    let by_form = value.len() >= LONG
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && !has(u8::is_ascii_whitespace)
        && !value.contains("://");
    (by_name || by_form).then(|| Secret::of_text(value.trim()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn secrets_are_found_by_name_or_length() {
        for (name, value) in [
            ("api-key", "abcd"),
            ("x-gateway", "0123456789abcdef"),
            ("Authorization", "Basic abcd"),
        ] {
            assert!(secret(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("api-version", "2024-10-01-preview"),
            ("x-app", "My application, version 2"),
            ("x-app", "https://example.org/1"),
            ("OpenAI-Organization", "org-0123456789abcdef"),
        ] {
            assert!(secret(name, value).is_none(), "{name}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        let mut headers = Headers::default();
        for (name, value) in
            [("x y", "secret"), ("x-a", "secret\n"), ("Host", "secret"), ("", "secret")]
        {
            let error = headers.insert(name, value).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidHeader { .. }), "{error:?}");
            assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
        }
        headers.insert("X-Title", "secret").unwrap();
        assert_eq!(format!("{headers:?}"), "{\"x-title\"}");
    }
}
