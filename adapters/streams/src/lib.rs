#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod buffer;
pub mod check;
mod drive;
pub mod encode;
mod events;
mod feed;
mod filter;
mod sse;
mod tokens;

pub use buffer::{Lagged, SlowReader};
pub use drive::Drive;
pub use encode::{
    AgUi, Encoder, LangChain, Parts, UiMessageStream, ag_ui, langchain, ui_message_stream,
};
pub use events::{EventStream, ReaderGone, event_stream};
pub use feed::EventFeed;
pub use filter::EventFilter;
pub use sse::{HEARTBEAT, Heartbeat, SSE_HEADERS, Sse, UI_MESSAGE_STREAM_HEADERS, sse_frame};
pub use tokens::{Answer, TokenError, TokenStream, token_stream};
