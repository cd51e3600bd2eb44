//! How likely a model found its tokens.

use alloc::string::String;
use alloc::vec::Vec;

/// A token as the model counts them, and how likely it was.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability: 0 is certain. Providers write a large negative number for what is hardly possible.
    pub logprob: f64,
    /// The token's UTF-8 bytes, if the provider tells: a character may be spread over several tokens, whose texts are no help then.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens in this place, where they were asked for.
    pub top_logprobs: Vec<TopLogprob>,
}

impl TokenLogprob {
    /// A token, and the natural logarithm of its probability.
    pub fn new(token: impl Into<String>, logprob: f64) -> Self {
        Self {
            token: token.into(),
            logprob,
            ..Self::default()
        }
    }

    /// Sets the token's bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.bytes = Some(bytes.into());
        self
    }

    /// Adds likely tokens in this place.
    #[must_use]
    pub fn with_top_logprobs(mut self, tokens: impl IntoIterator<Item = TopLogprob>) -> Self {
        self.top_logprobs.extend(tokens);
        self
    }
}

/// A token that would have been likely in the place of another.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f64,
    /// The token's UTF-8 bytes, if the provider tells.
    pub bytes: Option<Vec<u8>>,
}

impl TopLogprob {
    /// A token, and the natural logarithm of its probability.
    pub fn new(token: impl Into<String>, logprob: f64) -> Self {
        Self {
            token: token.into(),
            logprob,
            bytes: None,
        }
    }

    /// Sets the token's bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.bytes = Some(bytes.into());
        self
    }
}
