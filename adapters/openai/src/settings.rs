//! The settings that are sent with every request.

use std::fmt;

use rappel_core::{CallOptions, ChatModelStart, Map, Message, Value, json};
use serde::Serialize;

use crate::convert;
use crate::error::OpenAiError;
use crate::responses::Api;
use crate::wire::{self, ChatRequest};

/// Fields of a request of Responses that settings have under another name.
const RESERVED: [&str; 2] = ["input", "max_output_tokens"];

#[derive(Debug, Clone, Default)]
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
    pub(crate) send_reasoning: SendReasoning,
    pub(crate) api: Api,
}

/// The `stream_options` of a streamed request.
#[derive(Debug, Clone, Default)]
pub(crate) enum StreamOptions {
    /// Ask for the usage at the end.
    #[default]
    Usage,
    /// Send none.
    None,
    /// The user's own JSON.
    Own(Value),
}

/// Whether a model's reasoning goes back to the server with the next turn. It is set with
/// [`ChatOpenAiBuilder::send_reasoning`](crate::ChatOpenAiBuilder::send_reasoning).
///
/// Some servers refuse the next turn without it, others refuse it with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendReasoning {
    /// What the answer had goes back. The text of the reasoning goes back only with a message that
    /// calls tools, until the user's next message, because servers want it only there. Nothing goes
    /// back to OpenAI.
    #[default]
    Auto,
    /// Everything goes back, with every message.
    Always,
    /// Nothing goes back.
    Never,
}

/// The tools that the model may call.
#[derive(Clone, Default)]
pub(crate) struct Tools(pub(crate) Vec<Value>);

/// Fields of the request that this crate does not know. One of them may be a secret, so their
/// values are sent to the server only.
#[derive(Clone, Default)]
pub(crate) struct Extra(pub(crate) Map<String, Value>);

impl Settings {
    /// Checks that the numbers can be written as JSON, which has no infinity and no NaN, and that
    /// `n` is not too large.
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
        if self.api == Api::Responses {
            let unknown = [
                ("n", self.n.is_some_and(|n| n != 1)),
                ("stop", !self.stop.is_empty()),
                ("seed", self.seed.is_some()),
            ];
            if let Some((name, _)) = unknown.into_iter().find(|(_, is_set)| *is_set) {
                let reason = "is not a parameter of the Responses API";
                return Err(OpenAiError::InvalidParameter { name, reason });
            }
            if let Some(name) = RESERVED.iter().find(|name| self.extra.0.contains_key(**name)) {
                return Err(OpenAiError::ReservedParameter { name: (*name).into() });
            }
        }
        Ok(())
    }

    /// The settings with the options of a call, or `None` if the options have no settings.
    ///
    /// # Errors
    /// If an option has a value that cannot be sent.
    pub(crate) fn with(&self, options: &CallOptions) -> Result<Option<Self>, OpenAiError> {
        let mut new = self.clone();
        let mut changed = false;
        let mut set = |is_set: bool| changed |= is_set;
        if let Some(model) = &options.model {
            if model.is_empty() {
                return Err(OpenAiError::NoModel);
            }
            new.model.clone_from(model);
        }
        set(options.model.is_some());
        set(replace(&mut new.temperature, &options.temperature));
        set(replace(&mut new.top_p, &options.top_p));
        // The two limits exclude each other, so one replaces the other.
        if options.max_tokens.is_some() || options.max_completion_tokens.is_some() {
            new.max_tokens = options.max_tokens;
            new.max_completion_tokens = options.max_completion_tokens;
            set(true);
        }
        set(replace(&mut new.seed, &options.seed));
        set(replace(&mut new.tool_choice, &options.tool_choice));
        if let Some(stop) = &options.stop {
            new.stop.clone_from(stop);
        }
        set(options.stop.is_some());
        if let Some(tools) = &options.tools {
            let tools = tools.iter().map(|tool| object("tools", tool));
            new.tools = Tools(tools.collect::<Result<_, _>>()?);
            if new.tools.0.is_empty() && options.tool_choice.is_none() {
                // Servers refuse a choice without tools.
                new.tool_choice = None;
            }
        }
        set(options.tools.is_some());
        if let Some(format) = &options.response_format {
            new.response_format = Some(object("response_format", format)?);
        }
        set(options.response_format.is_some());
        for (name, value) in &options.extra {
            ChatRequest::check_extra(name)?;
            new.extra.0.insert(name.clone(), value.clone());
        }
        set(!options.extra.is_empty());
        new.check()?;
        Ok(changed.then_some(new))
    }

    pub(crate) fn start(&self, name: &str, messages: &[Message], stream: bool) -> ChatModelStart {
        ChatModelStart::new(name, messages).with_invocation_params(self.invocation_params(stream))
    }

    /// The parameters in the start event. The extra fields are left out, because one of them may be
    /// a secret.
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
            ("tools", self.tools.shown()),
            ("tool_choice", self.tool_choice.clone()),
            ("response_format", self.response_format.clone()),
            ("stream", Some(Value::Bool(stream))),
        ];
        params.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// # Errors
    /// A message that cannot be sent.
    pub(crate) fn request<'a>(
        &'a self,
        messages: &'a [Message],
        stream: bool,
        short_reasoning: bool,
    ) -> Result<ChatRequest<'a>, OpenAiError> {
        let reasoning = convert::Reasoning {
            send: self.send_reasoning,
            short: short_reasoning,
            items: self.api == Api::Responses,
        };
        Ok(ChatRequest {
            model: &self.model,
            messages: convert::messages(messages, reasoning)?,
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
            api: self.api,
            all_reasoning: self.send_reasoning == SendReasoning::Always,
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
    /// The tools in the start event: functions as they are, and only the type of others. A server's
    /// own tool may contain a third party's key.
    fn shown(&self) -> Option<Value> {
        let tools = self.0.iter().map(|tool| match &tool["type"] {
            kind if kind == "function" => tool.clone(),
            kind => json!({ "type": kind }),
        });
        Some(tools.collect()).filter(|_| !self.0.is_empty())
    }
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tools").field(&self.shown()).finish()
    }
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Replaces a setting by that of an option. Returns `true` if the option is set.
fn replace<T: Clone>(setting: &mut Option<T>, option: &Option<T>) -> bool {
    if option.is_some() {
        setting.clone_from(option);
    }
    option.is_some()
}

/// A parameter's value as JSON.
pub(crate) fn value(name: &'static str, value: impl Serialize) -> Result<Value, OpenAiError> {
    serde_json::to_value(value)
        .map_err(|_| OpenAiError::InvalidParameter { name, reason: "can't be written as JSON" })
}

/// A parameter's value as a JSON object.
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
    fn the_contents_of_a_servers_own_tool_are_not_in_events() {
        let mcp = json!({"type": "mcp", "headers": {"authorization": "sk-secret"}});
        let add = json!({"type": "function", "function": {"name": "add"}});
        let settings =
            Settings { tools: Tools(vec![mcp.clone(), add.clone()]), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("secret"));
        assert_eq!(settings.invocation_params(false)["tools"], json!([{"type": "mcp"}, add]));
        let sent = settings.request(&[], false, false).expect("no message is wrong");
        assert_eq!(sent.tools, [mcp, add]);
    }
}
