//! Answers: from the wire's chunks to rappel's.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_util::StreamExt;
use rappel_core::{Generation, LlmChunk, LlmResult, Map, TokenUsage, ToolCallChunk, Value};

use super::beside::{Beside, news};
use super::logprobs;
use super::tool_calls::Calls;
use crate::error::OpenAiError;
use crate::memory::Memory;
use crate::secret::{Secrets, Split, Splits};
use crate::wire::{self, MOST_CHOICES};

/// The result of a whole answer, with a generation for each choice, empty ones included.
///
/// # Errors
/// Those of the stream.
pub(crate) async fn whole<S>(mut chunks: LlmChunks<S>) -> Result<LlmResult, OpenAiError>
where
    S: Stream<Item = Result<wire::Chunk, OpenAiError>> + Unpin,
{
    let mut result = LlmResult::new();
    while let Some(chunk) = chunks.next().await.transpose()? {
        result.push_chunk(&chunk);
    }
    let choices = chunks.answer.choices.len().max(result.generations.len());
    result.generations.resize_with(choices, Generation::default);
    Ok(result)
}

/// The result of one whole answer.
#[cfg(test)]
pub(crate) fn result(mut answer: wire::Chunk) -> LlmResult {
    answer.whole = true;
    let chunks = futures_util::stream::iter([Ok(answer)]);
    let result = futures_lite::future::block_on(whole(LlmChunks::new(chunks)));
    result.unwrap_or_default()
}

/// Makes a whole answer a stream of one chunk.
fn as_chunk(answer: &mut wire::Chunk) {
    by_index(&mut answer.choices);
    for choice in &mut answer.choices {
        if let Some(message) = &mut choice.message {
            message.count_calls();
            // Some servers send an empty delta with the message.
            choice.delta = None;
        }
    }
}

/// Sorts the choices by their indices if all of them differ, and removes the indices.
fn by_index(choices: &mut [wire::Choice]) {
    let mut indices: Vec<_> = choices.iter().map(|choice| choice.index).collect();
    indices.sort_unstable();
    let all_differ = indices.windows(2).all(|pair| pair[0] != pair[1]);
    if all_differ {
        choices.sort_by_key(|choice| choice.index);
    }
    choices.iter_mut().for_each(|choice| choice.index = None);
}

/// The state of an answer between two chunks.
#[derive(Debug, Default)]
struct Answer {
    /// The model's name. It is in the first chunk that has it, and not in every chunk.
    model: Option<String>,
    /// Further fields of the answer, with their last values.
    beside: Map<String, Value>,
    usage: Option<TokenUsage>,
    choices: Vec<Choice>,
    memory: Option<Arc<Memory>>,
    secrets: Secrets,
}

#[derive(Debug, Default)]
struct Choice {
    calls: Calls,
    beside: Beside,
    splits: ChoiceSplits,
}

/// The texts of a choice that come in pieces.
#[derive(Debug, Default)]
struct ChoiceSplits {
    text: Split,
    reasoning: Split,
    refusal: Split,
    extra: Splits,
    calls: Vec<CallSplits>,
}

#[derive(Debug, Default)]
struct CallSplits {
    name: Split,
    arguments: Split,
    extra: Splits,
}

impl ChoiceSplits {
    /// Replaces secrets in a chunk. `last`: nothing is held back.
    fn push(&mut self, secrets: &Secrets, chunk: &mut LlmChunk, last: bool) {
        for (split, text) in [
            (&mut self.text, &mut chunk.text),
            (&mut self.reasoning, &mut chunk.reasoning),
            (&mut self.refusal, &mut chunk.refusal),
        ] {
            if let Some(part) = split.push(secrets, text, last) {
                *text = part.into();
            }
        }
        self.extra.push(secrets, &mut chunk.extra);
        for piece in &mut chunk.tool_calls {
            let index = piece.index as usize;
            if self.calls.len() <= index {
                self.calls.resize_with(index + 1, CallSplits::default);
            }
            let call = &mut self.calls[index];
            if let Some(part) = call.arguments.push(secrets, &piece.arguments, false) {
                piece.arguments = part;
            }
            if let Some(name) = &mut piece.name {
                if let Some(part) = call.name.push(secrets, name, false) {
                    *name = part;
                }
            }
            call.extra.push(secrets, &mut piece.extra);
        }
        if !last {
            return;
        }
        self.extra.end(secrets, &mut chunk.extra);
        for (index, call) in (0..).zip(&mut self.calls) {
            let mut rest = ToolCallChunk::new(index, "");
            rest.name = call.name.end(secrets);
            rest.arguments = call.arguments.end(secrets).unwrap_or_default();
            call.extra.end(secrets, &mut rest.extra);
            if rest.name.is_some() || !rest.arguments.is_empty() || !rest.extra.is_empty() {
                chunk.tool_calls.push(rest);
            }
        }
    }
}

