//! One run of a rig agent: its open runs, and what happens to them.
//!
//! Rig calls hooks of parallel tools side by side. A run that emits while another hook may need it
//! stands in an async mutex. A run that has only a start and an end is taken out of a map.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::lock::Mutex as AsyncMutex;
use rappel_core::{
    AgentAction, AgentFinish, CallbackManager, ChainRun, ChainStart, CustomEvent, RetrieverRun,
    RetrieverStart, RunError, ToolRun, ToolStart, Value, json,
};
use rig_agent::agent::{
    CompletionCallEvent, DispatchEvent, HookContext, InvalidToolCallContext, OutcomeEvent,
    RunSettled, RunStart, SettledOutcome,
};
use rig_core::completion::CompletionRequest;
use rig_core::effect::{EffectId, EffectKind, MemoryOp, Outcome, RetrieveQuery};
use rig_core::error::ErrorReport;
use rig_core::message::Message;

use crate::convert;
use crate::model::OpenModel;
use crate::open::{self, Asker, Opened};

/// The open runs of one run of an agent. They are dropped in this order: the agent's comes last.
pub(crate) struct AgentRun {
    calls: Mutex<HashMap<EffectId, Call>>,
    model: AsyncMutex<Option<OpenModel>>,
    /// Operations of memory before the agent's run has started.
    early: Mutex<Vec<Memory>>,
    /// The text of the last turn, and the descriptions of the tools that it was offered.
    turn: Mutex<Turn>,
    /// That the agent may ask an index, before it asks the model.
    query: Mutex<Option<Opened>>,
    agent: AsyncMutex<Agent>,
    callbacks: CallbackManager,
    model_name: Arc<str>,
}

enum Agent {
    NotStarted,
    Open(ChainRun),
    Over,
}

/// An open run that waits for its outcome.
enum Call {
    Tool(ToolRun, Opened),
    Retriever(RetrieverRun),
    Memory(ChainRun),
}

/// An operation of memory without a run.
struct Memory {
    id: EffectId,
    inputs: Value,
    started: Duration,
    outcome: Option<Result<Value, RunError>>,
}

#[derive(Default)]
struct Turn {
    text: String,
    descriptions: HashMap<String, String>,
}

impl AgentRun {
    pub(crate) fn new(callbacks: &CallbackManager, model_name: &Arc<str>) -> Self {
        Self {
            calls: Mutex::default(),
            model: AsyncMutex::new(None),
            early: Mutex::default(),
            turn: Mutex::default(),
            query: Mutex::default(),
            agent: AsyncMutex::new(Agent::NotStarted),
            callbacks: callbacks.clone(),
            model_name: model_name.clone(),
        }
    }

    pub(crate) async fn start(&self, ctx: &HookContext, event: RunStart<'_>) {
        self.open(ctx, Some(&convert::text_of(event.prompt))).await;
    }

    /// Starts the agent's run if it has not started. A run that is resumed, or that fails before its
    /// start, has no prompt.
    async fn open(&self, ctx: &HookContext, prompt: Option<&str>) {
        let mut agent = self.agent.lock().await;
        if !matches!(*agent, Agent::NotStarted) {
            return;
        }
        let early = std::mem::take(&mut *lock(&self.early));
        let mut start = ChainStart::agent(ctx.agent_name().unwrap_or("agent"));
        if let Some(prompt) = prompt {
            start = start.with_inputs(json!({"input": prompt}));
        }
        if let Some(first) = early.first() {
            start = start.with_time(first.started);
        }
        let manager = self.manager(ctx, prompt);
        let (run, _) = manager.on_chain_start(start).keep().await;
        let children = run.child();
        *agent = Agent::Open(run);
        for memory in early {
            let start = ChainStart::new("memory", memory.inputs).with_time(memory.started);
            let (run, _) = children.on_chain_start(start).keep().await;
            let _ = match memory.outcome {
                Some(Ok(outputs)) => run.end(outputs).await,
                Some(Err(error)) => run.fail(error).await,
                None => {
                    lock(&self.calls).insert(memory.id, Call::Memory(run));
                    continue;
                }
            };
        }
    }

