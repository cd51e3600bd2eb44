//! The API key, and how it is kept out of everything that people read.

use core::fmt;
use std::{borrow::Cow, sync::Arc};

use http::HeaderValue;

use crate::error::OpenAiError;

/// What stands in the place of a key in a text that held it.
const REDACTED: &str = "[redacted]";

/// Shorter keys are the dummies that local servers want ("x", "no"): nothing
/// worth hiding, but common enough in text to garble every message.
const SHORTEST_SECRET: usize = 4;

/// An API key that is known to fit into a header.
#[derive(Clone)]
pub(crate) struct Secret {
    key: Arc<str>,
    bearer: HeaderValue,
}

impl Secret {
    pub(crate) fn new(key: &str) -> Result<Self, OpenAiError> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OpenAiError::InvalidApiKey);
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| OpenAiError::InvalidApiKey)?;
        bearer.set_sensitive(true);
        Ok(Self { key: key.into(), bearer })
    }

    /// The value of the `authorization` header, marked as sensitive.
    pub(crate) fn bearer(&self) -> HeaderValue {
        self.bearer.clone()
    }

    /// The text, without the key.
    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.key.len() >= SHORTEST_SECRET && text.contains(&*self.key) {
            text.replace(&*self.key, REDACTED).into()
        } else {
            text.into()
        }
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
    fn a_dummy_key_garbles_no_message() {
        let secret = Secret::new("x").unwrap();
        assert_eq!(secret.redact("no model mixtral-8x7b"), "no model mixtral-8x7b");
    }

    #[test]
    fn what_no_key_holds_is_refused() {
        for key in ["", " ", "sk-secret\n", "sk-secret ", "sk-sécret", "sk-\0"] {
            let error = Secret::new(key).unwrap_err();
            assert!(matches!(error, OpenAiError::InvalidApiKey), "{key:?}");
        }
    }
}
