//! Between what rappel says and what the wire says.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rappel_core::{Content, ContentPart, Generation, LlmChunk, LlmResult, Message, Role, TokenUsage, ToolCall, ToolCallChunk, Value};

use crate::error::OpenAiError;
use crate::wire;

pub(crate) fn message(message: &Message) -> wire::Message<'_> {
    let calls_only = !message.tool_calls.is_empty() && message.text().is_empty();
    wire::Message {
        role: match message.role {
            Role::System => "system",
            Role::Ai => "assistant",
            Role::Tool => "tool",
            _ => "user",
        },
        content: (!calls_only).then(|| content(&message.content)),
        name: message.name.as_deref(),
        tool_calls: message.tool_calls.iter().map(tool_call).collect(),
        tool_call_id: message.tool_call_id.as_deref(),
    }
}

fn content(content: &Content) -> wire::Content<'_> {
    match content {
        Content::Text(text) => wire::Content::Text(Cow::Borrowed(text)),
        Content::Parts(parts) => wire::Content::Parts(parts.iter().filter_map(part).collect()),
        other => wire::Content::Text(other.text()),
    }
}

fn part(part: &ContentPart) -> Option<wire::Part<'_>> {
    match part {
        ContentPart::Text { text } => Some(wire::Part::Text { text: Cow::Borrowed(text) }),
        ContentPart::ImageUrl { url } => Some(wire::Part::ImageUrl {
            image_url: wire::ImageUrl {
                url: Cow::Borrowed(url),
                detail: None,
            },
        }),
        _ => None,
    }
}

fn tool_call(call: &ToolCall) -> wire::ToolCall<'_> {
    wire::ToolCall {
        id: call.id.as_deref().unwrap_or_default(),
        function: wire::FunctionCall {
            name: &call.name,
            arguments: Cow::Borrowed(&call.arguments),
        },
    }
}

/// The result that a whole answer holds.
pub(crate) fn result(answer: wire::Chunk) -> LlmResult {
    let mut result = LlmResult::new();
    result.usage = answer.usage.as_ref().map(usage);
    result.model_name = answer.model;
    result.generations = answer.choices.iter().map(generation).collect();
    result
}

fn generation(choice: &wire::Choice) -> Generation {
    // A whole answer is a stream of one chunk.
    let mut result = LlmResult::new();
    let mut only = chunk(choice, 0);
    only.index = 0;
    result.push_chunk(&only);
    result.generations.pop().unwrap_or_default()
}

fn chunk(choice: &wire::Choice, position: usize) -> LlmChunk {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let mut chunk = LlmChunk::default().with_index(choice.index.unwrap_or(position));
    if let Some(reason) = choice.finish_reason.as_deref() {
        chunk = chunk.with_finish_reason(reason);
    }
    let Some(delta) = choice.content() else { return chunk };
    chunk.text = delta.content.as_deref().unwrap_or_default().into();
    chunk.tool_calls = delta.tool_calls.iter().enumerate().map(tool_call_chunk).collect();
    for (key, text) in [("refusal", delta.refusal.as_deref()), ("reasoning_content", delta.reasoning())] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            chunk.extra.insert(key.to_owned(), Value::from(text));
        }
    }
    chunk
}

fn tool_call_chunk((position, delta): (usize, &wire::ToolCallDelta)) -> ToolCallChunk {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    let function = delta.function.as_ref();
    let arguments = function.and_then(|function| function.arguments.as_deref()).unwrap_or_default();
    let mut chunk = ToolCallChunk::new(delta.index.unwrap_or(position), arguments);
    chunk.id = delta.id.clone();
    chunk.name = function.and_then(|function| function.name.clone());
    chunk
}

fn usage(usage: &wire::Usage) -> TokenUsage {
    let (prompt, completion) = (usage.prompt_tokens.unwrap_or_default(), usage.completion_tokens.unwrap_or_default());
    let mut converted = TokenUsage::new(prompt, completion);
    converted.total_tokens = usage.total_tokens.unwrap_or(converted.total_tokens);
    converted.cached_tokens = usage.cached_tokens();
    converted.reasoning_tokens = usage.reasoning_tokens();
    converted
}

/// A stream of the wire's chunks as rappel's: one for each choice, and one for a chunk without choices, which holds the usage.
pub(crate) struct LlmChunks<S> {
    stream: S,
    ready: VecDeque<LlmChunk>,
    /// The model that has been told of: it is told once, not with every chunk.
    model: Option<String>,
    answered: bool,
}

impl<S> LlmChunks<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            ready: VecDeque::new(),
            model: None,
            answered: false,
        }
    }

    fn take_in(&mut self, whole: wire::Chunk) {
        self.answered |= !whole.choices.is_empty();
        let chunks = whole.choices.iter().enumerate().map(|(position, choice)| chunk(choice, position));
        self.ready.extend(chunks);
        if self.ready.is_empty() {
            self.ready.push_back(LlmChunk::default());
        }
        let Some(first) = self.ready.front_mut() else { return };
        first.usage = whole.usage.as_ref().map(usage);
        if whole.model.is_some() && whole.model != self.model {
            first.model_name.clone_from(&whole.model);
            self.model = whole.model;
        }
    }
}

impl<S: Stream<Item = Result<wire::Chunk, OpenAiError>> + Unpin> Stream for LlmChunks<S> {
    type Item = Result<LlmChunk, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                Some(Ok(whole)) => this.take_in(whole),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // A stream that says it is done, and said nothing else: an answer must be told from none.
                None if !this.answered => {
                    this.answered = true;
                    return Poll::Ready(Some(Err(OpenAiError::NoChoices)));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::{StreamExt, future::block_on, stream};

    use super::*;

    #[test]
    fn a_stream_that_is_done_and_said_nothing_is_no_answer() {
        let mut chunks = LlmChunks::new(stream::empty());
        let error = block_on(chunks.next());
        assert!(matches!(error, Some(Err(OpenAiError::NoChoices))), "{error:?}");
        assert!(block_on(chunks.next()).is_none());
    }

    #[test]
    fn a_message_that_only_calls_tools_has_no_content() {
        let calls = Message::ai("").with_tool_calls([ToolCall::new("search", "{}").with_id("call_1")]);
        let sent = super::message(&calls);
        assert!(sent.content.is_none());
        assert_eq!((sent.role, sent.tool_calls.len()), ("assistant", 1));
        assert!(super::message(&Message::ai("")).content.is_some());
    }
}
