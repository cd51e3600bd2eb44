//! The fields of OpenTelemetry's conventions for generative AI, from payloads.

use rappel_core::{LlmResult, Map, Message, Role, RunError, Value, json};
use tracing::Span;

/// Records the parameters of a model's call.
pub(crate) fn record_params(span: &Span, params: &Map<String, Value>) {
    for (name, value) in params {
        match (name.as_str(), value) {
            ("max_tokens" | "max_completion_tokens" | "max_output_tokens", value) => {
                record_integer(span, "gen_ai.request.max_tokens", value);
            }
            ("seed", value) => record_integer(span, "gen_ai.request.seed", value),
            ("n", value) if value.as_i64() != Some(1) => {
                record_integer(span, "gen_ai.request.choice.count", value);
            }
            ("temperature", value) => record_number(span, "gen_ai.request.temperature", value),
            ("top_p", value) => record_number(span, "gen_ai.request.top_p", value),
            ("frequency_penalty", value) => {
                record_number(span, "gen_ai.request.frequency_penalty", value);
            }
            ("presence_penalty", value) => {
                record_number(span, "gen_ai.request.presence_penalty", value);
            }
            ("stream", Value::Bool(true)) => {
                span.record("gen_ai.request.stream", true);
            }
            ("stop", Value::String(_)) => {
                record_json(span, "gen_ai.request.stop_sequences", &json!([value]));
            }
            ("stop", Value::Array(_)) => record_json(span, "gen_ai.request.stop_sequences", value),
            _ => {}
        }
    }
}

fn record_integer(span: &Span, name: &'static str, value: &Value) {
    if let Some(value) = value.as_i64() {
        span.record(name, value);
    }
}

fn record_number(span: &Span, name: &'static str, value: &Value) {
    if let Some(value) = value.as_f64() {
        span.record(name, value);
    }
}

/// Records JSON as text: a span's field has no structure.
pub(crate) fn record_json(span: &Span, name: &'static str, value: &Value) {
    span.record(name, value.to_string().as_str());
}

/// Records what a model has answered.
pub(crate) fn record_result(span: &Span, result: &LlmResult) {
    if let Some(model) = &result.model_name {
        span.record("gen_ai.response.model", model.as_str());
    }
    let other_id = || result.llm_output.as_ref()?.get("id")?.as_str();
    if let Some(id) = result.response_id.as_deref().or_else(other_id) {
        span.record("gen_ai.response.id", id);
    }
    let reasons = result.generations.iter().filter_map(|generation| {
        generation.finish_reason.as_ref().map(|reason| Value::from(reason.as_str()))
    });
    let reasons: Vec<Value> = reasons.collect();
    if !reasons.is_empty() {
        record_json(span, "gen_ai.response.finish_reasons", &Value::from(reasons));
    }
    let Some(usage) = &result.usage else { return };
    span.record("gen_ai.usage.input_tokens", usage.prompt_tokens);
    span.record("gen_ai.usage.output_tokens", usage.completion_tokens);
    if let Some(tokens) = usage.cached_tokens {
        span.record("gen_ai.usage.cache_read.input_tokens", tokens);
    }
    if let Some(tokens) = usage.reasoning_tokens {
        span.record("gen_ai.usage.reasoning.output_tokens", tokens);
    }
}

/// Records why a run did not end well. A run that another process goes on with has not failed.
pub(crate) fn record_error(span: &Span, error: &RunError) {
    if matches!(error, RunError::HandedOver) {
        return;
    }
    span.record("error.type", error.error_type());
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", error.to_string().as_str());
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Human => "user",
        Role::Ai => "assistant",
        // A role of a later version is none of the conventions' others.
        _ => "tool",
    }
}

/// The messages as the conventions write them.
pub(crate) fn messages(messages: &[Message]) -> Value {
    let message = |message: &Message| {
        let mut parts = Vec::new();
        let text = message.text();
        match &message.tool_call_id {
            Some(id) => {
                parts.push(json!({ "type": "tool_call_response", "id": id, "response": text }))
            }
            None if text.is_empty() => {}
            None => parts.push(json!({ "type": "text", "content": text })),
        }
        for call in &message.tool_calls {
            let arguments =
                call.parse_arguments().unwrap_or_else(|_| call.arguments.clone().into());
            parts.push(json!({
                "type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments,
            }));
        }
        json!({ "role": role(message.role), "parts": parts })
    };
    messages.iter().map(message).collect()
}

/// The answers as the conventions write them. `None` if there are none.
pub(crate) fn answers(result: &LlmResult) -> Option<Value> {
    let answer = |generation: &rappel_core::Generation| {
        let message = Message::from(generation.clone());
        let mut value = messages(&[message])[0].take();
        if !generation.reasoning.is_empty() {
            if let Some(parts) = value["parts"].as_array_mut() {
                let part = json!({ "type": "reasoning", "content": generation.reasoning });
                parts.insert(0, part);
            }
        }
        value
    };
    let answers: Vec<Value> = result.generations.iter().map(answer).collect();
    (!answers.is_empty()).then(|| answers.into())
}
