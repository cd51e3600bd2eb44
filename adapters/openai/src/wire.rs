//! The JSON of the chat completions API: requests and responses.
//!
//! Requests follow the specification, because servers check them. Responses are read leniently,
//! because few compatible servers follow the specification. The text of an answer must not be lost
//! because of a missing `created`.

mod lenient;
mod request;
mod response;
mod surrogates;

pub(crate) use request::{
    ChatRequest, Content, FunctionCall, ImageUrl, Message, Part, StreamOptions, ToolCall,
};
pub(crate) use response::{Choice, Chunk, MOST_CALLS, MOST_CHOICES, ToolCallDelta, Usage};
