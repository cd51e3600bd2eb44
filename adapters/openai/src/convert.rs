//! Conversions between rappel's types and those of the wire.

mod answers;
mod beside;
mod logprobs;
mod messages;
mod tool_calls;

#[cfg(test)]
pub(crate) use answers::result;
pub(crate) use answers::{LlmChunks, whole};
pub(crate) use messages::{Reasoning, messages};
