//! Rig's values as rappel's.

use std::sync::Arc;

use rappel_core::{
    ChatModelStart, ContentPart, Document, FinishReason, Generation, LlmResult, Map, Message,
    RunError, TokenUsage, ToolCall, Value, json,
};
use rig_agent::agent::{InvalidToolCallContext, InvalidToolCallReason};
use rig_core::completion::{self, CompletionRequest, CompletionResponse, Usage};
use rig_core::effect::{MemoryOp, MemoryOutcome, Outcome, RetrievedDocuments};
use rig_core::error::{ErrorKind, ErrorReport};
use rig_core::message::{
    self, AssistantContent, DocumentSourceKind, ImageDetail, MimeType, ToolResultContent,
    UserContent,
};

/// The text of a message of the user.
pub(crate) fn text_of(message: &message::Message) -> String {
    let message::Message::User { content } = message else { return String::new() };
    let texts = content.iter().filter_map(|part| match part {
        UserContent::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// A model's start. Parameters of the provider are left out, because one of them may be a secret.
pub(crate) fn chat_model_start(
    name: Arc<str>,
    request: &CompletionRequest,
    stream: bool,
) -> ChatModelStart {
    let mut messages = messages(&request.chat_history);
    if let Some(documents) = request.normalized_documents() {
        let leading =
            messages.iter().take_while(|one| one.role == rappel_core::Role::System).count();
        messages.splice(leading..leading, self::messages(&[documents]));
    }
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name.as_str(),
                "description": tool.description,
                "parameters": tool.parameters,
            }})
        })
        .collect();
    let params = [
        ("model", request.model.clone().map(Value::from)),
        ("temperature", request.temperature.map(Value::from)),
        ("max_tokens", request.max_tokens.map(Value::from)),
        ("tools", Some(Value::from(tools)).filter(|_| !request.tools.is_empty())),
        ("stream", Some(Value::Bool(stream))),
    ];
    let params =
        params.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    ChatModelStart::new(name, messages).with_invocation_params(params)
}

fn messages(messages: &[message::Message]) -> Vec<Message> {
    let mut converted = Vec::with_capacity(messages.len());
    for message in messages {
        match message {
            message::Message::System { content } => {
                converted.push(Message::system(content.as_str()))
            }
            message::Message::User { content } => user(content, &mut converted),
            message::Message::Assistant(answer) => {
                let generation = generation(&answer.content);
                converted.push(Message::ai(generation.text).with_tool_calls(generation.tool_calls));
            }
        }
    }
    converted
}

/// Rig puts the results of tools into a message of the user. Here each is a message.
fn user(content: &[UserContent], messages: &mut Vec<Message>) {
    let mut parts = Vec::new();
    for part in content {
        match part {
            UserContent::Text(text) => parts.push(ContentPart::text(text.text.as_str())),
            UserContent::Image(image) => parts.push(image_part(image)),
            UserContent::Document(document) => {
                parts.push(ContentPart::text(match &document.data {
                    DocumentSourceKind::String(text) => text.as_str(),
                    _ => "(a document)",
                }))
            }
            UserContent::Audio(_) => parts.push(ContentPart::text("(audio)")),
            UserContent::Video(_) => parts.push(ContentPart::text("(a video)")),
            UserContent::ToolResult(result) => {
                let text: String = result.content.iter().map(tool_text).collect();
                messages.push(Message::tool(result.call.wire(), text));
            }
        }
    }
    let is_text = |part: &ContentPart| matches!(part, ContentPart::Text { .. });
    match parts.as_slice() {
        [] => {}
        [ContentPart::Text { text }] => messages.push(Message::human(text.as_str())),
        parts if parts.iter().all(is_text) => messages.push(Message::human(parts.to_vec())),
        _ => messages.push(Message::human(parts)),
    }
}

