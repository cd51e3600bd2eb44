//! Playing a checked program.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use rappel_core::{
    CallbackManager, ChainRun, EmitError, LlmRun, RetrieverRun, RunId, Start as Starting, ToolRun,
    Value, json,
};
use rappel_streams::{Encoder as _, Parts, SlowReader, event_stream, langchain};

use super::log::{Log, StepLog};
use super::names::{ManagerIndex, Open, Parent, Run};
use super::program::{Emit, End, Failing, ManagerSpec, Program, Start, Step};
use super::recorder::{self, Rank};

impl Program {
    /// Plays the program on a manager without handlers, and returns the log of each step.
    pub async fn play(self, callbacks: CallbackManager) -> Vec<StepLog> {
        let log = Arc::new(Log::new(self.aliases));
        // The failures that the program asks for are in the log. They need no report on standard
        // error.
        let mut root = dressed(callbacks.on_handler_failure(|_| {}), self.manager);
        let raises = self.handlers.iter().any(|handler| handler.raise_error);
        for (place, spec) in self.handlers.into_iter().enumerate() {
            root = recorder::register(root, spec, place, &log);
        }
        let mut player = Player::new(root.clone(), raises);
        let mut logs = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            let outcome = outcome_text(player.step(step).await);
            logs.push(StepLog { outcome, saw: log.take() });
        }
        // Runs that the program left open end as cancelled here. What the handlers log now is not
        // returned.
        drop(player);
        root.flush().await.expect("a program is not played inside a handler");
        logs
    }
}

impl Program {
    /// Plays the program on a manager with an event stream, and returns the events of each step
    /// as LangChain's event stream has them, by run in the order of making.
    pub async fn play_events(self, callbacks: CallbackManager) -> Vec<Vec<Value>> {
        let slow = SlowReader::Coalesce { max_bytes: usize::MAX };
        let mut stream = event_stream(self.filter).slow_reader(slow);
        let callbacks = stream.attach(&callbacks).expect("joining tokens needs no timer");
        let mut player = Player::new(dressed(callbacks, self.manager), false);
        let mut encoder = langchain();
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            // No handler of the program can fail.
            let _ = player.step(step).await;
            let mut events = Vec::new();
            while let Some(Some(item)) = stream.next().now_or_never() {
                let record = item.expect("a step has few events");
                let mut parts = Parts::default();
                encoder.encode(&record, &mut parts);
                let parts = parts.iter().map(serde_json::from_str);
                events.extend(parts.map(|part| (record.run, part.expect("a part is JSON"))));
            }
            events.sort_by_key(|(run, _)| *run);
            let named = |(_, event)| with_aliases(event, &self.aliases);
            steps.push(events.into_iter().map(named).collect());
        }
        steps
    }
}

/// An event with aliases in place of ids, under the format's names.
fn with_aliases(mut event: Value, aliases: &HashMap<RunId, String>) -> Value {
    let alias = |id: &Value| {
        let id: Option<RunId> = serde_json::from_value(id.clone()).ok();
        json!(id.and_then(|id| aliases.get(&id)))
    };
    let run = alias(&event["run_id"]);
    event["run"] = run;
    let parents = event["parent_ids"].as_array().map(|parents| parents.iter().map(alias).collect());
    event["parents"] = parents.unwrap_or_default();
    if let Some(fields) = event.as_object_mut() {
        fields.remove("run_id");
        fields.remove("parent_ids");
    }
    event
}

/// Adds tags and metadata in the format's order: a tag that is added again moves to the end, and is
/// inherited only if its last addition was inheritable.
fn dressed(callbacks: CallbackManager, spec: ManagerSpec) -> CallbackManager {
    callbacks
        .with_inheritable_tags(spec.inheritable_tags)
        .with_tags(spec.tags)
        .with_inheritable_metadata(spec.inheritable_metadata)
        .with_metadata(spec.metadata)
}

type Outcome = Result<(), EmitError>;

/// `ok`, or the handler's own message without rappel's text around it.
fn outcome_text(outcome: Outcome) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(error) => match error.failure() {
            Some(failure) => format!("error: {}", failure.cause),
            None => format!("error: {error}"),
        },
    }
}

/// The managers so far, and the open runs.
struct Player {
    /// Whether a handler's failure may come back from a start.
    raises: bool,
    managers: Vec<CallbackManager>,
    llms: Runs<LlmRun>,
    chains: Runs<ChainRun>,
    tools: Runs<ToolRun>,
    retrievers: Runs<RetrieverRun>,
}

impl Player {
    fn new(root: CallbackManager, raises: bool) -> Self {
        Self {
            raises,
            managers: vec![root],
            llms: Runs::new(),
            chains: Runs::new(),
            tools: Runs::new(),
            retrievers: Runs::new(),
        }
    }