impl Answer {
    /// A chunk for each choice, or one chunk if there are no choices, which has the usage.
    fn take_in(&mut self, mut whole: wire::Chunk) -> Vec<LlmChunk> {
        if whole.whole {
            as_chunk(&mut whole);
        }
        let usage = whole.take_usage();
        let mut chunks: Vec<_> = whole
            .choices
            .into_iter()
            .enumerate()
            .map(|(at, choice)| self.chunk(at, choice))
            .collect();
        if chunks.is_empty() {
            chunks.push(LlmChunk::default());
        }
        let first = &mut chunks[0];
        first.usage = usage.and_then(|usage| self.merge(usage));
        first.llm_output = news(&mut self.beside, whole.rest);
        if let Some(id) = first.llm_output.get("id").and_then(Value::as_str) {
            first.response_id = Some(id.to_owned()).filter(|id| !id.is_empty());
        }
        if let Some(server) = whole.server {
            for (name, value) in server.to_output() {
                // What the answer itself says counts.
                first.llm_output.entry(name).or_insert(value);
            }
            first.request_id = server.request_id;
        }
        if whole.model.is_some() && whole.model != self.model {
            first.model_name.clone_from(&whole.model);
            self.model = whole.model;
        }
        chunks
    }

    /// The usage so far. A server may send it in parts, again and again, or with zeros at last.
    fn merge(&mut self, usage: wire::Usage) -> Option<TokenUsage> {
        match &mut self.usage {
            Some(_) if usage.is_zero() => return None,
            Some(known) => merge_usage(known, usage),
            None => self.usage = Some(new_usage(usage)),
        }
        self.usage.clone()
    }

    fn chunk(&mut self, position: usize, mut choice: wire::Choice) -> LlmChunk {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let index = choice.index.unwrap_or(position);
        let mut chunk = LlmChunk::default().with_index(index);
        let known = choice_at(&mut self.choices, index);
        let mut fields = mem::take(&mut choice.rest);
        match logprobs::read(mem::take(&mut choice.logprobs)) {
            Ok(tokens) => chunk.logprobs = tokens,
            Err(other @ Value::Object(_)) => known.beside.push_lists("logprobs", other),
            Err(other) => drop(fields.insert("logprobs".to_owned(), other)),
        }
        chunk.finish_reason = choice.finish_reason().map(Into::into);

        let has_message = choice.delta.is_some() || choice.message.is_some();
        let mut delta = choice.into_content();
        if let (Some(memory), Some(short)) = (&self.memory, delta.has_short_reasoning()) {
            memory.note_reasoning(short);
        }
        let calls = delta.take_calls();
        let single = calls.len() == 1;
        chunk.reasoning = delta.reasoning().into();
        let text = match has_message {
            true => delta.content.text,
            false => legacy_text(&mut fields),
        };
        chunk.text = text.unwrap_or_default().into();
        chunk.refusal = delta.refusal.unwrap_or_default().into();
        let calls = calls.into_iter().enumerate();
        chunk.tool_calls = calls
            .map(|(position, delta)| known.calls.piece((!single).then_some(position), delta))
            .collect();
        fields.extend(delta.rest);
        chunk.extra = known.beside.news(fields);
        if chunk.finish_reason.is_some() {
            chunk.extra.extend(known.beside.take_lists());
        }
        if self.secrets.has_any() {
            let last = chunk.finish_reason.is_some();
            known.splits.push(&self.secrets, &mut chunk, last);
        }
        chunk
    }

