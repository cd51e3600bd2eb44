//! Conversions between rappel's types and those of the wire.

mod answers;
mod logprobs;
mod messages;
mod tool_calls;

pub(crate) use answers::{LlmChunks, result};
pub(crate) use messages::messages;