fn image_part(image: &message::Image) -> ContentPart {
    let media_type = image.media_type.as_ref().map_or("image/png", MimeType::to_mime_type);
    let part = match &image.data {
        DocumentSourceKind::Url(url) => ContentPart::image_url(url.as_str()),
        DocumentSourceKind::Base64(data) => {
            ContentPart::image_url(format!("data:{media_type};base64,{data}"))
        }
        DocumentSourceKind::Raw(bytes) => ContentPart::image_data(media_type, bytes),
        _ => return ContentPart::text("(an image)"),
    };
    match image.detail {
        Some(ImageDetail::Low) => part.with_detail("low"),
        Some(ImageDetail::High) => part.with_detail("high"),
        _ => part,
    }
}

fn tool_text(content: &ToolResultContent) -> String {
    match content {
        ToolResultContent::Text(text) => text.text.clone(),
        ToolResultContent::Json { value } => value.to_string(),
        ToolResultContent::Image(_) => "(an image)".to_owned(),
    }
}

fn generation(content: &[AssistantContent]) -> Generation {
    let mut generation = Generation::default();
    for part in content {
        match part {
            AssistantContent::Text(text) => generation.text.push_str(&text.text),
            AssistantContent::Reasoning(reasoning) => {
                generation.reasoning.push_str(&reasoning.text);
            }
            AssistantContent::ToolCall(call) => {
                let function = &call.function;
                let arguments = match &function.invalid_arguments {
                    Some(raw) => raw.clone(),
                    None => Value::Object(function.arguments.clone()).to_string(),
                };
                let id = call.id.wire();
                generation
                    .tool_calls
                    .push(ToolCall::new(function.name.as_str(), arguments).with_id(id));
            }
            // Images, and what only the provider understands.
            _ => {}
        }
    }
    generation
}

/// What a model answered.
pub(crate) fn answer(outcome: &Result<Outcome, ErrorReport>) -> Result<LlmResult, RunError> {
    match outcome {
        Ok(Outcome::Completion(response)) => Ok(result(response)),
        Ok(other) => Err(unexpected(other)),
        Err(report) => Err(error(report)),
    }
}

fn result(response: &CompletionResponse) -> LlmResult {
    let mut generation = generation(&response.choice);
    generation.finish_reason = response.finish_reason().map(finish_reason);
    if let Some(error) = &response.error {
        // The provider's explanation of a refusal.
        generation.refusal.clone_from(error);
    }
    let mut result = LlmResult::new().with_generation(generation);
    result.usage = usage(&response.usage);
    let origin = &response.origin;
    let model = origin.response_model.as_ref().unwrap_or(&origin.model);
    result.model_name = Some(model.clone()).filter(|model| !model.is_empty());
    result.response_id.clone_from(&origin.response_id);
    result.request_id.clone_from(&response.provider_request_id);
    result
}

/// What the last message of the model says.
pub(crate) fn last_answer(history: &[message::Message]) -> LlmResult {
    let last = history.iter().rev().find_map(|message| match message {
        message::Message::Assistant(answer) => Some(generation(&answer.content)),
        _ => None,
    });
    LlmResult::new().with_generation(last.unwrap_or_default())
}

fn finish_reason(reason: completion::FinishReason) -> FinishReason {
    match reason {
        completion::FinishReason::Stop => FinishReason::Stop,
        completion::FinishReason::Length => FinishReason::Length,
        completion::FinishReason::ToolCalls => FinishReason::ToolCalls,
        completion::FinishReason::ContentFilter => FinishReason::ContentFilter,
        completion::FinishReason::Other(other) => FinishReason::Other(other),
        _ => FinishReason::Other("unknown".to_owned()),
    }
}

/// `None` if the provider counts nothing.
fn usage(usage: &Usage) -> Option<TokenUsage> {
    let counted = [usage.input_tokens, usage.output_tokens, usage.total_tokens];
    if counted.iter().all(Option::is_none) {
        return None;
    }
    let [input, output, total] = counted;
    let mut counts = TokenUsage::new(input.unwrap_or_default(), output.unwrap_or_default());
    counts.total_tokens = total.unwrap_or(counts.total_tokens);
    counts.cached_tokens = usage.cached_input_tokens;
    counts.cache_write_tokens = usage.cache_creation_input_tokens;
    counts.reasoning_tokens = usage.reasoning_tokens;
    Some(counts)
}

