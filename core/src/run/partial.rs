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
    /// All of it, from the first chunk on, and the size of its text.
    result: Option<Box<(LlmResult, usize)>>,
}

impl Partial {
    /// Adds a token. Text beyond `limit` bytes is not kept.
    #[inline(always)]
    pub(super) fn push(&mut self, token: &LlmNewToken, limit: usize) {
        match (&token.chunk, &self.result) {
            (None, None) => {
                let text = token.token.as_str();
                if text.len() <= limit.saturating_sub(self.text.len()) {
                    self.text.push_str(text);
                }
            }
            _ => self.push_to_result(token, limit),
        }
    }

    #[inline(never)]
    fn push_to_result(&mut self, token: &LlmNewToken, limit: usize) {
        let text = token.token.as_str();
        let chunk = token.chunk.as_deref();
        let beside = chunk.map_or(0, |chunk| chunk.reasoning.len() + chunk.refusal.len());
        let so_far = self.result.as_ref().map_or(self.text.len(), |result| result.1);
        let bytes = so_far.saturating_add(text.len() + beside);
        if bytes > limit {
            return;
        }
        let result = self.result.get_or_insert_with(|| Box::new((to_result(&mut self.text), 0)));
        result.1 = bytes;
        match chunk {
            None => result.0.push_text(text),
            Some(chunk) => result.0.push_chunk(chunk),
        }
    }

    pub(super) fn into_result(mut self) -> LlmResult {
        match self.result {
            Some(result) => result.0,
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