    /// The manager for the agent's run.
    fn manager(&self, ctx: &HookContext, prompt: Option<&str>) -> CallbackManager {
        let caller = match prompt {
            Some(prompt) => open::caller_of(ctx.agent_name(), prompt),
            None => Asker::None,
        };
        let outer = match caller {
            Asker::Run(children) => Some(children),
            Asker::Unknown => None,
            Asker::None => CallbackManager::current(),
        };
        match outer {
            Some(outer) => outer.merge(&self.callbacks),
            None => self.callbacks.clone(),
        }
    }

    /// The manager for runs under the agent's. `None` if it is over.
    async fn children(&self) -> Option<CallbackManager> {
        match &*self.agent.lock().await {
            Agent::Open(run) => Some(run.child()),
            _ => None,
        }
    }

    /// Rig prepares a request. Hooks after this one may ask an index for its query.
    pub(crate) async fn prepare(&self, event: CompletionCallEvent<'_>) {
        let earlier = event.history.iter().rev();
        let query = [event.prompt].into_iter().chain(earlier).find_map(Message::rag_text);
        if let (Some(query), Agent::Open(run)) = (query, &*self.agent.lock().await) {
            *lock(&self.query) = Some(open::query(query, run));
        }
    }

    /// All hooks have prepared the request.
    pub(crate) fn prepared(&self) {
        let query = lock(&self.query).take();
        drop(query);
    }

    pub(crate) async fn dispatch(&self, ctx: &HookContext, event: DispatchEvent<'_>) {
        if let EffectKind::Memory { op } = event.kind {
            return self.memory(event.id, op).await;
        }
        self.open(ctx, None).await;
        let Some(children) = self.children().await else { return };
        match event.kind {
            EffectKind::Completion { request, stream } => {
                self.completion(&children, request, *stream).await;
            }
            EffectKind::ToolCall { name, args } => {
                let call_id = event.call_id.map(ToString::to_string);
                self.tool(&children, event.id, name, args, call_id).await;
            }
            EffectKind::Retrieve { query } => {
                let (RetrieveQuery::TopN { req } | RetrieveQuery::TopNIds { req }) = query;
                let start = RetrieverStart::new("retriever", req.query());
                let (run, _) = children.on_retriever_start(start).keep().await;
                lock(&self.calls).insert(event.id, Call::Retriever(run));
            }
            // Rig 0.44 dispatches nothing else through hooks.
            _ => {}
        }
    }

    async fn completion(
        &self,
        children: &CallbackManager,
        request: &CompletionRequest,
        stream: bool,
    ) {
        self.end_model_without_outcome().await;
        let tools = request.tools.iter();
        lock(&self.turn).descriptions =
            tools.map(|tool| (tool.name.to_string(), tool.description.clone())).collect();
        let name = request.model.as_deref().map_or_else(|| self.model_name.clone(), Arc::from);
        let start = convert::chat_model_start(name, request, stream);
        let (run, _) = children.on_chat_model_start(start).keep().await;
        *self.model.lock().await = Some(OpenModel::new(run));
    }

    async fn tool(
        &self,
        children: &CallbackManager,
        id: EffectId,
        name: &str,
        arguments: &str,
        call_id: Option<String>,
    ) {
        self.end_model_without_outcome().await;
        let inputs: Option<Value> = arguments.parse().ok();
        let (log, description) = {
            let turn = lock(&self.turn);
            (turn.text.clone(), turn.descriptions.get(name).cloned())
        };
        if let Agent::Open(run) = &mut *self.agent.lock().await {
            let input = inputs.clone().unwrap_or_else(|| arguments.into());
            let _ = run.on_agent_action(AgentAction::new(name, input, log)).await;
        }
        let mut start = ToolStart::new(name, arguments).with_tool_type("function");
        if let Some(inputs) = &inputs {
            start = start.with_inputs(inputs.clone());
        }
        if let Some(description) = description {
            start = start.with_description(description);
        }
        if let Some(call_id) = call_id {
            start = start.with_tool_call_id(call_id);
        }
        let (run, _) = children.on_tool_start(start).keep().await;
        let opened = open::tool_call(name, arguments, &run);
        lock(&self.calls).insert(id, Call::Tool(run, opened));
    }