/// What a tool returned to the model. A tool that was not run, because a hook denied it, is an error.
pub(crate) fn tool_outcome(outcome: &Result<Outcome, ErrorReport>) -> Result<Value, RunError> {
    let result = match outcome {
        Ok(Outcome::ToolResult { result }) => result,
        Ok(other) => return Err(unexpected(other)),
        Err(report) => return Err(error(report)),
    };
    if let Some(cause) = result.error().or_else(|| result.refusal()) {
        let kind = cause.kind().as_str();
        return Err(RunError::failed(cause.clone()).with_type(kind));
    }
    let output = result.output();
    if result.is_skipped() {
        let reason = format!("the tool was skipped: {}", output.render());
        return Err(RunError::failed(reason).with_type("skipped"));
    }
    Ok(match (output.as_text(), output.as_json()) {
        (Some(text), _) => text.into(),
        (None, Some(value)) => value.clone(),
        (None, None) => output.as_content().iter().map(tool_text).collect::<String>().into(),
    })
}

pub(crate) fn documents(outcome: &Result<Outcome, ErrorReport>) -> Result<Vec<Document>, RunError> {
    match outcome {
        Ok(Outcome::Documents(RetrievedDocuments::Scored(found))) => {
            Ok(found.iter().map(|(score, id, value)| document(*score, id, value)).collect())
        }
        Ok(Outcome::Documents(RetrievedDocuments::Ids(found))) => {
            let of_id = |(score, id): &(f64, String)| {
                Document::new("").with_id(id.as_str()).with_score(*score)
            };
            Ok(found.iter().map(of_id).collect())
        }
        Ok(other) => Err(unexpected(other)),
        Err(report) => Err(error(report)),
    }
}

pub(crate) fn document(score: f64, id: &str, document: &Value) -> Document {
    let text = match document {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Document::new(text).with_id(id).with_score(score)
}

pub(crate) fn memory_inputs(op: &MemoryOp) -> Value {
    match op {
        MemoryOp::Load { conversation } => {
            json!({"op": "load", "conversation": conversation.to_string()})
        }
        MemoryOp::Append { conversation, messages } => json!({
            "op": "append", "conversation": conversation.to_string(), "messages": messages.len(),
        }),
        MemoryOp::Clear { conversation } => {
            json!({"op": "clear", "conversation": conversation.to_string()})
        }
    }
}

pub(crate) fn memory_outcome(outcome: &Result<Outcome, ErrorReport>) -> Result<Value, RunError> {
    match outcome {
        Ok(Outcome::Memory(MemoryOutcome::Loaded { messages })) => {
            Ok(json!({"messages": messages.len()}))
        }
        Ok(Outcome::Memory(MemoryOutcome::Appended | MemoryOutcome::Cleared)) => {
            Ok(Map::new().into())
        }
        Ok(other) => Err(unexpected(other)),
        Err(report) => Err(error(report)),
    }
}

pub(crate) fn invalid_call(call: &InvalidToolCallContext) -> Value {
    let reason = match &call.reason {
        InvalidToolCallReason::UnknownTool => "unknown_tool",
        InvalidToolCallReason::DisallowedByToolChoice => "disallowed_by_tool_choice",
        InvalidToolCallReason::MalformedArguments { .. } => "malformed_arguments",
        _ => "other",
    };
    json!({
        "tool": call.tool_name,
        "tool_call_id": call.tool_call_id.as_ref().map(ToString::to_string),
        "arguments": call.args,
        "reason": reason,
    })
}

/// The type of the error is rig's kind.
pub(crate) fn error(report: &ErrorReport) -> RunError {
    match report.kind {
        ErrorKind::Cancelled => RunError::Cancelled,
        kind => RunError::failed(report.message.as_str()).with_type(kind.code()),
    }
}

fn unexpected(outcome: &Outcome) -> RunError {
    RunError::failed(format!("a handler of rig answered with {}", outcome.family()))
}
