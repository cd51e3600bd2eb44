//! The Responses API: its requests, and its answers as the chunks of chat completions.
//!
//! Only the JSON differs. The client, the stream reader, the limits and the retries are those of
//! chat completions.

mod items;
mod reader;
mod request;

pub(crate) use reader::{Meaning, Reader};
pub(crate) use request::Body;

/// The API of the server that a model uses. It is set with
/// [`ChatOpenAiBuilder::api`](crate::ChatOpenAiBuilder::api).
///
/// # Where a setting goes
/// | setting | chat completions | Responses |
/// |---|---|---|
/// | path below the base URL | `chat/completions` | `responses` |
/// | messages | `messages` | `input`, a list of items |
/// | [`Message::system`](rappel_core::Message::system) | a message `system` | an item `system`; `instructions` by `extra` |
/// | text of the user | `text` parts | `input_text` parts |
/// | image | `image_url: {url, detail}` | `input_image`, with `image_url` and `detail` |
/// | tool calls of the model | `tool_calls` of the message | an item `function_call` each |
/// | result of a tool | a message `tool`, `tool_call_id` | an item `function_call_output`, `call_id` |
/// | reasoning of an earlier answer | `reasoning_content` of the message | its items `reasoning`, from `Message::extra["reasoning_items"]` |
/// | refusal of an earlier answer | `refusal` of the message | a part `refusal` |
/// | `max_tokens`, `max_completion_tokens` | the same names | `max_output_tokens` |
/// | `temperature`, `top_p`, `user` | the same names | the same names |
/// | `stop`, `seed`, `n` | the same names | an error: the API has none |
/// | `tools` | `{type, function: {name, ..}}` | `{type, name, ..}`; `strict` is `false` if it is not set |
/// | `tool_choice` of a function | `{type, function: {name}}` | `{type, name}` |
/// | `response_format` | `response_format` | `text.format` |
/// | `stream_options` | `stream_options` | only your own JSON |
/// | `extra("reasoning_effort", ..)` | `reasoning_effort` | `reasoning.effort` |
/// | `extra("verbosity", ..)` | `verbosity` | `text.verbosity` |
/// | `extra("reasoning", {effort, summary})` | as it is | `reasoning` |
/// | `store`, `include`, `previous_response_id`, `instructions` and any other `extra` | as it is | as it is |
///
/// # Reasoning between turns
/// With `extra("store", false)` the server keeps nothing. Ask for
/// `extra("include", ["reasoning.encrypted_content"])`, and the reasoning items of each answer go back
/// with the next turn, before its tool calls. With
/// [`SendReasoning::Always`](crate::SendReasoning::Always) they also go back if the server stores
/// them.
///
/// # What only Responses has
/// Items of built-in tools (search, code, files, images, MCP) are in the extra `output_items`. Events
/// that this crate does not know are in `response_events`, and annotations in `annotations`.
/// `sequence_gaps` and `sequence_repeats` in the result's `llm_output` count the events that were
/// missing, and those that came twice and were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Api {
    /// `chat/completions`, which every compatible server has.
    #[default]
    ChatCompletions,
    /// `responses`.
    Responses,
}

impl Api {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Responses => "responses",
        }
    }
}
