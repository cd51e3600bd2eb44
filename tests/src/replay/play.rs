//! Playing a checked program.

use std::collections::HashMap;
use std::sync::Arc;

use rappel_core::{CallbackManager, ChainRun, EmitError, LlmRun, RetrieverRun, RunId, StartError, ToolRun};

use super::log::{Log, StepLog};
use super::names::{ManagerIndex, Open, Parent, Run};
use super::program::{End, Failing, ManagerSpec, Program, Start, Step, Tell};
use super::recorder::{self, Rank};

impl Program {
    /// Plays the program on a manager that has nothing yet, and tells what each step led to.
    pub async fn play(self, callbacks: CallbackManager) -> Vec<StepLog> {
        let log = Arc::new(Log::new(self.aliases));
        // A failure that the program asked for is in the log; it is not to be reported besides.
        let mut root = dressed(callbacks.on_handler_failure(|_| {}), self.manager);
        for (place, spec) in self.handlers.into_iter().enumerate() {
            root = recorder::register(root, spec, place, &log);
        }
        let mut player = Player::new(root.clone());
        let mut logs = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            let outcome = told(player.step(step).await);
            logs.push(StepLog { outcome, saw: log.take() });
        }
        // Runs that the program left open end as cancelled now; the log is closed, so nobody reads what handlers make of that.
        drop(player);
        root.flush().await;
        logs
    }
}

/// The order is the format's: a tag that is added again moves, and is then as inheritable as its last addition.
fn dressed(callbacks: CallbackManager, spec: ManagerSpec) -> CallbackManager {
    callbacks
        .with_inheritable_tags(spec.inheritable_tags)
        .with_tags(spec.tags)
        .with_inheritable_metadata(spec.inheritable_metadata)
        .with_metadata(spec.metadata)
}

type Outcome = Result<(), EmitError>;

/// Of a handler's failure its own message, without what rappel says around it.
fn told(outcome: Outcome) -> String {
    match outcome {
        Ok(()) => "ok".to_owned(),
        Err(error) => match error.failure() {
            Some(failure) => format!("error: {}", failure.cause),
            None => format!("error: {error}"),
        },
    }
}

/// The managers that have been made, and the runs that are open.
struct Player {
    managers: Vec<CallbackManager>,
    llms: Runs<LlmRun>,
    chains: Runs<ChainRun>,
    tools: Runs<ToolRun>,
    retrievers: Runs<RetrieverRun>,
}

impl Player {
    fn new(root: CallbackManager) -> Self {
        Self {
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
            Step::Tell(what) => self.tell(what).await,
            Step::End(end) => self.end(end).await,
            Step::Fail { run, error } => self.fail(run, error).await,
        }
    }

    fn child(&self, of: Parent, tag: Option<String>) -> CallbackManager {
        match of {
            Parent::Chain(run) => self.chains.get(&run).child(tag.as_deref()),
            Parent::Tool(run) => self.tools.get(&run).child(tag.as_deref()),
            Parent::Retriever(run) => self.retrievers.get(&run).child(tag.as_deref()),
        }
        // A program's runs end by their own ends only, as with LangChain, also where their parent's comes first.
        .detached()
    }

    async fn start(&mut self, on: ManagerIndex, what: Start) -> Outcome {
        let manager = &self.managers[on];
        match what {
            Start::Llm(starts) => self.llms.keep_batch(manager.on_llm_starts(starts).await),
            Start::ChatModel(starts) => self.llms.keep_batch(manager.on_chat_model_starts(starts).await),
            Start::Chain(start) => self.chains.keep(manager.on_chain_start(start).await),
            Start::Tool(start) => self.tools.keep(manager.on_tool_start(start).await),
            Start::Retriever(start) => self.retrievers.keep(manager.on_retriever_start(start).await),
        }
    }

    async fn tell(&self, what: Tell) -> Outcome {
        match what {
            Tell::Token(run, text) => self.llms.get(&run).on_llm_new_token(text).await,
            Tell::AgentAction(run, action) => self.chains.get(&run).on_agent_action(action).await,
            Tell::AgentFinish(run, finish) => self.chains.get(&run).on_agent_finish(finish).await,
            Tell::Text(run, text) => self.chains.get(&run).on_text(text).await,
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
            Failing::Llm(run) => self.llms.take(&run).error(error).await,
            Failing::Chain(run) => self.chains.take(&run).error(error).await,
            Failing::Tool(run) => self.tools.take(&run).error(error).await,
            Failing::Retriever(run) => self.retrievers.take(&run).error(error).await,
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

    fn get(&self, run: &Open<R>) -> &R {
        self.0.get(&run.id).expect(CHECKED)
    }

    fn take(&mut self, run: &Open<R>) -> R {
        self.0.remove(&run.id).expect(CHECKED)
    }

    /// A start that raised has made its run all the same.
    fn keep(&mut self, started: Result<R, StartError<R>>) -> Outcome {
        let (run, outcome) = match started {
            Ok(run) => (run, Ok(())),
            Err(raised) => {
                let (run, error) = raised.into_parts();
                (run, Err(error))
            }
        };
        self.0.insert(run.id(), run);
        outcome
    }

    /// Of several failures, the first handler's is the outcome, whatever run it was in.
    fn keep_batch(&mut self, batch: Vec<Result<R, StartError<R>>>) -> Outcome {
        let failures = batch.into_iter().filter_map(|started| self.keep(started).err());
        failures.min_by_key(Rank::of).map_or(Ok(()), Err)
    }
}
