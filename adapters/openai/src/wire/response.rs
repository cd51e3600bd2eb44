//! Responses.

use core::mem;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::lenient::{self, Said};
use super::mend;
use super::usage::Usage;
use crate::error::JsonFault;
use crate::server_info::ServerInfo;

/// The maximum number of choices. It is also the maximum of OpenAI's `n`.
pub(crate) const MOST_CHOICES: usize = 128;
/// The maximum number of tool calls of a choice.
pub(crate) const MOST_CALLS: usize = 1024;

/// A piece of a streamed answer, or a whole answer.
///
/// They differ only in [`Choice::delta`] and [`Choice::message`], and some servers confuse the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    #[serde(deserialize_with = "lenient::words")]
    object: Option<String>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) model: Option<String>,
    /// Empty in the chunk that has the usage of a stream.
    #[serde(deserialize_with = "lenient::objects::<_, _, MOST_CHOICES>")]
    pub(crate) choices: Vec<Choice>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) usage: Option<Usage>,
    error: Value,
    /// Random characters that hide the length of an event.
    obfuscation: IgnoredAny,
    /// `true` if it is a whole answer and no piece of one. It is not part of the JSON.
    #[serde(skip)]
    pub(crate) whole: bool,
    /// What the headers of the response say, with its first chunk.
    #[serde(skip)]
    pub(crate) server: Option<Box<ServerInfo>>,
    /// `id`, `created`, `system_fingerprint`, `service_tier`, and fields of the server's own.
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Chunk {
    /// Reads any JSON object.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JsonFault> {
        let json = mend::without_mark(json);
        match Self::read(json) {
            Ok(chunk) => chunk.ok_or(JsonFault::NotAnObject),
            Err(fault) => Self::reread(json, fault),
        }
    }

    fn read(json: &[u8]) -> serde_json::Result<Option<Self>> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let chunk = lenient::object(&mut json)?;
        json.end()?;
        Ok(chunk)
    }

    /// Reads what the first attempt refused: JSON that can be mended, or that has a key twice.
    #[cold]
    fn reread(json: &[u8], fault: serde_json::Error) -> Result<Self, JsonFault> {
        // The derived code refuses a key that is there twice. In a `Value` the last one counts.
        let twice = |fault: &serde_json::Error| {
            fault.is_data() && fault.to_string().starts_with("duplicate field")
        };
        let mended = mend::mend(json);
        let (json, second) = match &mended {
            Some(mended) => match Self::read(mended) {
                Ok(chunk) => return chunk.ok_or(JsonFault::NotAnObject),
                Err(fault) => (&**mended, fault),
            },
            None => (json, fault),
        };
        if !twice(&second) {
            return Err(second.into());
        }
        Self::from_value(serde_json::from_slice(json)?)
    }

    /// Reads an object.
    pub(crate) fn from_value(value: Value) -> Result<Self, JsonFault> {
        lenient::object(value)?.ok_or(JsonFault::NotAnObject)
    }

    /// Returns `true` if it is an error in place of a chunk or of a choice.
    pub(crate) fn is_error(&self) -> bool {
        self.object.as_deref() == Some("error")
            || reports(&self.error, self.choices.is_empty())
            || self.choices.iter().any(|choice| reports(&choice.error, true))
            || self.base_resp_failed()
            || (self.is_without_answer() && self.has_words_of_an_error())
    }

    /// Returns `true` if it has neither a choice nor a usage. Then it may be an error of a form that
    /// is not known.
    pub(crate) fn is_without_answer(&self) -> bool {
        self.choices.is_empty() && self.usage.is_none()
    }

    /// Returns `true` if it has nothing by which one knows an answer.
    pub(crate) fn is_foreign(&self) -> bool {
        let known = ["id", "choices", "created"];
        self.is_without_answer()
            && self.object.is_none()
            && !self.rest.is_empty()
            && known.iter().all(|name| !self.rest.contains_key(*name))
    }

    /// Returns `true` if it calls itself a whole answer, or has messages in place of deltas.
    pub(crate) fn is_like_a_whole_answer(&self) -> bool {
        self.object.as_deref() == Some("chat.completion")
            || self.choices.iter().any(|choice| choice.message.is_some())
    }

    /// MiniMax's form. Its good answers have it with the status 0.
    fn base_resp_failed(&self) -> bool {
        let status = self.rest.get("base_resp").map(|status| &status["status_code"]);
        status.is_some_and(|status| {
            lenient::number(status).ok().flatten().is_some_and(|code: u64| code != 0)
        })
    }

    /// The forms of errors that have no `error`.
    fn has_words_of_an_error(&self) -> bool {
        let field = |name: &str| self.rest.get(name).unwrap_or(&Value::Null);
        let said = |name: &str| !is_blank(field(name));
        let named = |name: &str| {
            field(name).as_str().is_some_and(|kind| kind.to_ascii_lowercase().contains("error"))
        };
        let failed = ["code", "status", "status_code", "statusCode"]
            .iter()
            .any(|name| is_failure(field(name)));
        let words = said("message") || said("msg");
        (words && (failed || named("type") || field("success") == false))
            || ["detail", "errors", "error_msg", "error_message", "errorMessage", "err_msg"]
                .iter()
                .any(|name| said(name))
    }

    /// The usage, wherever it is: beside the choices, in one of them, or in an object of the
    /// server's own such as `x_groq`. One without zeros is preferred.
    pub(crate) fn take_usage(&mut self) -> Option<Usage> {
        let beside = self.usage.take().filter(Usage::counts);
        let in_choices = self.choices.iter_mut().flat_map(|choice| {
            let of = |said: &mut Option<Delta>| {
                let usage = Usage::from_value(said.as_ref()?.rest.get("usage")?)?;
                said.as_mut()?.rest.remove("usage");
                Some(usage)
            };
            [
                choice.usage.take().filter(Usage::counts),
                of(&mut choice.delta),
                of(&mut choice.message),
            ]
        });
        let in_choices: Vec<_> = in_choices.flatten().collect();
        let own = self.rest.iter().filter(|(name, _)| name.starts_with("x_"));
        let own = own.filter_map(|(_, own)| Usage::from_value(own.get("usage")?));
        let mut found = beside.into_iter().chain(in_choices).chain(own);
        let first = found.next()?;
        if first.is_zero() {
            Some(found.find(|usage| !usage.is_zero()).unwrap_or(first))
        } else {
            Some(first)
        }
    }
}

