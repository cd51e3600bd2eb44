//! The conversation: from rappel's messages to the wire's.

use std::borrow::Cow;

use rappel_core::{Content, ContentPart, Message, Role, ToolCall};

use crate::error::OpenAiError;
use crate::wire;

/// The messages to be sent.
///
/// # Errors
/// The index of a message that cannot be sent.
pub(crate) fn messages(messages: &[Message]) -> Result<Vec<wire::Message<'_>>, OpenAiError> {
    let messages = messages.iter().enumerate();
    messages
        .map(|(index, said)| {
            message(said).map_err(|reason| OpenAiError::InvalidMessage { index, reason })
        })
        .collect()
}

fn message(message: &Message) -> Result<wire::Message<'_>, &'static str> {
    if message.role == Role::Tool && message.tool_call_id.is_none() {
        return Err("is a tool's answer, and names no call");
    }
    let calls_only = !message.tool_calls.is_empty() && says_nothing(&message.content);
    Ok(wire::Message {
        role: role(message.role)?,
        content: if calls_only { None } else { Some(content(&message.content)?) },
        name: message.name.as_deref(),
        tool_calls: message.tool_calls.iter().map(tool_call).collect::<Result<_, _>>()?,
        tool_call_id: message.tool_call_id.as_deref(),
    })
}

fn says_nothing(content: &Content) -> bool {
    match content {
        Content::Text(text) => text.is_empty(),
        Content::Parts(parts) => parts.is_empty(),
        _ => false,
    }
}

fn role(role: Role) -> Result<&'static str, &'static str> {
    match role {
        Role::System => Ok("system"),
        Role::Human => Ok("user"),
        Role::Ai => Ok("assistant"),
        Role::Tool => Ok("tool"),
        _ => Err("is of a role that is not known here"),
    }
}

fn content(content: &Content) -> Result<wire::Content<'_>, &'static str> {
    match content {
        Content::Text(text) => Ok(wire::Content::Text(Cow::Borrowed(text))),
        Content::Parts(parts) => {
            Ok(wire::Content::Parts(parts.iter().map(part).collect::<Result<_, _>>()?))
        }
        _ => Err("has content that is not known here"),
    }
}

fn part(part: &ContentPart) -> Result<wire::Part<'_>, &'static str> {
    match part {
        ContentPart::Text { text } => Ok(wire::Part::Text { text: Cow::Borrowed(text) }),
        ContentPart::ImageUrl { url, detail, .. } => Ok(wire::Part::ImageUrl {
            image_url: wire::ImageUrl { url: Cow::Borrowed(url), detail: detail.as_deref() },
        }),
        _ => Err("has a part that is not known here"),
    }
}

fn tool_call(call: &ToolCall) -> Result<wire::ToolCall<'_>, &'static str> {
    if call.extra.keys().any(|name| wire::ToolCall::reserves(name)) {
        return Err("has a tool call with an extra field that is one of its own");
    }
    Ok(wire::ToolCall {
        id: call.id.as_deref(),
        function: wire::FunctionCall {
            name: &call.name,
            arguments: Cow::Borrowed(&call.arguments),
        },
        extra: &call.extra,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rappel_core::json;

    use super::*;

    #[test]
    fn a_message_that_only_calls_tools_has_no_content() {
        let calls =
            Message::ai("").with_tool_calls([ToolCall::new("search", "{}").with_id("call_1")]);
        let sent = message(&calls).unwrap();
        assert!(sent.content.is_none());
        assert_eq!((sent.role, sent.tool_calls.len()), ("assistant", 1));
        assert!(message(&Message::ai("")).unwrap().content.is_some());
    }

    #[test]
    fn images_go_by_their_address_or_as_they_are() {
        let parts = vec![
            ContentPart::text("look"),
            ContentPart::image_url("https://example.org/a.png").with_detail("low"),
            ContentPart::image_data("image/png", [0, 1, 2, 255]),
        ];
        let sent = serde_json::to_value(message(&Message::human(parts)).unwrap()).unwrap();
        let expected = json!([
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC/w=="}},
        ]);
        assert_eq!(sent, json!({"role": "user", "content": expected}));
    }

    #[test]
    fn the_message_that_cannot_be_sent_is_named() {
        let stray = [Message::human("hi"), Message::new(Role::Tool, "4")];
        let error = messages(&stray).unwrap_err();
        assert_eq!(error.to_string(), "message 1 is a tool's answer, and names no call");

        let mut call = ToolCall::new("add", "{}");
        call.extra.insert("id".to_owned(), json!("twice"));
        let error = messages(&[Message::ai("").with_tool_calls([call])]).unwrap_err();
        assert!(matches!(error, OpenAiError::InvalidMessage { index: 0, .. }), "{error:?}");
    }
}
