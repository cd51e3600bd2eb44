//! What a model asks for with every request.

use std::fmt;

use rappel_core::{CallOptions, CallbackManager, ChatModelStart, Map, Message, Value, json};
use serde::Serialize;

use crate::convert;
use crate::error::OpenAiError;
use crate::wire::{self, ChatRequest};

/// The name of a model's runs, unless a call names them.
const NAME: &str = "ChatOpenAi";

#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) model: String,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) max_completion_tokens: Option<u32>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<i64>,
    pub(crate) n: Option<u32>,
    pub(crate) tools: Tools,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) response_format: Option<Value>,
    pub(crate) user: Option<String>,
    pub(crate) extra: Extra,
    pub(crate) streaming: bool,
    pub(crate) stream_options: StreamOptions,
}

/// What a streamed request says of its stream.
#[derive(Debug, Default)]
pub(crate) enum StreamOptions {
    /// It is to end with the usage.
    #[default]
    Usage,
    /// Nothing.
    None,
    /// The user's words.
    Own(Value),
}

/// The tools that the model may ask for.
#[derive(Default)]
pub(crate) struct Tools(pub(crate) Vec<Value>);

/// Fields of the request that we know nothing of: a secret may be among them, so their values go to the server only.
#[derive(Default)]
pub(crate) struct Extra(pub(crate) Map<String, Value>);

impl Settings {
    /// Whether the numbers can be written as JSON, which knows neither infinity nor what is no number, and their answers be told apart.
    pub(crate) fn check(&self) -> Result<(), OpenAiError> {
        for (name, number) in [("temperature", self.temperature), ("top_p", self.top_p)] {
            if number.is_some_and(|number| !number.is_finite()) {
                let reason = "is not a finite number";
                return Err(OpenAiError::InvalidParameter { name, reason });
            }
        }
        if self.n.is_some_and(|n| n as usize > wire::MOST_CHOICES) {
            let reason = "is more than 128";
            return Err(OpenAiError::InvalidParameter { name: "n", reason });
        }
        Ok(())
    }

    pub(crate) fn start(&self, callbacks: &CallbackManager, messages: &[Message], options: &CallOptions, stream: bool) -> ChatModelStart {
        let name = options.run_name.as_deref().unwrap_or(NAME);
        if !callbacks.has_handlers() {
            // A history may be long: it is copied for those who listen only.
            return ChatModelStart::new(name, []);
        }
        ChatModelStart::new(name, messages).with_invocation_params(self.invocation_params(stream))
    }

    /// What events tell of a request. The extra fields are left out: nobody knows what they hold.
    fn invocation_params(&self, stream: bool) -> Map<String, Value> {
        let params = [
            ("model", Some(json!(self.model))),
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("max_completion_tokens", self.max_completion_tokens.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("stop", Some(json!(self.stop)).filter(|_| !self.stop.is_empty())),
            ("seed", self.seed.map(Value::from)),
            ("n", self.n.map(Value::from)),
            ("tools", self.tools.told()),
            ("tool_choice", self.tool_choice.clone()),
            ("response_format", self.response_format.clone()),
            ("stream", Some(Value::Bool(stream))),
        ];
        params
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    /// # Errors
    /// A message that cannot be sent.
    pub(crate) fn request<'a>(&'a self, messages: &'a [Message], stream: bool) -> Result<ChatRequest<'a>, OpenAiError> {
        Ok(ChatRequest {
            model: &self.model,
            messages: convert::messages(messages)?,
            max_tokens: self.max_tokens,
            max_completion_tokens: self.max_completion_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            stop: &self.stop,
            seed: self.seed,
            n: self.n,
            tools: &self.tools.0,
            tool_choice: self.tool_choice.as_ref(),
            response_format: self.response_format.as_ref(),
            stream,
            stream_options: self.stream_options.sent().filter(|_| stream),
            user: self.user.as_deref(),
            extra: Some(&self.extra.0).filter(|extra| !extra.is_empty()),
        })
    }
}

impl StreamOptions {
    fn sent(&self) -> Option<wire::StreamOptions<'_>> {
        match self {
            Self::Usage => Some(wire::StreamOptions::Usage { include_usage: true }),
            Self::None => None,
            Self::Own(options) => Some(wire::StreamOptions::Own(options)),
        }
    }
}

impl Tools {
    /// What is told of the tools: functions are, of others only the type is. A server's own tool may be given a key to somebody else's.
    fn told(&self) -> Option<Value> {
        let tools = self.0.iter().map(|tool| match &tool["type"] {
            kind if kind == "function" => tool.clone(),
            kind => json!({ "type": kind }),
        });
        Some(tools.collect()).filter(|_| !self.0.is_empty())
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tools").field(&self.told()).finish()
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A parameter's value, of a type of anybody's that serializes.
pub(crate) fn value(name: &'static str, value: impl Serialize) -> Result<Value, OpenAiError> {
    serde_json::to_value(value).map_err(|_| OpenAiError::InvalidParameter {
        name,
        reason: "can't be written as JSON",
    })
}

/// The same, where it has to be an object.
pub(crate) fn object(name: &'static str, of: impl Serialize) -> Result<Value, OpenAiError> {
    let reason = "is not a JSON object";
    value(name, of).and_then(|value| match value {
        Value::Object(_) => Ok(value),
        _ => Err(OpenAiError::InvalidParameter { name, reason }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_servers_own_tool_was_given_is_told_to_nobody() {
        let mcp = json!({"type": "mcp", "headers": {"authorization": "sk-secret"}});
        let add = json!({"type": "function", "function": {"name": "add"}});
        let settings = Settings {
            tools: Tools(vec![mcp.clone(), add.clone()]),
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.invocation_params(false)["tools"], json!([{"type": "mcp"}, add]));
        let sent = settings.request(&[], false).expect("no message is wrong");
        assert_eq!(sent.tools, [mcp, add]);
    }
}
