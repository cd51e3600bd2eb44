//! The API key, which must not appear in any output.

use core::fmt;
use std::{borrow::Cow, sync::Arc};

use http::HeaderValue;
use memchr::memmem::Finder;

use crate::error::OpenAiError;

/// The replacement of a key in a text.
const REDACTED: &str = "[redacted]";

/// Shorter keys are dummies for local servers ("x", "no"). They are not secret, and they are common
/// in texts, which would be garbled.
const SHORTEST_SECRET: usize = 4;

/// Answers are only searched for keys of at least this length. Dummies are words ("ollama",
/// "lm-studio") that may be part of an answer.
const SHORTEST_IN_ANSWERS: usize = 16;

/// The header that the key is sent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// `authorization: Bearer …`
    #[default]
    Bearer,
    /// `api-key: …`, as Azure wants it.
    ApiKey,
}

/// An API key that is a valid header value.
#[derive(Clone)]
pub(crate) struct Secret {
    key: Arc<str>,
    bearer: HeaderValue,
    plain: HeaderValue,
    finder: Finder<'static>,
}

impl Secret {
    pub(crate) fn new(key: &str) -> Result<Self, OpenAiError> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OpenAiError::InvalidApiKey);
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| OpenAiError::InvalidApiKey)?;
        bearer.set_sensitive(true);
        let mut plain = HeaderValue::from_str(key).map_err(|_| OpenAiError::InvalidApiKey)?;
        plain.set_sensitive(true);
        Ok(Self { key: key.into(), bearer, plain, finder: Finder::new(key).into_owned() })
    }

    /// A text that must not appear in any output, and is not sent as a key.
    pub(crate) fn of_text(text: &str) -> Self {
        let (bearer, plain) = (HeaderValue::from_static(""), HeaderValue::from_static(""));
        Self { key: text.into(), bearer, plain, finder: Finder::new(text).into_owned() }
    }

    /// The value of a header that has nothing but the key, marked as sensitive.
    pub(crate) fn plain(&self) -> HeaderValue {
        self.plain.clone()
    }

    /// The value of the `authorization` header, marked as sensitive.
    pub(crate) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The text, without the key.
    fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.key.len() >= SHORTEST_SECRET && text.contains(&*self.key) {
            text.replace(&*self.key, REDACTED).into()
        } else {
            text.into()
        }
    }

    /// The JSON of an answer, without the key.
    fn redact_answer<'t>(&self, json: &'t [u8]) -> Cow<'t, [u8]> {
        if self.key.len() < SHORTEST_IN_ANSWERS || self.finder.find(json).is_none() {
            return json.into();
        }
        let text = String::from_utf8_lossy(json);
        text.replace(&*self.key, REDACTED).into_bytes().into()
    }
}

/// All secrets of a client: its key, and the values of its own headers and query parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// The text, without the secrets.
    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(text.into(), |text, secret| match text {
            Cow::Borrowed(text) => secret.redact(text),
            Cow::Owned(text) => secret.redact(&text).into_owned().into(),
        })
    }

    /// The JSON of an answer, without the secrets. Some gateways repeat the request in the answer,
    /// including the headers.
    pub(crate) fn redact_answer<'t>(&self, json: &'t [u8]) -> Cow<'t, [u8]> {
        self.0.iter().fold(json.into(), |json, secret| match json {
            Cow::Borrowed(json) => secret.redact_answer(json),
            Cow::Owned(json) => secret.redact_answer(&json).into_owned().into(),
        })
    }
}

impl FromIterator<Secret> for Secrets {
    fn from_iter<I: IntoIterator<Item = Secret>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl Secrets {
    /// The same and others.
    pub(crate) fn with(&self, others: impl Iterator<Item = Secret>) -> Self {
        self.0.iter().cloned().chain(others).collect()
    }
}

#[cfg(test)]
impl From<Secret> for Secrets {
    fn from(secret: Secret) -> Self {
        Self(Arc::from([secret]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let secret = Secret::new("sk-very-secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(!format!("{:?}", secret.bearer()).contains("sk-very-secret"));
        assert_eq!(
            secret.redact("key sk-very-secret, yes sk-very-secret"),
            "key [redacted], yes [redacted]"
        );
    }

    #[test]
    fn a_dummy_key_is_not_replaced() {
        let secret = Secret::new("x").unwrap();
        assert_eq!(secret.redact("no model mixtral-8x7b"), "no model mixtral-8x7b");
    }

    #[test]
    fn an_answer_is_searched_for_long_keys_only() {
        let answer = br#"{"model":"ollama","debug":"Bearer sk-very-secret-key"}"#;
        let secret = Secret::new("sk-very-secret-key").unwrap();
        let redacted = secret.redact_answer(answer);
        assert_eq!(&*redacted, br#"{"model":"ollama","debug":"Bearer [redacted]"}"#);
        assert!(matches!(Secret::new("ollama").unwrap().redact_answer(answer), Cow::Borrowed(_)));
    }

    #[test]
    fn an_invalid_key_is_refused() {
        for key in ["", " ", "sk-secret\n", "sk-secret ", "sk-sécret", "sk-\0"] {
            let error = Secret::new(key).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidApiKey), "{key:?}");
        }
    }
}
