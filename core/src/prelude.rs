//! What most programs need: `use rappel_tokio::prelude::*;`, or that of another runtime's adapter.

pub use crate::{
    AgentAction, AgentFinish, AsyncCallbackHandler, Background, CallOptions, CallbackHandler, CallbackManager, ChainEnd, ChainError,
    ChainStart, ChatModel, ChatModelStart, CustomEvent, Event, EventKind, HandlerError, HandlerOptions, HandlerResult, InRun,
    IntoCallbacks, LlmChunk, LlmEnd, LlmError, LlmNewToken, LlmResult, LlmStart, Message, Overflow, Pipelined, RetrieverEnd,
    RetrieverError, RetrieverStart, Retry, Role, RunError, RunInfo, Text, ToolEnd, ToolError, ToolStart, WithCallbacks, async_handler_fn,
    handler_fn,
};
