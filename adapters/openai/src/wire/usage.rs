//! The tokens used, under the names of several servers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::lenient;

/// The number of tokens used. Any number may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(deserialize_with = "lenient::number")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) total_tokens: Option<u64>,
    /// The names of OpenAI's newer API, and of Anthropic.
    #[serde(deserialize_with = "lenient::number")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    output_tokens: Option<u64>,
    /// The details of both, and counts of the server's own.
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Usage {
    /// Reads an object. `None` if it has no number.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let usage: Option<Self> = lenient::object(value).ok()?;
        usage.filter(Self::counts)
    }

    /// Returns `true` if it has any number.
    pub(crate) fn counts(&self) -> bool {
        self.numbers().any(|number| number.is_some())
    }

    /// Returns `true` if all its numbers are zero: a placeholder.
    pub(crate) fn is_zero(&self) -> bool {
        self.numbers().flatten().all(|number| number == 0)
    }

    fn numbers(&self) -> impl Iterator<Item = Option<u64>> {
        [self.prompt(), self.completion(), self.total_tokens].into_iter()
    }

    /// The number of tokens of the prompt.
    pub(crate) fn prompt(&self) -> Option<u64> {
        either(self.prompt_tokens, self.input_tokens)
    }

    /// The number of tokens of the answer.
    pub(crate) fn completion(&self) -> Option<u64> {
        either(self.completion_tokens, self.output_tokens)
    }

    /// The number of prompt tokens from the server's cache.
    pub(crate) fn cached_tokens(&self) -> Option<u64> {
        self.first(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cache_read_input_tokens",
        ])
    }

    /// The number of prompt tokens that were written to the server's cache.
    pub(crate) fn cache_write_tokens(&self) -> Option<u64> {
        self.first(&[
            "/prompt_tokens_details/cache_write_tokens",
            "/prompt_tokens_details/cache_creation_tokens",
            "/input_tokens_details/cache_write_tokens",
            "/cache_write_tokens",
            "/cache_creation_input_tokens",
        ])
    }

    /// The number of completion tokens that are reasoning.
    pub(crate) fn reasoning_tokens(&self) -> Option<u64> {
        self.first(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ])
    }

    /// The first of the numbers that is there. One that is zero counts only if no other is there.
    fn first(&self, pointers: &[&str]) -> Option<u64> {
        let found = pointers.iter().filter_map(|pointer| self.at(pointer));
        found.reduce(|first, next| if first == 0 { next } else { first })
    }

    fn at(&self, pointer: &str) -> Option<u64> {
        let (head, tail) = pointer[1..].split_once('/').unwrap_or((&pointer[1..], ""));
        let value = self.rest.get(head)?;
        let value = if tail.is_empty() { value } else { value.get(tail)? };
        lenient::number(value).ok()?
    }
}

/// Some servers send both names, and zero under one of them.
fn either(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.filter(|number| *number > 0).or(other).or(one)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn usage(json: Value) -> Usage {
        Usage::from_value(&json).unwrap()
    }

    #[test]
    fn each_number_has_several_names() {
        let anthropic = usage(json!({
            "input_tokens": 7, "output_tokens": "2", "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1,
        }));
        assert_eq!((anthropic.prompt(), anthropic.completion()), (Some(7), Some(2)));
        assert_eq!((anthropic.cached_tokens(), anthropic.cache_write_tokens()), (Some(5), Some(1)));
        let deepseek = usage(json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}));
        assert_eq!(deepseek.cached_tokens(), Some(4));
        let both = usage(
            json!({"prompt_tokens": 0, "input_tokens": 7, "completion_tokens": 2, "output_tokens": 0}),
        );
        assert_eq!((both.prompt(), both.completion()), (Some(7), Some(2)));
    }

    #[test]
    fn zeros_are_a_placeholder_and_nothing_is_no_usage() {
        assert!(usage(json!({"prompt_tokens": 0, "total_tokens": 0})).is_zero());
        assert!(!usage(json!({"prompt_tokens": 0, "total_tokens": 3})).is_zero());
        for none in [json!({}), json!(7), json!({"prompt_tokens": null}), json!({"cost": 1})] {
            assert_eq!(Usage::from_value(&none), None);
        }
    }
}
