//! The conversation: from rappel's messages to the wire's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rappel_core::{Content, ContentPart, Message, Role, ToolCall, Value};

use crate::error::OpenAiError;
use crate::settings::SendReasoning;
use crate::wire;

/// How a model's reasoning goes back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reasoning {
    pub(crate) send: SendReasoning,
    /// The server calls it `reasoning`, and not `reasoning_content`.
    pub(crate) short: bool,
    /// The server takes the items of Responses.
    pub(crate) items: bool,
}

/// The name of the text of a model's reasoning in [`Message::extra`].
const REASONING: &str = "reasoning_content";

/// The name of the items of reasoning, which only Responses has.
const ITEMS: &str = "reasoning_items";

/// The messages to be sent.
///
/// # Errors
/// The index of a message that cannot be sent.
pub(crate) fn messages(
    messages: &[Message],
    reasoning: Reasoning,
) -> Result<Vec<wire::Message<'_>>, OpenAiError> {
    let last_question = messages.iter().rposition(|message| message.role == Role::Human);
    let messages = messages.iter().enumerate();
    messages
        .map(|(index, said)| {
            let is_current = last_question.is_none_or(|question| index > question);
            message(said, reasoning, is_current)
                .map_err(|reason| OpenAiError::InvalidMessage { index, reason })
        })
        .collect()
}

/// `is_current`: the user has asked nothing since.
fn message(
    message: &Message,
    reasoning: Reasoning,
    is_current: bool,
) -> Result<wire::Message<'_>, &'static str> {
    if message.role == Role::Tool && message.tool_call_id.is_none() {
        return Err("is a tool's answer, and names no call");
    }
    if message.extra.keys().any(|name| wire::Message::reserves(name)) {
        return Err("has an extra field with the name of a regular field");
    }
    let calls_only = !message.tool_calls.is_empty() && says_nothing(&message.content);
    Ok(wire::Message {
        role: role(message.role)?,
        content: if calls_only { None } else { Some(content(&message.content)?) },
        name: message.name.as_deref(),
        tool_calls: message.tool_calls.iter().map(tool_call).collect::<Result<_, _>>()?,
        tool_call_id: message.tool_call_id.as_deref(),
        extra: extra(message, reasoning, is_current),
    })
}

fn extra(message: &Message, reasoning: Reasoning, is_current: bool) -> BTreeMap<&str, &Value> {
    let in_a_tool_call = is_current && !message.tool_calls.is_empty();
    let goes_back = |name: &str| match reasoning.send {
        _ if name == ITEMS && !reasoning.items => false,
        SendReasoning::Never => false,
        SendReasoning::Always => true,
        SendReasoning::Auto => name != REASONING || in_a_tool_call,
    };
    let fields = message.extra.iter().filter(|(name, _)| goes_back(name));
    let named = |name: &'_ str| reasoning.short && name == REASONING;
    fields
        .map(|(name, value)| (if named(name) { "reasoning" } else { name.as_str() }, value))
        .collect()
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
        _ => Err("has a role that this crate does not support"),
    }
}

fn content(content: &Content) -> Result<wire::Content<'_>, &'static str> {
    match content {
        Content::Text(text) => Ok(wire::Content::Text(Cow::Borrowed(text))),
        Content::Parts(parts) => {
            Ok(wire::Content::Parts(parts.iter().map(part).collect::<Result<_, _>>()?))
        }
        _ => Err("has content that this crate does not support"),
    }
}

fn part(part: &ContentPart) -> Result<wire::Part<'_>, &'static str> {
    match part {
        ContentPart::Text { text } => Ok(wire::Part::Text { text: Cow::Borrowed(text) }),
        ContentPart::ImageUrl { url, detail, .. } => Ok(wire::Part::ImageUrl {
            image_url: wire::ImageUrl { url: Cow::Borrowed(url), detail: detail.as_deref() },
        }),
        _ => Err("has a part that this crate does not support"),
    }
}

fn tool_call(call: &ToolCall) -> Result<wire::ToolCall<'_>, &'static str> {
    if call.extra.keys().any(|name| wire::ToolCall::reserves(name)) {
        return Err("has a tool call with an extra field that has the name of a regular field");
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

    fn message(said: &Message) -> Result<wire::Message<'_>, &'static str> {
        super::message(said, Reasoning::default(), true)
    }

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
        let error = messages(&stray, Reasoning::default()).unwrap_err();
        assert_eq!(error.to_string(), "message 1 is a tool's answer, and names no call");

        let mut call = ToolCall::new("add", "{}");
        call.extra.insert("id".to_owned(), json!("twice"));
        let error =
            messages(&[Message::ai("").with_tool_calls([call])], Reasoning::default()).unwrap_err();
        assert!(matches!(error, OpenAiError::InvalidMessage { index: 0, .. }), "{error:?}");
    }

    /// The extra fields of each message.
    fn sent(said: &[Message], send: SendReasoning, short: bool) -> Vec<Value> {
        let sent = messages(said, Reasoning { send, short, items: false }).unwrap();
        sent.iter().map(|message| json!(message.extra)).collect()
    }

    #[test]
    fn reasoning_goes_back_where_it_is_wanted() {
        let extra = json!({"reasoning_content": "hm", "reasoning_details": [1]});
        let extra = extra.as_object().unwrap();
        let call = || ToolCall::new("now", "{}").with_id("c1");
        let calls = Message::ai("").with_tool_calls([call()]).with_extra(extra.clone());
        let says = Message::ai("ok").with_extra(extra.clone());
        let turn = [
            Message::human("a"),
            says,
            Message::human("b"),
            calls.clone(),
            Message::tool("c1", "1"),
        ];
        let (none, all) = (json!({}), json!(extra));
        let details = json!({"reasoning_details": [1]});
        assert_eq!(
            sent(&turn, SendReasoning::Auto, false),
            [none.clone(), details.clone(), none.clone(), all.clone(), none.clone()]
        );
        assert_eq!(sent(&turn, SendReasoning::Always, false)[1], all);
        assert_eq!(sent(&turn, SendReasoning::Never, false), vec![none; 5]);
        let short = json!({"reasoning": "hm", "reasoning_details": [1]});
        assert_eq!(sent(&turn, SendReasoning::Auto, true)[3], short);
        // The turn is over.
        let later = [turn.to_vec(), vec![Message::human("c")]].concat();
        assert_eq!(sent(&later, SendReasoning::Auto, false)[3], details);

        let wrong = Message::ai("").with_extra(json!({"role": "x"}).as_object().unwrap().clone());
        messages(&[wrong], Reasoning::default()).unwrap_err();
    }
}
