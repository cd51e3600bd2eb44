//! Answers: from the wire's chunks to rappel's.

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rappel_core::{Generation, LlmChunk, LlmResult, Map, TokenUsage, Value};

use super::logprobs;
use super::tool_calls::Calls;
use crate::error::OpenAiError;
use crate::wire::{self, MOST_CHOICES};

/// The result of a whole answer, with a generation for each choice.
pub(crate) fn result(mut answer: wire::Chunk) -> LlmResult {
    by_index(&mut answer.choices);
    for choice in &mut answer.choices {
        if let Some(message) = &mut choice.message {
            message.count_calls();
            // Some servers send an empty delta with the message.
            choice.delta = None;
        }
    }
    let mut result = LlmResult::new();
    result.generations.resize_with(answer.choices.len(), Generation::default);
    // A whole answer is converted as a stream of one chunk.
    for chunk in Answer::default().take_in(answer) {
        result.push_chunk(&chunk);
    }
    result
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
    /// Further fields of the answer. Each value is in one chunk only.
    beside: Map<String, Value>,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    calls: Calls,
    beside: Map<String, Value>,
}

impl Answer {
    /// A chunk for each choice, or one chunk if there are no choices, which has the usage.
    fn take_in(&mut self, whole: wire::Chunk) -> Vec<LlmChunk> {
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
        first.usage = whole.usage.filter(wire::Usage::counts).map(usage);
        first.llm_output = news(&mut self.beside, whole.rest);
        if whole.model.is_some() && whole.model != self.model {
            first.model_name.clone_from(&whole.model);
            self.model = whole.model;
        }
        chunks
    }

    fn chunk(&mut self, position: usize, mut choice: wire::Choice) -> LlmChunk {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let index = choice.index.unwrap_or(position);
        let mut chunk = LlmChunk::default().with_index(index);
        let known = self.choice(index);
        chunk.extra = news(&mut known.beside, mem::take(&mut choice.rest));
        match logprobs::read(mem::take(&mut choice.logprobs)) {
            Ok(tokens) => chunk.logprobs = tokens,
            Err(other) => drop(chunk.extra.insert("logprobs".to_owned(), other)),
        }
        chunk.finish_reason = choice.finish_reason.take().map(Into::into);

        let mut delta = choice.into_content();
        let calls = delta.take_calls().into_iter().enumerate();
        chunk.reasoning = delta.reasoning().into();
        chunk.text = delta.content.text.unwrap_or_default().into();
        chunk.refusal = delta.refusal.unwrap_or_default().into();
        chunk.tool_calls =
            calls.map(|(position, delta)| known.calls.piece(position, delta)).collect();
        chunk.extra.extend(delta.rest);
        chunk
    }

    /// The state of a choice. An index that is too high counts as the highest, because the server's
    /// data is not trusted.
    fn choice(&mut self, index: u32) -> &mut Choice {
        let index = (index as usize).min(MOST_CHOICES - 1);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        &mut self.choices[index]
    }
}

/// The fields that are new or have changed. Servers repeat `id` and `system_fingerprint` with every
/// chunk.
fn news(known: &mut Map<String, Value>, said: Map<String, Value>) -> Map<String, Value> {
    let mut news = Map::new();
    for (name, value) in said {
        if known.get(&name) != Some(&value) {
            known.insert(name.clone(), value.clone());
            news.insert(name, value);
        }
    }
    news
}

fn usage(usage: wire::Usage) -> TokenUsage {
    let (prompt, completion) =
        (usage.prompt_tokens.unwrap_or_default(), usage.completion_tokens.unwrap_or_default());
    let mut converted = TokenUsage::new(prompt, completion);
    converted.total_tokens = usage.total_tokens.unwrap_or(converted.total_tokens);
    converted.cached_tokens = usage.cached_tokens();
    converted.reasoning_tokens = usage.reasoning_tokens();
    converted.extra = usage.rest;
    converted
}

/// A stream of rappel's chunks: one for each choice, and one for a chunk without choices, which has
/// the usage.
pub(crate) struct LlmChunks<S> {
    stream: S,
    ready: VecDeque<LlmChunk>,
    answer: Answer,
    answered: bool,
}

impl<S> LlmChunks<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ready: VecDeque::new(), answer: Answer::default(), answered: false }
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
                Some(Ok(whole)) => {
                    this.answered |= !whole.choices.is_empty();
                    this.ready.extend(this.answer.take_in(whole));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // A complete stream without any choice is not an answer.
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
mod tests;
