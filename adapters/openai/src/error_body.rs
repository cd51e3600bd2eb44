//! The error bodies of servers, which have many forms, in one form.

use serde_json::{Value, json};

use crate::{error::OpenAiError, secret::Secret};

/// A longer message is cut to this many characters, because some proxies answer with a whole page.
const MESSAGE_CHARS: usize = 600;

/// The code, type and message of an error, without the API key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) code: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) message: String,
}

impl ErrorBody {
    /// Reads any body. If it is not JSON, the whole text is the message.
    ///
    /// The key is replaced before the message is cut. Otherwise a part of the key could remain.
    pub(crate) fn parse(body: &[u8], key: Option<&Secret>) -> Self {
        let found = match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::from_json(&value).or_whole(&value),
            Err(_) => Self::from_text(String::from_utf8_lossy(body).trim()),
        };
        let clean = |text: String| match key {
            Some(key) => cut(&key.redact(&text)),
            None => cut(&text),
        };
        Self {
            code: found.code.map(clean),
            kind: found.kind.map(clean),
            message: clean(found.message),
        }
    }

    /// The error of a response with a status of success.
    pub(crate) fn into_reported(self) -> OpenAiError {
        OpenAiError::Reported {
            code: self.code,
            kind: self.kind,
            message: if self.message.is_empty() { "no reason given".into() } else { self.message },
        }
    }

    fn from_json(value: &Value) -> Self {
        match value {
            // Google's compatible endpoint wraps the error in an array.
            Value::Array(items) => items.first().map(Self::from_json).unwrap_or_default(),
            Value::Object(object) => match object.get("error") {
                Some(Value::Object(_)) => Self::from_object(&value["error"]),
                Some(Value::String(text)) => {
                    Self { message: text.clone(), ..Self::from_object(value) }
                }
                _ => match value["choices"]
                    .as_array()
                    .and_then(|choices| choices.iter().find(|choice| !choice["error"].is_null()))
                {
                    // OpenRouter reports the error of a provider like this.
                    Some(choice) => Self::from_json(&json!({"error": choice["error"]})),
                    None => Self::from_object(value),
                },
            },
            Value::String(text) => Self::from_text(text),
            _ => Self::default(),
        }
    }

    fn from_object(object: &Value) -> Self {
        // Google calls its type `status`.
        let kind = scalar(&object["type"]).or_else(|| scalar(&object["status"]));
        Self {
            code: scalar(&object["code"]),
            kind,
            message: message(&object["message"])
                .or_else(|| message(&object["detail"]))
                .unwrap_or_default(),
        }
    }

    /// If the form is unknown, the whole object is the message.
    fn or_whole(self, value: &Value) -> Self {
        match value {
            Value::Object(object) if self == Self::default() && !object.is_empty() => {
                Self::from_text(&value.to_string())
            }
            _ => self,
        }
    }

    fn from_text(text: &str) -> Self {
        Self { message: text.to_owned(), ..Self::default() }
    }
}

/// Codes are strings for some servers and numbers for others.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A text, or the list of FastAPI's validation: objects with a `msg`.
fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().filter_map(message).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(object) => ["msg", "message", "detail", "error"]
            .iter()
            .find_map(|name| object.get(*name).and_then(message)),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(body: &str) -> ErrorBody {
        ErrorBody::parse(body.as_bytes(), None)
    }

    #[track_caller]
    fn check(body: &str, code: Option<&str>, kind: Option<&str>, message: &str) {
        let expected = ErrorBody {
            code: code.map(Into::into),
            kind: kind.map(Into::into),
            message: message.into(),
        };
        assert_eq!(parse(body), expected, "{body}");
    }

    #[test]
    fn the_message_is_found_in_every_servers_error() {
        check(
            r#"{"error":{"message":"no such model","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            Some("model_not_found"),
            Some("invalid_request_error"),
            "no such model",
        );
        check(r#"{"error":{"message":"bad","code":null}}"#, None, None, "bad");
        check(r#"{"error":"model 'x' not found"}"#, None, None, "model 'x' not found");
        check(
            r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#,
            Some("400"),
            Some("BadRequestError"),
            "too long",
        );
        check(
            r#"[{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT"}}]"#,
            Some("400"),
            Some("INVALID_ARGUMENT"),
            "API key not valid",
        );
        check(
            r#"{"choices":[{"delta":{"content":""}},{"finish_reason":"error","error":{"code":502,"message":"provider is gone"}}]}"#,
            Some("502"),
            None,
            "provider is gone",
        );
        check(r#"{"detail":"Not Found"}"#, None, None, "Not Found");
        check(
            r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"},{"msg":"and more"}]}"#,
            None,
            None,
            "field required; and more",
        );
        check(r#""just text""#, None, None, "just text");
        check("upstream timed out\n", None, None, "upstream timed out");
        check("", None, None, "");
        check(r#"{"ok": false}"#, None, None, r#"{"ok":false}"#);
        check("{}", None, None, "");
    }

    #[test]
    fn a_page_is_cut() {
        let page = format!("<html>{}</html>", "é".repeat(10_000));
        let message = parse(&page).message;
        assert_eq!(message.chars().count(), MESSAGE_CHARS + 1);
        assert!(message.starts_with("<html>é") && message.ends_with("é…"));
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let body = ErrorBody::parse(b"\xff\xfe broken", None);
        assert!(body.message.ends_with("broken"));
    }

    #[test]
    fn an_echoed_key_is_removed_everywhere() {
        let key = Secret::new("sk-secret-1").unwrap();
        for body in [
            r#"{"error":{"message":"bad key sk-secret-1","type":"sk-secret-1","code":"sk-secret-1"}}"#,
            r#"{"error":{"message":"bad key sk\u002dsecret-1"}}"#,
            r#"{"detail":[{"msg":"sk-secret-1"}]}"#,
            "<p>Bearer sk-secret-1</p>",
        ] {
            let found = format!("{:?}", ErrorBody::parse(body.as_bytes(), Some(&key)));
            assert!(!found.contains("secret"), "{found}");
            assert!(found.contains("[redacted]"), "{found}");
        }
    }

    #[test]
    fn a_key_at_the_cut_leaves_no_part_of_it() {
        let key = Secret::new("sk-secret-1").unwrap();
        let text = format!("{}sk-secret-1", "x".repeat(MESSAGE_CHARS - 4));
        let message = ErrorBody::parse(text.as_bytes(), Some(&key)).message;
        assert!(!message.contains("sk-"), "{message}");
    }
}
