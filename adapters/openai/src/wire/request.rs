//! Requests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::OpenAiError;
use crate::responses::{Api, Body};

/// A chat completion request. It borrows from the messages, because prompts may be long.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ChatRequest<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) tools: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_choice: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_format: Option<&'a Value>,
    pub(crate) stream: bool,
    /// Only sent with `stream`. It is optional, because some servers refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_options: Option<StreamOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    /// Further fields. A name that has a field above would be sent twice: see
    /// [`check_extra`](Self::check_extra).
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) extra: Option<&'a Map<String, Value>>,
    /// The API whose form is sent.
    #[serde(skip)]
    pub(crate) api: Api,
    /// The items of a model's reasoning go back although the server has stored them.
    #[serde(skip)]
    pub(crate) all_reasoning: bool,
}

/// The names of [`ChatRequest`]'s own fields.
const RESERVED: [&str; 15] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
    "tools",
    "tool_choice",
    "response_format",
    "stream",
    "stream_options",
    "user",
];

impl ChatRequest<'_> {
    /// Checks that a parameter may be an extra field. It is called by `build`, before the first
    /// request.
    pub(crate) fn check_extra(name: &str) -> Result<(), OpenAiError> {
        if RESERVED.contains(&name) {
            return Err(OpenAiError::ReservedParameter { name: name.into() });
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Result<Bytes, OpenAiError> {
        let json = match self.api {
            Api::ChatCompletions => serde_json::to_vec(self),
            Api::Responses => serde_json::to_vec(&Body::of(self)),
        };
        match json {
            Ok(json) => Ok(json.into()),
            Err(error) => Err(OpenAiError::Encode { source: error.into() }),
        }
    }
}

/// The options of a stream.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StreamOptions<'a> {
    Usage {
        /// Asks for a last chunk with the usage.
        include_usage: bool,
    },
    Own(&'a Value),
}

/// A message of the conversation so far.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Message<'a> {
    pub(crate) role: &'a str,
    /// Sent as `null` if there are only tool calls, because some servers require the field.
    pub(crate) content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall<'a>>,
    /// The call that a tool's message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_call_id: Option<&'a str>,
    /// Further fields of the server's message, which it may need back.
    #[serde(flatten)]
    pub(crate) extra: BTreeMap<&'a str, &'a Value>,
}

impl Message<'_> {
    /// Returns `true` if `name` is one of its own fields.
    pub(crate) fn reserves(name: &str) -> bool {
        ["role", "content", "name", "tool_calls", "tool_call_id"].contains(&name)
    }
}

/// The content of a message. Plain text is sent as a string, which every server supports.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ImageUrl<'a> {
    /// A URL for the server to fetch, or a `data:` URL.
    pub(crate) url: Cow<'a, str>,
    /// `low`, `high` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<&'a str>,
}

/// A call that the model made earlier in the conversation.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(crate) struct ToolCall<'a> {
    /// Servers that send no ids expect none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    pub(crate) function: FunctionCall<'a>,
    /// Further fields of the server's call, which it may need back.
    #[serde(flatten)]
    pub(crate) extra: &'a Map<String, Value>,
}

impl ToolCall<'_> {
    /// Returns `true` if `name` is one of its own fields.
    pub(crate) fn reserves(name: &str) -> bool {
        ["id", "type", "function"].contains(&name)
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct FunctionCall<'a> {
    pub(crate) name: &'a str,
    /// JSON, as text.
    pub(crate) arguments: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn sent(request: &ChatRequest<'_>) -> Value {
        serde_json::from_slice(&request.to_json().unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let request = ChatRequest { model: "m", ..ChatRequest::default() };
        assert_eq!(sent(&request), json!({"model": "m", "messages": [], "stream": false}));
    }

    #[test]
    fn everything_has_its_name() {
        let stop = ["\n".to_owned()];
        let extra = json!({"top_k": 40, "logprobs": true});
        let tools = [json!({"type": "function"})];
        let (choice, format) = (json!("auto"), json!({"type": "text"}));
        let request = ChatRequest {
            model: "m",
            messages: Vec::new(),
            max_tokens: Some(25),
            max_completion_tokens: Some(26),
            temperature: Some(0.7),
            top_p: Some(0.9),
            stop: &stop,
            seed: Some(-1),
            n: Some(2),
            tools: &tools,
            tool_choice: Some(&choice),
            response_format: Some(&format),
            stream: true,
            stream_options: Some(StreamOptions::Usage { include_usage: true }),
            user: Some("u"),
            extra: extra.as_object(),
            ..ChatRequest::default()
        };
        let json = request.to_json().unwrap();
        let json = std::str::from_utf8(&json).unwrap();
        // As text, since 0.7 as a float must not become 0.699999988079071.
        assert_eq!(
            json,
            r#"{"model":"m","messages":[],"max_tokens":25,"max_completion_tokens":26,"temperature":0.7,"top_p":0.9,"stop":["\n"],"seed":-1,"n":2,"tools":[{"type":"function"}],"tool_choice":"auto","response_format":{"type":"text"},"stream":true,"stream_options":{"include_usage":true},"user":"u","logprobs":true,"top_k":40}"#
        );
    }

    #[test]
    fn messages_are_openais() {
        let extra = json!({"extra_content": {"google": {"thought_signature": "s"}}});
        let call = ToolCall {
            id: Some("c1"),
            extra: extra.as_object().unwrap(),
            function: FunctionCall { name: "add", arguments: r#"{"a":1}"#.into() },
        };
        let image = Part::ImageUrl {
            image_url: ImageUrl { url: "data:image/png;base64,AA==".into(), detail: Some("low") },
        };
        let message = Message::default();
        let messages = vec![
            Message {
                role: "user",
                content: Some(Content::Text("hi".into())),
                name: Some("ann"),
                ..message.clone()
            },
            Message {
                role: "user",
                content: Some(Content::Parts(vec![Part::Text { text: "look".into() }, image])),
                ..message.clone()
            },
            Message { role: "assistant", tool_calls: vec![call], ..message.clone() },
            Message {
                role: "tool",
                content: Some(Content::Text("1".into())),
                tool_call_id: Some("c1"),
                ..message
            },
        ];
        let request = ChatRequest { model: "m", messages, ..ChatRequest::default() };
        assert_eq!(
            sent(&request)["messages"],
            json!([
                {"role": "user", "content": "hi", "name": "ann"},
                {"role": "user", "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"},
                     "extra_content": {"google": {"thought_signature": "s"}}},
                ]},
                {"role": "tool", "content": "1", "tool_call_id": "c1"},
            ])
        );
    }

    #[test]
    fn every_field_is_reserved() {
        let full = ChatRequest {
            max_tokens: Some(1),
            max_completion_tokens: Some(1),
            temperature: Some(1.0),
            top_p: Some(1.0),
            stop: &["x".to_owned()],
            seed: Some(1),
            n: Some(1),
            tools: &[json!({})],
            tool_choice: Some(&json!("auto")),
            response_format: Some(&json!({})),
            stream_options: Some(StreamOptions::Usage { include_usage: true }),
            user: Some("u"),
            ..ChatRequest::default()
        };
        for name in sent(&full).as_object().unwrap().keys() {
            let error = ChatRequest::check_extra(name).unwrap_err();
            assert!(
                matches!(error, OpenAiError::ReservedParameter { name: found } if found == *name)
            );
        }
        assert!(ChatRequest::check_extra("top_k").is_ok());
    }
}
