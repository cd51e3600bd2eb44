//! Contents as the conventions write them: JSON in OpenTelemetry's, numbered attributes in
//! OpenInference's.

use opentelemetry::KeyValue;
use rappel_core::{
    Content, ContentPart, Document, FinishReason, Generation, LlmResult, Map, Message, Role,
    ToolCall, Value, json,
};

use crate::names;
use crate::settings::Settings;

/// JSON with each string redacted and cut.
pub(crate) fn clean(settings: &Settings, value: &Value) -> Value {
    match value {
        Value::String(text) => settings.text(text).into(),
        Value::Array(items) => items.iter().map(|item| clean(settings, item)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), clean(settings, value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// JSON as a text: strings without quotes.
pub(crate) fn plain(settings: &Settings, value: &Value) -> (String, &'static str) {
    match value {
        Value::String(text) => (settings.text(text).into_owned(), "text/plain"),
        other => (clean(settings, other).to_string(), "application/json"),
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Human => "user",
        Role::Ai => "assistant",
        // A role of a later version is none of the conventions' others.
        _ => "tool",
    }
}

/// The arguments of a call that a model asks for. A model may write what is not JSON.
fn arguments(settings: &Settings, call: &ToolCall) -> Value {
    match call.parse_arguments() {
        Ok(arguments) => clean(settings, &arguments),
        Err(_) => settings.text(&call.arguments).into(),
    }
}

fn image(settings: &Settings, url: &str) -> Value {
    let Some((media_type, data)) =
        url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"))
    else {
        return json!({ "type": "uri", "modality": "image", "uri": settings.text(url) });
    };
    let mut part = json!({ "type": "blob", "modality": "image", "mime_type": media_type });
    // A part of an image is of no use.
    if !settings.is_too_long(data) {
        part["content"] = data.into();
    }
    part
}

fn parts(settings: &Settings, message: &Message) -> Vec<Value> {
    let mut parts = Vec::new();
    if let Some(reasoning) = message.extra.get("reasoning_content").and_then(Value::as_str) {
        parts.push(json!({ "type": "reasoning", "content": settings.text(reasoning) }));
    }
    match (&message.tool_call_id, &message.content) {
        (Some(id), content) => {
            let response = settings.text(&content.text()).into_owned();
            parts.push(json!({ "type": "tool_call_response", "id": id, "response": response }));
        }
        (None, Content::Parts(content)) => parts.extend(content.iter().map(|part| match part {
            ContentPart::ImageUrl { url, .. } => image(settings, url),
            ContentPart::Text { text } => text_part(settings, text),
            // A part of a later version.
            _ => json!({ "type": "unknown" }),
        })),
        (None, content) if content.text().is_empty() => {}
        (None, content) => parts.push(text_part(settings, &content.text())),
    }
    parts.extend(message.tool_calls.iter().map(|call| {
        json!({
            "type": "tool_call",
            "id": call.id,
            "name": call.name,
            "arguments": arguments(settings, call),
        })
    }));
    parts
}

fn text_part(settings: &Settings, text: &str) -> Value {
    json!({ "type": "text", "content": settings.text(text) })
}

/// `gen_ai.input.messages`.
pub(crate) fn messages(settings: &Settings, messages: &[Message]) -> String {
    let message = |message: &Message| {
        let mut value = json!({ "role": role(message.role), "parts": parts(settings, message) });
        if let Some(name) = &message.name {
            value["name"] = settings.text(name).into();
        }
        value
    };
    Value::from_iter(messages.iter().map(message)).to_string()
}

/// `gen_ai.output.messages`. `None` if there is no answer.
pub(crate) fn answers(settings: &Settings, result: &LlmResult) -> Option<String> {
    let answer = |generation: &Generation| {
        let message = Message::from(generation.clone());
        let mut value = json!({ "role": "assistant", "parts": parts(settings, &message) });
        if let Some(reason) = &generation.finish_reason {
            value["finish_reason"] = finish_reason(reason).into();
        }
        value
    };
    let answers: Vec<Value> = result.generations.iter().map(answer).collect();
    (!answers.is_empty()).then(|| Value::from(answers).to_string())
}

/// The reason in the words of the schema of messages.
fn finish_reason(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::ToolCalls => "tool_call",
        other => other.as_str(),
    }
}

/// OpenInference's numbered attributes of a message.
pub(crate) fn number_message(
    settings: &Settings,
    list: &str,
    index: usize,
    message: &Message,
    attributes: &mut Vec<KeyValue>,
) {
    let at = format!("{list}.{index}.message");
    let mut push = |name: &str, value: String| {
        attributes.push(KeyValue::new(format!("{at}.{name}"), value));
    };
    push("role", role(message.role).into());
    let text = message.text();
    if !text.is_empty() {
        push("content", settings.text(&text).into_owned());
    }
    if let Some(name) = &message.name {
        push("name", settings.text(name).into_owned());
    }
    if let Some(id) = &message.tool_call_id {
        push("tool_call_id", id.clone());
    }
    for (index, call) in message.tool_calls.iter().enumerate() {
        let at = format!("tool_calls.{index}.tool_call");
        if let Some(id) = &call.id {
            push(&format!("{at}.id"), id.clone());
        }
        push(&format!("{at}.function.name"), call.name.clone());
        let arguments = match arguments(settings, call) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        push(&format!("{at}.function.arguments"), arguments);
    }
}

/// OpenInference's numbered attributes of answers.
pub(crate) fn number_answers(
    settings: &Settings,
    result: &LlmResult,
    attributes: &mut Vec<KeyValue>,
) {
    for (index, generation) in result.generations.iter().enumerate() {
        let message = Message::from(generation.clone());
        number_message(settings, names::LLM_OUTPUT_MESSAGES, index, &message, attributes);
    }
}

/// OpenInference's numbered attributes of documents.
pub(crate) fn number_documents(
    settings: &Settings,
    documents: &[Document],
    attributes: &mut Vec<KeyValue>,
) {
    for (index, document) in documents.iter().enumerate() {
        let at = format!("{}.{index}.document", names::OI_DOCUMENTS);
        let content = settings.text(&document.page_content).into_owned();
        attributes.push(KeyValue::new(format!("{at}.content"), content));
        if let Some(id) = &document.id {
            attributes.push(KeyValue::new(format!("{at}.id"), id.clone()));
        }
        if let Some(score) = document.score {
            attributes.push(KeyValue::new(format!("{at}.score"), score));
        }
        if !document.metadata.is_empty() {
            let metadata = Value::Object(document.metadata.clone());
            let metadata = clean(settings, &metadata).to_string();
            attributes.push(KeyValue::new(format!("{at}.metadata"), metadata));
        }
    }
}

/// `gen_ai.retrieval.documents`.
pub(crate) fn documents(settings: &Settings, documents: &[Document]) -> String {
    let document = |document: &Document| {
        json!({
            "id": document.id,
            "score": document.score,
            "content": settings.text(&document.page_content),
        })
    };
    Value::from_iter(documents.iter().map(document)).to_string()
}
