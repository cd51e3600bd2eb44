//! The error bodies of servers, which have many forms, in one form.

use serde_json::{Map, Value, json};

use crate::error::OpenAiError;
use crate::secret::Secrets;
use crate::server_info::ServerInfo;
use crate::wire::read_value;

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
    /// Reads any body. If its form is not known, the whole text is the message.
    ///
    /// Secrets are replaced before the message is cut. Otherwise a part of one could remain.
    pub(crate) fn parse(body: &[u8], secrets: &Secrets) -> Self {
        let text = String::from_utf8_lossy(body);
        let found = match value_of(&text) {
            Some(value) => from_json(&value).or_whole(&value),
            None => Self::from_text(text.trim()),
        };
        found.clean(secrets)
    }

    /// Reads a body of a form that is known to be an error's.
    pub(crate) fn known(body: &[u8], secrets: &Secrets) -> Option<Self> {
        let found = from_json(&read_value(body).ok()?);
        (!found.message.is_empty()).then(|| found.clean(secrets))
    }

    /// The error of a response with a status of success.
    pub(crate) fn into_reported(self, server: Box<ServerInfo>) -> OpenAiError {
        OpenAiError::Reported {
            server,
            code: self.code,
            kind: self.kind,
            message: if self.message.is_empty() { "no reason given".into() } else { self.message },
        }
    }

    fn clean(self, secrets: &Secrets) -> Self {
        let clean = |text: String| cut(&secrets.redact(&text));
        Self {
            code: self.code.map(clean),
            kind: self.kind.map(clean),
            message: clean(self.message),
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

    /// Fills what is missing.
    fn or(self, other: Self) -> Self {
        Self {
            code: self.code.or(other.code),
            kind: self.kind.or(other.kind),
            message: if self.message.is_empty() { other.message } else { self.message },
        }
    }
}

/// The JSON of a body. It may be in an event, because some servers that were asked for a stream
/// send their errors as one.
fn value_of(text: &str) -> Option<Value> {
    if let Ok(value) = read_value(text.as_bytes()) {
        return Some(value);
    }
    let mut data = text.lines().filter_map(|line| line.trim_start().strip_prefix("data:"));
    data.find_map(|data| read_value(data.trim().as_bytes()).ok().filter(Value::is_object))
}

fn from_json(value: &Value) -> ErrorBody {
    match value {
        // Google's compatible endpoint wraps the error in an array.
        Value::Array(items) => items.first().map(from_json).unwrap_or_default(),
        Value::Object(object) => match &value["error"] {
            error @ Value::Object(_) => from_object(error).or(from_object(&without_error(object))),
            Value::String(label) => labelled(label, from_object(&without_error(object))),
            error @ Value::Array(_) => from_json(error),
            _ => match failed_choice(value) {
                Some(error) => from_json(&json!({ "error": error })),
                None => from_object(value),
            },
        },
        Value::String(text) => ErrorBody::from_text(text),
        _ => ErrorBody::default(),
    }
}

fn without_error(object: &Map<String, Value>) -> Value {
    object
        .iter()
        .filter(|(name, _)| *name != "error")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// `error` is only a label if there is a message beside it.
fn labelled(label: &str, beside: ErrorBody) -> ErrorBody {
    let message = match &*beside.message {
        "" => label.to_owned(),
        message if message.contains(label) => message.to_owned(),
        message => format!("{label}: {message}"),
    };
    ErrorBody { message, ..beside }
}

/// OpenRouter reports the error of a provider like this.
fn failed_choice(value: &Value) -> Option<&Value> {
    let choices = value["choices"].as_array()?;
    choices.iter().map(|choice| &choice["error"]).find(|error| !error.is_null())
}

fn from_object(object: &Value) -> ErrorBody {
    if let Some(nested) = object.get("error").filter(|nested| nested.is_object()) {
        return from_object(nested);
    }
    let first = |names: &[&str]| names.iter().find_map(|name| scalar(&object[*name]));
    // MiniMax's form.
    let base = &object["base_resp"];
    let words = [
        "message",
        "msg",
        "detail",
        "errors",
        "error_msg",
        "error_message",
        "errorMessage",
        "err_msg",
        "error_description",
        "reason",
    ];
    let message =
        words.iter().find_map(|name| message(&object[*name]).filter(|words| !words.is_empty()));
    let message = message.or_else(|| message_of_base(base)).unwrap_or_default();
    ErrorBody {
        code: first(&["code", "error_code", "status_code"])
            .or_else(|| scalar(&base["status_code"])),
        // Google calls its type `status`.
        kind: first(&["type", "status"]),
        message: with_cause(message, object),
    }
}

fn message_of_base(base: &Value) -> Option<String> {
    let failed = base["status_code"].as_i64().is_some_and(|code| code != 0);
    message(&base["status_msg"]).filter(|_| failed)
}

/// A gateway's message often says only that its provider failed. The provider's own words are in
/// `metadata.raw`: an object, JSON as text, or a text.
fn with_cause(message: String, object: &Value) -> String {
    let raw = match &object["metadata"]["raw"] {
        Value::String(text) => match value_of(text) {
            Some(value) => from_json(&value).or_whole(&value).message,
            None => text.trim().to_owned(),
        },
        Value::Null => String::new(),
        value => from_json(value).or_whole(value).message,
    };
    match (&*message, &*raw) {
        (_, "") => message,
        ("", _) => raw,
        _ if message.contains(&raw) => message,
        _ => format!("{message}: {raw}"),
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

/// A text, or the list of FastAPI's validation: objects with a `msg` and its place in `loc`.
fn message(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().filter_map(message).collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(object) => {
            let names = ["msg", "message", "detail", "error", "reason"];
            let words = names.iter().find_map(|name| object.get(*name).and_then(message))?;
            Some(match place(&value["loc"]) {
                Some(place) => format!("{place}: {words}"),
                None => words,
            })
        }
        _ => None,
    }
}

/// `["body", "messages", 0, "role"]` as `body.messages.0.role`.
fn place(loc: &Value) -> Option<String> {
    let steps: Vec<String> = loc.as_array()?.iter().filter_map(scalar).collect();
    (!steps.is_empty()).then(|| steps.join("."))
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
        ErrorBody::parse(body.as_bytes(), &Secrets::default())
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
            "body.model: field required; and more",
        );
        check(
            r#"{"detail":[{"loc":["body","messages",0,"role"],"msg":"bad role"}]}"#,
            None,
            None,
            "body.messages.0.role: bad role",
        );
        check(
            r#"{"status":429,"error":"QUOTA","message":"too many requests"}"#,
            None,
            Some("429"),
            "QUOTA: too many requests",
        );
        check(
            r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"no signature\"}}"}}}"#,
            Some("400"),
            None,
            "Provider returned error: no signature",
        );
        check(
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"upstream is busy"}}}"#,
            None,
            None,
            "Provider returned error: upstream is busy",
        );
        check(
            r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            Some("1008"),
            None,
            "insufficient balance",
        );
        check(r#"{"code":"Throttling","message":"slow"}"#, Some("Throttling"), None, "slow");
        check(
            r#"{"success":false,"errors":[{"code":7,"message":"no account"}]}"#,
            None,
            None,
            "no account",
        );
        check("data: {\"error\":{\"message\":\"in an event\"}}\n\n", None, None, "in an event");
        check(r#"{"error":{"error":{"message":"deep"}}}"#, None, None, "deep");
        check(r#"{"error":true,"message":"beside"}"#, None, None, "beside");
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
        let body = ErrorBody::parse(b"\xff\xfe broken", &Secrets::default());
        assert!(body.message.ends_with("broken"));
    }

    #[test]
    fn an_echoed_key_is_removed_everywhere() {
        let key = Secrets::from(crate::secret::Secret::new("sk-secret-1").unwrap());
        for body in [
            r#"{"error":{"message":"bad key sk-secret-1","type":"sk-secret-1","code":"sk-secret-1"}}"#,
            r#"{"error":{"message":"bad key sk\u002dsecret-1"}}"#,
            r#"{"detail":[{"msg":"sk-secret-1"}]}"#,
            "<p>Bearer sk-secret-1</p>",
            "no route for /v1?key=sk%2Dsecret%2d1",
            r#"{"error":{"message":"cut in the middle of sk-\u0073ecret-1"#,
            r#"{"unknown":"sk-\u0073ecret-1"}"#,
        ] {
            let found = format!("{:?}", ErrorBody::parse(body.as_bytes(), &key));
            assert!(!found.contains("secret"), "{found}");
            assert!(found.contains("[redacted]"), "{found}");
        }
    }

    #[test]
    fn a_key_at_the_cut_leaves_no_part_of_it() {
        let key = Secrets::from(crate::secret::Secret::new("sk-secret-1").unwrap());
        let text = format!("{}sk-secret-1", "x".repeat(MESSAGE_CHARS - 4));
        let message = ErrorBody::parse(text.as_bytes(), &key).message;
        assert!(!message.contains("sk-"), "{message}");
    }
}
