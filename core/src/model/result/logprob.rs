//! Probabilities of a model's tokens.

use alloc::string::String;
use alloc::vec::Vec;

use crate::util::setters;

/// A token of the model's own vocabulary, and its probability.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability: 0 is certain. Providers write a large negative
    /// number for a token that is almost impossible.
    ///
    /// JSON has no number that is not finite. Such a value is written as null, and null is read as
    /// negative infinity.
    #[cfg_attr(
        feature = "serde",
        serde(default = "impossible", deserialize_with = "number_or_null")
    )]
    pub logprob: f64,
    /// The token's UTF-8 bytes, if the provider sends them. If a character is spread over several
    /// tokens, only the bytes are complete.
    pub bytes: Option<Vec<u8>>,
    /// The most likely tokens at this position, if they were requested.
    pub top_logprobs: Vec<TopLogprob>,
}

impl TokenLogprob {
    /// Makes a token with the natural logarithm of its probability.
    pub fn new(token: impl Into<String>, logprob: f64) -> Self {
        Self { token: token.into(), logprob, ..Self::default() }
    }

    setters! {
        /// Sets the token's bytes.
        with_bytes(bytes: impl Into<Vec<u8>>) { self.bytes = Some(bytes.into()) }
        /// Adds likely tokens at this position.
        with_top_logprobs(tokens: impl IntoIterator<Item = TopLogprob>) {
            self.top_logprobs.extend(tokens)
        }
    }
}

/// A token that would have been likely at the position of another.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// The natural logarithm of its probability. Null is read as negative infinity.
    #[cfg_attr(
        feature = "serde",
        serde(default = "impossible", deserialize_with = "number_or_null")
    )]
    pub logprob: f64,
    /// The token's UTF-8 bytes, if the provider sends them.
    pub bytes: Option<Vec<u8>>,
}

impl TopLogprob {
    /// Makes a token with the natural logarithm of its probability.
    pub fn new(token: impl Into<String>, logprob: f64) -> Self {
        Self { token: token.into(), logprob, bytes: None }
    }

    setters! {
        /// Sets the token's bytes.
        with_bytes(bytes: impl Into<Vec<u8>>) { self.bytes = Some(bytes.into()) }
    }
}

/// The logarithm of no probability at all.
#[cfg(feature = "serde")]
fn impossible() -> f64 {
    f64::NEG_INFINITY
}

/// Null is what `serde_json` writes for a number that is not finite.
#[cfg(feature = "serde")]
fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = <Option<f64> as serde::Deserialize>::deserialize(deserializer)?;
    Ok(number.unwrap_or_else(impossible))
}
