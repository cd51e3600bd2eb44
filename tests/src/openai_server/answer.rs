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
    is_response: bool,
}

impl Answer {
    /// The answer of `script` to a valid request.
    pub(super) fn new(script: &Script, request: &Value) -> Self {
        let texts = || {
            let conversation = [&request["messages"], &request["input"]].into_iter();
            conversation
                .filter_map(Value::as_array)
                .flatten()
                .filter_map(|message| message["content"].as_str())
        };
        let mut reply = match &script.text {
            Text::Tokens(tokens) => Reply::of_tokens(tokens.clone()),
            Text::Given { .. } => Reply::default(),
            Text::Echo => Reply::text(texts().next_back().unwrap_or_default()),
            Text::Made(Make(make)) => make(request),
        };
        let limits = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
        let limit = limits.iter().find_map(|limit| request[*limit].as_u64());
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
            is_response: request["input"].is_array(),
        }
    }

    /// The whole answer.
    pub(super) fn whole(&self) -> Value {
        if let Some((whole, _)) = &self.given {
            return whole.clone();
        }
        if self.is_response {
            return self.response(true);
        }
        let message = self.reply.message();
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": null});
        if self.bare {
            return json!({"choices": [{"message": message, "finish_reason": self.finish_reason}], "x_extra": {"cost": 0}});
        }
        self.envelope("chat.completion", json!([choice]), self.usage())
    }

    /// Whether the request is one of the Responses API.
    pub(super) fn is_response(&self) -> bool {
        self.is_response
    }

    /// The data of each event, without the closing `[DONE]`.
    pub(super) fn events(&self) -> Vec<String> {
        match &self.given {
            Some((_, events)) => events.iter().map(Value::to_string).collect(),
            None if self.is_response => self.response_events(),
            None => self.chunks().iter().map(Value::to_string).collect(),
        }
    }

    /// The events of the Responses API. Those before the first token count as one, as do those after
    /// the last, so that a fault has the same place in either API.
    fn response_events(&self) -> Vec<String> {
        let item = |content: Value, status| json!({"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content});
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
        let text = self.reply.tokens.concat();
        let end = if self.finish_reason == "stop" { "completed" } else { "incomplete" };
        let mut events = vec![vec![
            json!({"type": "response.created", "response": self.response(false)}),
            json!({"type": "response.in_progress", "response": self.response(false)}),
            json!({"type": "response.output_item.added", "item": item(json!([]), "in_progress")}),
            json!({"type": "response.content_part.added", "part": part("")}),
        ]];
        events.extend(self.reply.tokens.iter().map(|token| {
            vec![json!({"type": "response.output_text.delta", "delta": token, "logprobs": []})]
        }));
        events.push(vec![
            json!({"type": "response.output_text.done", "text": text, "logprobs": []}),
            json!({"type": "response.content_part.done", "part": part(&text)}),
            json!({"type": "response.output_item.done", "item": item(json!([part(&text)]), end)}),
            json!({"type": format!("response.{end}"), "response": self.response(true)}),
        ]);
        for (number, event) in (0..).zip(events.iter_mut().flatten()) {
            event["sequence_number"] = json!(number);
            if event["response"].is_null() {
                event["item_id"] = json!("msg_1");
                event["output_index"] = json!(0);
                event["content_index"] = json!(0);
            }
        }
        let joined = |events: Vec<Value>| {
            let events: Vec<String> = events.iter().map(Value::to_string).collect();
            events.join("\n\ndata: ")
        };
        events.into_iter().map(joined).collect()
    }

    /// The response, when it begins or when it has ended.
    fn response(&self, ended: bool) -> Value {
        let mut response = json!({
            "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": self.model,
            "status": "in_progress", "error": null, "incomplete_details": null, "output": [], "usage": null,
        });
        if ended {
            let (input, output) = (self.prompt_tokens, self.reply.tokens.len());
            response["usage"] = json!({
                "input_tokens": input, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": input + output,
            });
            response["status"] = json!("completed");
            if self.finish_reason == "length" {
                response["status"] = json!("incomplete");
                response["incomplete_details"] = json!({"reason": "max_output_tokens"});
            }
            let part = json!({"type": "output_text", "text": self.reply.tokens.concat(), "annotations": []});
            response["output"] = json!([{"id": "msg_1", "type": "message", "status": response["status"], "role": "assistant", "content": [part]}]);
        }
        response
    }

    fn chunks(&self) -> Vec<Value> {
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
