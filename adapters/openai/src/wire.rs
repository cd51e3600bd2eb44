//! The JSON of the chat completions API: requests and responses.
//!
//! Requests follow the specification, because servers check them. Responses are read leniently,
//! because few compatible servers follow the specification. The text of an answer must not be lost
//! because of a missing `created`.

mod lenient;
mod mend;
mod object_end;
mod request;
mod response;
mod usage;

pub(crate) use mend::read_value;
pub(crate) use object_end::{ObjectEnd, is_whole_object};
pub(crate) use request::{
    ChatRequest, Content, FunctionCall, ImageUrl, Message, Part, StreamOptions, ToolCall,
};
pub(crate) use response::{Choice, Chunk, FunctionDelta, MOST_CALLS, MOST_CHOICES, ToolCallDelta};
pub(crate) use usage::Usage;
