//! Between what rappel says and what the wire says.

mod answers;
mod logprobs;
mod messages;
mod tool_calls;

pub(crate) use answers::{LlmChunks, result};
pub(crate) use messages::messages;