/// Returns `true` if the value of `error` is one. `alone`: there is no answer beside it.
fn reports(error: &Value, alone: bool) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(_) => is_failure(error),
        Value::Object(fields) => {
            alone
                || fields
                    .iter()
                    .any(|(name, value)| !is_blank(value) && (name != "code" || is_failure(value)))
        }
        Value::Array(items) => alone || !items.is_empty(),
        Value::Bool(true) => true,
    }
}

/// Returns `true` if a code is not one of success.
fn is_failure(code: &Value) -> bool {
    const GOOD: [&str; 6] = ["0", "200", "ok", "success", "succeeded", "completed"];
    match code {
        Value::Number(number) => {
            number.as_i64().is_none_or(|number| number != 0 && !(200..300).contains(&number))
        }
        Value::String(text) => {
            !text.is_empty() && !GOOD.iter().any(|good| text.eq_ignore_ascii_case(good))
        }
        _ => false,
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// One of the `n` answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// Some servers leave it out. Then it is the position in the list.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) delta: Option<Delta>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) message: Option<Delta>,
    #[serde(deserialize_with = "lenient::words")]
    finish_reason: Option<String>,
    /// The same, from servers that write JSON as JavaScript does.
    #[serde(rename = "finishReason", deserialize_with = "lenient::words")]
    camel_finish_reason: Option<String>,
    pub(crate) logprobs: Value,
    #[serde(deserialize_with = "lenient::object")]
    usage: Option<Usage>,
    error: Value,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Choice {
    /// Why the answer ended: any text, such as `stop`, `length`, `tool_calls` or `eos`. It is not
    /// empty.
    pub(crate) fn finish_reason(&self) -> Option<&str> {
        let delta = self.delta.as_ref().and_then(|delta| delta.finish_reason.as_deref());
        self.finish_reason.as_deref().or(self.camel_finish_reason.as_deref()).or(delta)
    }

    /// Returns `true` if it has more than its finish reason: text, or a tool call.
    pub(crate) fn says_something(&self) -> bool {
        match self.delta.as_ref().or(self.message.as_ref()) {
            Some(said) => said.says_something(),
            None => self.rest.get("text").is_some_and(|text| !is_blank(text)),
        }
    }

    /// The delta, or the message if there is no delta.
    pub(crate) fn into_content(self) -> Delta {
        self.delta.or(self.message).unwrap_or_default()
    }
}

/// A message, or the addition of a chunk to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    role: IgnoredAny,
    #[serde(deserialize_with = "lenient::content")]
    pub(crate) content: Said,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) refusal: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning: Option<String>,
    #[serde(deserialize_with = "lenient::one_or_more::<_, _, MOST_CALLS>")]
    tool_calls: Vec<ToolCallDelta>,
    /// The deprecated form of a tool call.
    #[serde(deserialize_with = "lenient::object")]
    function_call: Option<FunctionDelta>,
    #[serde(deserialize_with = "lenient::words")]
    finish_reason: Option<String>,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Delta {
    /// The reasoning: `reasoning_content` or `reasoning`, depending on the server, or a part of the
    /// content. Servers that send both repeat the same text.
    pub(crate) fn reasoning(&self) -> &str {
        let fields = [self.reasoning_content.as_deref(), self.reasoning.as_deref()];
        let said = fields.into_iter().flatten().find(|text| !text.is_empty());
        said.unwrap_or(&self.content.thought)
    }

    /// Whether the reasoning is called `reasoning`. `None` if there is none.
    pub(crate) fn has_short_reasoning(&self) -> Option<bool> {
        let is_there = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
        let (long, short) = (is_there(&self.reasoning_content), is_there(&self.reasoning));
        (long || short).then_some(!long)
    }

    fn says_something(&self) -> bool {
        self.content.text.as_ref().is_some_and(|text| !text.is_empty())
            || !self.reasoning().is_empty()
            || self.refusal.is_some()
            || !self.tool_calls.is_empty()
            || self.function_call.is_some()
    }

    /// Numbers the tool calls. In a whole answer each item is a call, whatever its index and id
    /// are.
    pub(crate) fn count_calls(&mut self) {
        for (index, call) in (0..).zip(&mut self.tool_calls) {
            call.index = Some(index);
        }
    }

    /// The tool calls. A deprecated function call counts as one if there are no others.
    pub(crate) fn take_calls(&mut self) -> Vec<ToolCallDelta> {
        let mut calls = mem::take(&mut self.tool_calls);
        if calls.is_empty() {
            let function = self.function_call.take();
            let function =
                function.filter(|function| function.name.is_some() || function.arguments.is_some());
            calls.extend(function.map(|function| ToolCallDelta {
                function: Some(function),
                ..ToolCallDelta::default()
            }));
        }
        calls
    }
}

/// A tool call, or the addition of a chunk to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCallDelta {
    /// The call that a delta belongs to. Whole calls have none.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    kind: IgnoredAny,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) function: Option<FunctionDelta>,
    /// Some servers have no `function` around the name and the arguments.
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) name: Option<String>,
    #[serde(deserialize_with = "lenient::arguments")]
    pub(crate) arguments: Option<String>,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

/// The function to call, or the addition of a chunk to its name and arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionDelta {
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) name: Option<String>,
    /// JSON as text. In a stream, a piece of it.
    #[serde(deserialize_with = "lenient::arguments")]
    pub(crate) arguments: Option<String>,
}

#[cfg(test)]
mod tests;