    async fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Child { of, tag } => {
                let child = self.child(of, tag);
                self.managers.push(child);
                Ok(())
            }
            Step::CustomEvent { on, event } => self.managers[on].on_custom_event(event).await,
            Step::Start { on, what } => self.start(on, what).await,
            Step::Emit(what) => self.emit(what).await,
            Step::End(end) => self.end(end).await,
            Step::Fail { run, error } => self.fail(run, error).await,
        }
    }

    fn child(&mut self, of: Parent, tag: Option<String>) -> CallbackManager {
        match of {
            Parent::Chain(run) => self.chains.get_mut(&run).child(),
            Parent::Tool(run) => self.tools.get_mut(&run).child(),
            Parent::Retriever(run) => self.retrievers.get_mut(&run).child(),
        }
        .with_tags(tag)
        // As with LangChain, a run ends by its own end only, even if its parent ends first.
        .detached()
    }

    async fn start(&mut self, on: ManagerIndex, what: Start) -> Outcome {
        let manager = &self.managers[on];
        match what {
            // A run whose start raises in a batch is lost, but the program may go on with it.
            Start::Llm(starts) if self.raises => {
                let starts = starts.into_iter().map(|start| manager.on_llm_start(start));
                self.llms.start_each(starts).await
            }
            Start::ChatModel(starts) if self.raises => {
                let starts = starts.into_iter().map(|start| manager.on_chat_model_start(start));
                self.llms.start_each(starts).await
            }
            Start::Llm(starts) => self.llms.keep_all(manager.on_llm_starts(starts).await),
            Start::ChatModel(starts) => {
                self.llms.keep_all(manager.on_chat_model_starts(starts).await)
            }
            Start::Chain(start) => self.chains.keep(manager.on_chain_start(start).keep().await),
            Start::Tool(start) => self.tools.keep(manager.on_tool_start(start).keep().await),
            Start::Retriever(start) => {
                self.retrievers.keep(manager.on_retriever_start(start).keep().await)
            }
        }
    }

    async fn emit(&mut self, what: Emit) -> Outcome {
        match what {
            Emit::Token(run, text) => self.llms.get_mut(&run).on_llm_new_token(text).await,
            Emit::AgentAction(run, action) => {
                self.chains.get_mut(&run).on_agent_action(action).await
            }
            Emit::AgentFinish(run, finish) => {
                self.chains.get_mut(&run).on_agent_finish(finish).await
            }
            Emit::Text(run, text) => self.chains.get_mut(&run).on_text(text).await,
        }
    }

    async fn end(&mut self, end: End) -> Outcome {
        match end {
            End::Llm(run, result) => self.llms.take(&run).end(result).await,
            End::Chain(run, outputs) => self.chains.take(&run).end(outputs).await,
            End::Tool(run, output) => self.tools.take(&run).end(output).await,
            End::Retriever(run, documents) => self.retrievers.take(&run).end(documents).await,
        }
    }

    async fn fail(&mut self, run: Failing, error: String) -> Outcome {
        match run {
            Failing::Llm(run) => self.llms.take(&run).fail(error).await,
            Failing::Chain(run) => self.chains.take(&run).fail(error).await,
            Failing::Tool(run) => self.tools.take(&run).fail(error).await,
            Failing::Retriever(run) => self.retrievers.take(&run).fail(error).await,
        }
    }
}

/// The open runs of one kind.
struct Runs<R>(HashMap<RunId, R>);

const CHECKED: &str = "a checked program names open runs only";

impl<R: Run> Runs<R> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn get_mut(&mut self, run: &Open<R>) -> &mut R {
        self.0.get_mut(&run.id).expect(CHECKED)
    }

    fn take(&mut self, run: &Open<R>) -> R {
        self.0.remove(&run.id).expect(CHECKED)
    }

    /// Keeps a run, whether its start raised or not.
    fn keep(&mut self, (run, outcome): (R, Outcome)) -> Outcome {
        self.0.insert(run.id(), run);
        outcome
    }

    fn keep_all(&mut self, batch: Vec<Result<R, EmitError>>) -> Outcome {
        batch.into_iter().try_for_each(|started| self.keep((started?, Ok(()))))
    }
}

impl Runs<LlmRun> {
    /// Starts and keeps the runs in order. If several starts raise, the outcome is the failure of
    /// the first handler, in whichever run it failed.
    async fn start_each(&mut self, starts: impl Iterator<Item = Starting<LlmRun>>) -> Outcome {
        let mut failures = Vec::new();
        for start in starts {
            failures.extend(self.keep(start.keep().await).err());
        }
        failures.into_iter().min_by_key(Rank::of).map_or(Ok(()), Err)
    }
}
