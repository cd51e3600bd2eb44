//! The JSON of the chat completions API, as it is sent and as it comes back.
//!
//! What we send is strict, since servers check it. What comes back is read
//! leniently: of the servers that call themselves compatible hardly one sends
//! what the specification says, and the text of an answer must not be lost over
//! a missing `created`.

mod lenient;
mod request;
mod response;
mod surrogates;

pub(crate) use request::{ChatRequest, Content, FunctionCall, ImageUrl, Message, Part, StreamOptions, ToolCall};
pub(crate) use response::{Choice, Chunk, MOST_CALLS, MOST_CHOICES, ToolCallDelta, Usage};
