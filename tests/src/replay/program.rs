//! A checked program.

use std::collections::{BTreeMap, HashMap};

use rappel_core::{
    AgentAction, AgentFinish, ChainRun, ChainStart, ChatModelStart, CustomEvent, Document,
    EventKind, Interest, LlmResult, LlmRun, LlmStart, Map, RetrieverRun, RetrieverStart, RunId,
    ToolRun, ToolStart, Value,
};
use rappel_streams::EventFilter;

use super::names::{ManagerIndex, Open, Parent};

/// A checked callback program: every name in it stands for something of the right kind.
#[derive(Debug)]
pub struct Program {
    pub(super) handlers: Vec<HandlerSpec>,
    pub(super) manager: ManagerSpec,
    /// What an event stream of the program has.
    pub(super) filter: EventFilter,
    pub(super) steps: Vec<Step>,
    pub(super) aliases: HashMap<RunId, String>,
}

#[derive(Debug)]
pub(super) struct HandlerSpec {
    pub(super) id: String,
    pub(super) kind: HandlerKind,
    pub(super) implements: Interest,
    pub(super) interest: Interest,
    pub(super) run_inline: bool,
    pub(super) inherit: bool,
    pub(super) raise_error: bool,
    pub(super) fail_on: BTreeMap<EventKind, u64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum HandlerKind {
    Sync,
    Async,
}

#[derive(Debug, Default)]
pub(super) struct ManagerSpec {
    pub(super) inheritable_tags: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) inheritable_metadata: Map<String, Value>,
    pub(super) metadata: Map<String, Value>,
}

/// One step, with rappel's own payloads. A start's payload carries the id that the alias stands
/// for.
#[derive(Debug)]
pub(super) enum Step {
    /// Makes the next manager.
    Child {
        of: Parent,
        tag: Option<String>,
    },
    Start {
        on: ManagerIndex,
        what: Start,
    },
    Emit(Emit),
    End(End),
    Fail {
        run: Failing,
        error: String,
    },
    CustomEvent {
        on: ManagerIndex,
        event: CustomEvent,
    },
}

#[derive(Debug)]
pub(super) enum Start {
    Llm(Vec<LlmStart>),
    ChatModel(Vec<ChatModelStart>),
    Chain(ChainStart),
    Tool(ToolStart),
    Retriever(RetrieverStart),
}

/// An event that does not end its run.
#[derive(Debug)]
pub(super) enum Emit {
    Token(Open<LlmRun>, String),
    AgentAction(Open<ChainRun>, AgentAction),
    AgentFinish(Open<ChainRun>, AgentFinish),
    Text(Open<ChainRun>, String),
}

#[derive(Debug)]
pub(super) enum End {
    Llm(Open<LlmRun>, LlmResult),
    Chain(Open<ChainRun>, Value),
    Tool(Open<ToolRun>, Value),
    Retriever(Open<RetrieverRun>, Vec<Document>),
}

/// A run that ends with an error.
#[derive(Debug)]
pub(super) enum Failing {
    Llm(Open<LlmRun>),
    Chain(Open<ChainRun>),
    Tool(Open<ToolRun>),
    Retriever(Open<RetrieverRun>),
}
