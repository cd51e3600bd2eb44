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
        let text = token.token.as_str();
        let chunk = token.chunk.as_deref();
        let beside = chunk.map_or(0, |chunk| chunk.reasoning.len() + chunk.refusal.len());
        let bytes = self.bytes.saturating_add(text.len() + beside);
        if bytes > limit {
            return;
        }
        self.bytes = bytes;
        match (chunk, &mut self.result) {
            (None, None) => self.text.push_str(text),
            (None, Some(result)) => result.push_text(text),
            (Some(chunk), result) => {
                let result = result.get_or_insert_with(|| Box::new(to_result(&mut self.text)));
                result.push_chunk(chunk);
            }
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
