//! The result of a model's run as far as its tokens have come.

use alloc::boxed::Box;
use alloc::string::String;

use crate::model::event::LlmNewToken;
use crate::model::result::LlmResult;

/// What a model's tokens make together.
#[derive(Default)]
pub(super) struct Partial {
    /// The text, while no token had a chunk.
    text: String,
    result: Option<Box<LlmResult>>,
    /// The size of the text.
    bytes: usize,
}

impl Partial {
    /// Adds a token. Text beyond `limit` bytes is not kept.
    #[inline]
    pub(super) fn push(&mut self, token: &LlmNewToken, limit: usize) {
        if token.chunk.is_some() || self.result.is_some() {
            self.push_to_result(token, limit);
            return;
        }
        let text = token.token.as_str();
        let bytes = self.bytes.saturating_add(text.len());
        if bytes <= limit {
            self.bytes = bytes;
            self.text.push_str(text);
        }
    }

    #[cold]
    fn push_to_result(&mut self, token: &LlmNewToken, limit: usize) {
        let more = match &token.chunk {
            None => token.token.as_str().len(),
            Some(chunk) => token.token.as_str().len() + chunk.reasoning.len() + chunk.refusal.len(),
        };
        let bytes = self.bytes.saturating_add(more);
        if bytes > limit {
            return;
        }
        self.bytes = bytes;
        let text = &mut self.text;
        let result = self.result.get_or_insert_with(|| Box::new(to_result(text)));
        match &token.chunk {
            None => result.push_text(token.token.as_str()),
            Some(chunk) => result.push_chunk(chunk),
        }
    }

    pub(super) fn into_result(mut self) -> LlmResult {
        match self.result {
            Some(result) => *result,
            None => to_result(&mut self.text),
        }
    }
}

fn to_result(text: &mut String) -> LlmResult {
    match text.is_empty() {
        true => LlmResult::new(),
        false => LlmResult::from_text(core::mem::take(text)),
    }
}
