//! What a server says beside its answer: in the headers of the response.

use core::time::Duration;
use std::collections::BTreeMap;

use http::HeaderMap;
use rappel_core::{Map, Value, json};

/// The headers of a response that name its request, in the order of preference.
const REQUEST_IDS: [&str; 5] =
    ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"];

const PROVIDERS: [&str; 3] = ["x-provider", "x-inference-provider", "x-openrouter-provider"];

const LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

/// The maximum number of rate limits that are kept, and of characters of each value.
const MOST_LIMITS: usize = 32;
const MOST_CHARS: usize = 256;

/// What a server says about a response, in its headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The address of the request, without its query, if the status is 404.
    pub url: Option<String>,
    /// The id of the request in the server's logs.
    pub request_id: Option<String>,
    /// How long the server worked on it.
    pub processing: Option<Duration>,
    /// The provider behind a gateway.
    pub provider: Option<String>,
    /// The rate limits, under the names of their headers without `x-ratelimit-`:
    /// `remaining-requests`, `reset-tokens`.
    pub rate_limits: BTreeMap<String, String>,
}

impl ServerInfo {
    /// Reads the headers. `redact` replaces secrets.
    pub(crate) fn of(headers: &HeaderMap, redact: impl Fn(&str) -> String) -> Self {
        let text = |value: &http::HeaderValue| {
            let value = value.to_str().ok()?.trim();
            let value: String = redact(value).chars().take(MOST_CHARS).collect();
            (!value.is_empty()).then_some(value)
        };
        let first = |names: &[&str]| names.iter().find_map(|name| text(headers.get(*name)?));
        let milliseconds = first(&["openai-processing-ms", "x-envoy-upstream-service-time"]);
        let seconds = milliseconds.and_then(|number| Some(number.parse::<f64>().ok()? / 1000.0));
        let limits = headers.iter().filter_map(|(name, value)| {
            let name = LIMITS.iter().find_map(|start| name.as_str().strip_prefix(start))?;
            Some((redact(name), text(value)?))
        });
        Self {
            url: None,
            request_id: first(&REQUEST_IDS),
            processing: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            provider: first(&PROVIDERS),
            rate_limits: limits.take(MOST_LIMITS).collect(),
        }
    }

    /// The fields for `llm_output`.
    pub(crate) fn to_output(&self) -> Map<String, Value> {
        let mut output = Map::new();
        if let Some(id) = &self.request_id {
            output.insert("request_id".to_owned(), json!(id));
        }
        if let Some(time) = self.processing {
            output.insert("processing_ms".to_owned(), json!(time.as_millis() as u64));
        }
        if let Some(provider) = &self.provider {
            output.insert("provider".to_owned(), json!(provider));
        }
        if !self.rate_limits.is_empty() {
            output.insert("rate_limits".to_owned(), json!(self.rate_limits));
        }
        output
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn info(headers: &[(&'static str, &str)]) -> ServerInfo {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        ServerInfo::of(&headers.collect(), |text| text.replace("sk-secret-1", "[redacted]"))
    }

    #[test]
    fn the_headers_are_read() {
        let found = info(&[
            ("cf-ray", "ray"),
            ("x-request-id", "req_1"),
            ("openai-processing-ms", "1250"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-inference-provider", "P"),
            ("x-other", "x"),
        ]);
        assert_eq!(
            Value::Object(found.to_output()),
            json!({
                "request_id": "req_1", "processing_ms": 1250, "provider": "P",
                "rate_limits": {"remaining-requests": "59", "reset-tokens": "6m0s"},
            })
        );
        assert_eq!(info(&[]), ServerInfo::default());
        assert!(ServerInfo::default().to_output().is_empty());
    }

    #[test]
    fn a_key_in_a_header_is_replaced() {
        let found = info(&[("x-request-id", "sk-secret-1"), ("openai-processing-ms", "-1")]);
        assert_eq!(found.request_id.as_deref(), Some("[redacted]"));
        assert_eq!(found.processing, None);
    }
}