    /// What has been kept back and has to be said before the end.
    fn rest(&mut self) -> Vec<LlmChunk> {
        let choices = (0_u32..).zip(&mut self.choices);
        let rest = choices.map(|(index, choice)| {
            let mut chunk = LlmChunk::default().with_index(index);
            chunk.extra = choice.beside.take_lists();
            choice.splits.push(&self.secrets, &mut chunk, true);
            chunk
        });
        rest.filter(|chunk| {
            let texts = [&chunk.text, &chunk.reasoning, &chunk.refusal];
            !chunk.extra.is_empty()
                || !chunk.tool_calls.is_empty()
                || texts.iter().any(|text| !text.is_empty())
        })
        .collect()
    }
}

/// The state of a choice. An index that is too high counts as the highest, because the server's
/// data is not trusted.
fn choice_at(choices: &mut Vec<Choice>, index: u32) -> &mut Choice {
    let index = (index as usize).min(MOST_CHOICES - 1);
    if choices.len() <= index {
        choices.resize_with(index + 1, Choice::default);
    }
    &mut choices[index]
}

/// The text of a choice that has neither a delta nor a message, from a server that answers in the
/// form of OpenAI's older API.
fn legacy_text(fields: &mut Map<String, Value>) -> Option<String> {
    match fields.remove("text")? {
        Value::String(text) => Some(text),
        other => {
            fields.insert("text".to_owned(), other);
            None
        }
    }
}

fn new_usage(usage: wire::Usage) -> TokenUsage {
    let mut new = TokenUsage::default();
    merge_usage(&mut new, usage);
    new
}

/// A number that is zero or missing changes nothing.
fn merge_usage(known: &mut TokenUsage, usage: wire::Usage) {
    let or = |new: Option<u64>, known: u64| new.filter(|number| *number > 0).unwrap_or(known);
    let or_some =
        |new: Option<u64>, known: Option<u64>| new.filter(|number| *number > 0).or(known).or(new);
    known.prompt_tokens = or(usage.prompt(), known.prompt_tokens);
    known.completion_tokens = or(usage.completion(), known.completion_tokens);
    let sum = known.prompt_tokens.saturating_add(known.completion_tokens);
    known.total_tokens = or(usage.total_tokens, sum);
    known.cached_tokens = or_some(usage.cached_tokens(), known.cached_tokens);
    known.cache_write_tokens = or_some(usage.cache_write_tokens(), known.cache_write_tokens);
    known.reasoning_tokens = or_some(usage.reasoning_tokens(), known.reasoning_tokens);
    known.extra.extend(usage.rest);
}

/// A stream of rappel's chunks: one for each choice, and one for a chunk without choices, which has
/// the usage.
pub(crate) struct LlmChunks<S> {
    stream: S,
    ready: VecDeque<LlmChunk>,
    answer: Answer,
    answered: bool,
    /// The end of the stream, or its error, if something has to be said before it.
    end: Option<Option<OpenAiError>>,
}

impl<S> LlmChunks<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (ready, answer) = (VecDeque::new(), Answer::default());
        Self { stream, ready, answer, answered: false, end: None }
    }

    /// Notes what the answer tells about its server.
    pub(crate) fn with_memory(mut self, memory: Arc<Memory>) -> Self {
        self.answer.memory = Some(memory);
        self
    }

    /// Replaces secrets that the server splits over several chunks.
    pub(crate) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.answer.secrets = secrets;
        self
    }

    /// Makes `chunk` the next item again.
    pub(crate) fn put_back(&mut self, chunk: LlmChunk) {
        self.ready.push_front(chunk);
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
            let end = match this.end.take() {
                Some(end) => end,
                None => match ready!(Pin::new(&mut this.stream).poll_next(cx)) {
                    Some(Ok(whole)) => {
                        this.answered |= !whole.choices.is_empty();
                        this.ready.extend(this.answer.take_in(whole));
                        continue;
                    }
                    end => end.and_then(Result::err),
                },
            };
            // What was kept back comes before the end.
            this.ready.extend(this.answer.rest());
            if !this.ready.is_empty() {
                this.end = Some(end);
                continue;
            }
            return match end {
                Some(error) => Poll::Ready(Some(Err(error))),
                // A complete stream without any choice is not an answer.
                None if !mem::replace(&mut this.answered, true) => {
                    Poll::Ready(Some(Err(OpenAiError::NoChoices)))
                }
                None => Poll::Ready(None),
            };
        }
    }
}

#[cfg(test)]
mod tests;
