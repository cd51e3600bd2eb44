//! The names that handlers and emitters need most: `use rappel_tokio::prelude::*;`, or the prelude
//! of another adapter.

pub use crate::{
    AgentAction, AgentFinish, AsyncCallbackHandler, Awaited, Background, CallOptions,
    CallbackHandler, CallbackManager, ChainEnd, ChainError, ChainRun, ChainStart, ChatModel,
    ChatModelExt, ChatModelStart, CustomEvent, Delivery, Document, EmitError, Event, EventContext,
    EventKind, HandlerError, HandlerFailure, HandlerOptions, HandlerResult, InCurrentRun, InRun,
    Interest, LlmChunk, LlmEnd, LlmError, LlmNewToken, LlmResult, LlmRun, LlmStart, Message,
    Overflow, Pipelined, RetrieverEnd, RetrieverError, RetrieverRun, RetrieverStart, Retry, Role,
    RunError, RunId, RunInfo, Text, Token, TokenUsage, ToolEnd, ToolError, ToolRun, ToolStart,
    WithCallbacks, async_handler_fn, handler_fn,
};
