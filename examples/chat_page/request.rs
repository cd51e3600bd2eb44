//! The conversations that clients send.

use rappel::{Message, Value};

/// Why a request has no answer.
pub(crate) const NO_QUESTION: &str =
    "send `messages` whose last one is of the role `user` and has a text";

/// The messages of a request of the AI SDK (`parts`) or of AG-UI (`content`). Only the texts of the
/// user and of the assistant are taken.
///
/// # Errors
/// If the last message is not a text of the user.
pub(crate) fn conversation(request: &Value) -> Result<Vec<Message>, &'static str> {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_question = |message: &Value| message["role"] == "user" && !text(message).is_empty();
    if !messages.last().is_some_and(is_question) {
        return Err(NO_QUESTION);
    }
    let message = |message: &Value| match (message["role"].as_str(), text(message)) {
        (_, text) if text.is_empty() => None,
        (Some("user"), text) => Some(Message::human(text)),
        (Some("assistant"), text) => Some(Message::ai(text)),
        _ => None,
    };
    Ok(messages.iter().filter_map(message).collect())
}

/// The question of a request for LangChain's events: an `input` that is a text, or `messages`.
///
/// # Errors
/// If there is neither.
pub(crate) fn input(request: &Value) -> Result<Vec<Message>, &'static str> {
    match request["input"].as_str() {
        Some(question) if !question.is_empty() => Ok(vec![Message::human(question)]),
        _ => conversation(request),
    }
}

fn text(message: &Value) -> String {
    let parts = [&message["parts"], &message["content"]].into_iter().filter_map(Value::as_array);
    let texts = parts.flatten().filter(|part| part["type"] == "text");
    let texts: String = texts.filter_map(|part| part["text"].as_str()).collect();
    if texts.is_empty() {
        return message["content"].as_str().unwrap_or_default().to_owned();
    }
    texts
}
