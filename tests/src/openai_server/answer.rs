//! The JSON of an answer, whole or as events.

use serde_json::{Value, json};

use super::reply::Reply;
use super::script::{Make, Script, Text};

/// An answer to one request.
pub(super) struct Answer {
    model: String,
    reply: Reply,
    finish_reason: &'static str,
    prompt_tokens: usize,
    include_usage: bool,
    bare: bool,
    given: Option<(Value, Vec<Value>)>,
}

impl Answer {
    /// The answer of `script` to a valid request.
    pub(super) fn new(script: &Script, request: &Value) -> Self {
        let texts = || {
            request["messages"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|message| message["content"].as_str())
        };
        let mut reply = match &script.text {
            Text::Tokens(tokens) => Reply::of_tokens(tokens.clone()),
            Text::Given { .. } => Reply::default(),
            Text::Echo => Reply::text(texts().next_back().unwrap_or_default()),
            Text::Made(Make(make)) => make(request),
        };
        let limit = request["max_completion_tokens"].as_u64().or(request["max_tokens"].as_u64());
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let finish_reason = if reply.tokens.len() > limit {
            "length"
        } else if reply.calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        };
        reply.tokens.truncate(limit);
        Self {
            model: request["model"].as_str().unwrap_or_default().to_owned(),
            reply,
            finish_reason,
            prompt_tokens: texts().map(|text| text.split_whitespace().count()).sum(),
            include_usage: request["stream_options"]["include_usage"] == true,
            bare: script.bare,
            given: match &script.text {
                Text::Given { whole, events } => Some((whole.clone(), events.clone())),
                _ => None,
            },
        }
    }

    /// The whole answer.
    pub(super) fn whole(&self) -> Value {
        if let Some((whole, _)) = &self.given {
            return whole.clone();
        }
        let message = self.reply.message();
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": null});
        if self.bare {
            return json!({"choices": [{"message": message, "finish_reason": self.finish_reason}], "x_extra": {"cost": 0}});
        }
        self.envelope("chat.completion", json!([choice]), self.usage())
    }

    /// The data of each event, without the closing `[DONE]`.
    pub(super) fn events(&self) -> Vec<Value> {
        if let Some((_, events)) = &self.given {
            return events.clone();
        }
        let delta = |delta: Value, finish_reason: Option<&str>| {
            if self.bare {
                let reason = finish_reason.map_or("", |_| "eos_token");
                return json!({"choices": [{"delta": delta, "finish_reason": reason}], "x_extra": true});
            }
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": null});
            self.envelope("chat.completion.chunk", json!([choice]), Value::Null)
        };
        let mut events = vec![delta(json!({"role": "assistant", "content": ""}), None)];
        events.extend(self.reply.deltas().into_iter().map(|piece| delta(piece, None)));
        let last = if self.bare { Value::Null } else { json!({}) };
        events.push(delta(last, Some(self.finish_reason)));
        if self.include_usage {
            events.push(self.envelope("chat.completion.chunk", json!([]), self.usage()));
        }
        events
    }

    fn envelope(&self, object: &str, choices: Value, usage: Value) -> Value {
        json!({
            "id": "chatcmpl-1",
            "object": object,
            "created": 1_700_000_000,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
            "usage": usage,
        })
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt_tokens, self.reply.deltas().len());
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    }
}

/// An error in OpenAI's format.
pub(super) fn error(kind: &str, code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}