    async fn memory(&self, id: EffectId, op: &MemoryOp) {
        let inputs = convert::memory_inputs(op);
        match self.children().await {
            Some(children) => {
                let start = ChainStart::new("memory", inputs);
                let (run, _) = children.on_chain_start(start).keep().await;
                lock(&self.calls).insert(id, Call::Memory(run));
            }
            // Rig loads the memory before the run starts.
            None => {
                let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                lock(&self.early).push(Memory { id, inputs, started, outcome: None });
            }
        }
    }

    pub(crate) async fn outcome(&self, event: OutcomeEvent<'_>) {
        if let EffectKind::Completion { .. } = event.kind {
            return self.answer(event.outcome).await;
        }
        if let EffectKind::Memory { .. } = event.kind {
            let mut early = lock(&self.early);
            if let Some(memory) = early.iter_mut().find(|memory| memory.id == event.id) {
                memory.outcome = Some(convert::memory_outcome(event.outcome));
                return;
            }
        }
        let call = lock(&self.calls).remove(&event.id);
        let ended = match call {
            Some(Call::Tool(run, _opened)) => match convert::tool_outcome(event.outcome) {
                Ok(output) => run.end(output),
                Err(error) => run.fail(error),
            },
            Some(Call::Retriever(run)) => match convert::documents(event.outcome) {
                Ok(found) => run.end(found),
                Err(error) => run.fail(error),
            },
            Some(Call::Memory(run)) => match convert::memory_outcome(event.outcome) {
                Ok(outputs) => run.end(outputs),
                Err(error) => run.fail(error),
            },
            None => return,
        };
        let _ = ended.await;
    }

    async fn answer(&self, outcome: &Result<Outcome, ErrorReport>) {
        let model = self.model.lock().await.take();
        let Some(model) = model else { return };
        match convert::answer(outcome) {
            Ok(result) => {
                lock(&self.turn).text = result.text().to_owned();
                model.end(result).await;
            }
            Err(error) => model.fail(error).await,
        }
    }

    /// Ends the model's run of a turn whose outcome rig did not tell, because rig repaired, skipped or
    /// retried a call of it.
    async fn end_model_without_outcome(&self) {
        let model = self.model.lock().await.take();
        if let Some(model) = model {
            model.end_with_what_is_known().await;
        }
    }

    /// Calls `f` with the model's run, if it is open.
    pub(crate) async fn with_model(&self, f: impl AsyncFnOnce(&mut OpenModel)) {
        if let Some(model) = &mut *self.model.lock().await {
            f(model).await;
        }
    }

    pub(crate) async fn invalid_call(&self, call: &InvalidToolCallContext) {
        if let Some(model) = &mut *self.model.lock().await {
            let known = convert::last_answer(&call.chat_history);
            lock(&self.turn).text = known.text().to_owned();
            model.keep(known);
        }
        if let Agent::Open(run) = &mut *self.agent.lock().await {
            let event = CustomEvent::new("invalid_tool_call", convert::invalid_call(call));
            let _ = run.on_custom_event(event).await;
        }
    }

    pub(crate) async fn settle(&self, ctx: &HookContext, event: RunSettled<'_>) {
        self.open(ctx, None).await;
        let model = self.model.lock().await.take();
        let failed = match event.outcome {
            SettledOutcome::Response(_) => None,
            SettledOutcome::Error(error) => Some(RunError::failed(error)),
        };
        match (model, &failed) {
            (Some(model), Some(error)) => model.fail(error.clone()).await,
            (Some(model), None) => model.end_with_what_is_known().await,
            (None, _) => {}
        }
        // What is left has no outcome: a hook has stopped the run.
        let left = std::mem::take(&mut *lock(&self.calls));
        drop(left);
        self.prepared();
        let agent = std::mem::replace(&mut *self.agent.lock().await, Agent::Over);
        let Agent::Open(mut run) = agent else { return };
        match event.outcome {
            SettledOutcome::Response(response) => {
                let text = response.output();
                let outputs = json!({"output": text});
                let _ = run.on_agent_finish(AgentFinish::new(outputs.clone(), text)).await;
                let _ = run.end(outputs).await;
            }
            SettledOutcome::Error(error) => {
                let _ = run.fail(error).await;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values are whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
