//! A log of all events, a model server, and tools.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use rappel_core::{
    Awaited, CallbackManager, Event, EventContext, HandlerResult, LlmResult, Message, RunError,
    RunId, RunInfo, Value, handler_fn,
};
use rappel_tests::openai_server::{Reply, Script, Server};
use rappel_tokio::Tokio;
use rig_agent::agent::StreamingResult;
use rig_core::driver::Model;
use rig_core::providers::openai::OpenAIConfig;
use rig_core::providers::openai::wire::Chat;
use rig_core::tool::{Tool, ToolContext, ToolExecutionError};
use rig_core::vector_store::request::{Filter, VectorSearchRequest};
use rig_core::vector_store::{
    VectorSearchIdResult, VectorSearchResult, VectorStoreError, VectorStoreIndex,
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// What a handler got, in order. A line is indented by the depth of its run.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

/// A run and its lines.
type Run = (Arc<RunInfo>, Vec<String>);

struct Line {
    run: Arc<RunInfo>,
    sequence: Option<u64>,
    text: String,
}

impl Log {
    pub(crate) fn handler(
        &self,
    ) -> impl rappel_core::CallbackHandler + rappel_core::SendHandler + use<> {
        let lines = self.0.clone();
        handler_fn(move |event: &Event, cx: &EventContext| -> HandlerResult {
            let depth = "  ".repeat(cx.parents().count());
            let line = format!("{depth}{}.{}", cx.name(), event.kind());
            let text = format!("{line} {}", detail(event)).trim_end().to_owned();
            let line = Line { run: cx.run().clone(), sequence: cx.sequence(), text };
            lines.lock().unwrap().push(line);
            Ok(())
        })
    }

    /// The runs in the order of their starts, each with its lines. The events of a run have the
    /// numbers 0, 1, 2, and so on.
    #[track_caller]
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for Line { run, sequence, text } in self.0.lock().unwrap().iter() {
            let at = runs.iter().position(|(known, _)| known.id() == run.id());
            let at = at.unwrap_or_else(|| {
                runs.push((run.clone(), Vec::new()));
                runs.len() - 1
            });
            assert_eq!(*sequence, Some(runs[at].1.len() as u64), "{text}");
            runs[at].1.push(text.clone());
        }
        runs
    }

    /// All lines.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.runs();
        self.0.lock().unwrap().iter().map(|line| line.text.clone()).collect()
    }

    /// The lines of each trace, in the order of the traces' starts.
    #[track_caller]
    pub(crate) fn traces(&self) -> Vec<Vec<String>> {
        let runs = self.runs();
        let roots = runs.iter().filter(|(run, _)| run.parent_id().is_none());
        let lines = self.0.lock().unwrap();
        let of_root = |root: RunId| {
            let lines = lines.iter().filter(|line| line.run.root_id() == root);
            lines.map(|line| line.text.clone()).collect()
        };
        roots.map(|(root, _)| of_root(root.id())).collect()
    }

    /// The lines of each trace by its runs: those of a run, and then those of its children. Runs
    /// with the same parent are sorted by their lines, so that it is the same however they overlap.
    #[track_caller]
    pub(crate) fn trees(&self) -> Vec<Vec<String>> {
        let runs = self.runs();
        let roots = runs.iter().filter(|(run, _)| run.parent_id().is_none());
        roots.map(|root| tree(root, &runs)).collect()
    }

    /// Panics if the lines are not exactly these.
    #[track_caller]
    pub(crate) fn assert(&self, expected: &[&str]) {
        assert_lines(&self.lines(), expected);
    }
}

/// The lines of a run and of the runs below it.
fn tree((run, lines): &Run, runs: &[Run]) -> Vec<String> {
    let children = runs.iter().filter(|(child, _)| child.parent_id() == Some(run.id()));
    let mut children: Vec<Vec<String>> = children.map(|child| tree(child, runs)).collect();
    children.sort();
    [lines.clone(), children.concat()].concat()
}

#[track_caller]
pub(crate) fn assert_lines(lines: &[String], expected: &[&str]) {
    let printed = lines.iter().fold(String::new(), |mut all, line| {
        writeln!(all, "{line:?},").unwrap();
        all
    });
    assert!(lines == expected, "the events are:\n{printed}");
}

fn detail(event: &Event) -> String {
    match event {
        Event::ChainStart(start) if start.agent => format!("agent {}", start.inputs),
        Event::ChainStart(start) => start.inputs.to_string(),
        Event::ChainEnd(end) => end.outputs.to_string(),
        Event::ChainError(end) => error(&end.error),
        Event::ChatModelStart(start) => {
            let messages: Vec<String> = start.messages.iter().map(message).collect();
            messages.join(" | ")
        }
        Event::LlmNewToken(token) => {
            let mut text = match token.token.is_empty() {
                true => String::new(),
                false => format!("{:?}", token.token),
            };
            if !token.reasoning().is_empty() {
                write!(text, "thinks {:?}", token.reasoning()).unwrap();
            }
            for call in token.tool_calls() {
                let name = call.name.as_deref().unwrap_or_default();
                write!(text, "#{} {name}({})", call.index, call.arguments).unwrap();
            }
            text
        }
        Event::LlmEnd(end) => answer(&end.result),
        Event::LlmError(end) => {
            format!("{}; until then: {}", error(&end.error), answer(&end.partial))
        }
        Event::ToolStart(start) => {
            format!("{} {}", start.input, start.tool_call_id.as_deref().unwrap_or("-"))
        }
        Event::ToolEnd(end) => {
            format!("{} {}", end.output, end.tool_call_id.as_deref().unwrap_or("-"))
        }
        Event::ToolError(end) => error(&end.error),
        Event::AgentAction(action) => format!("{} {}", action.tool, action.tool_input),
        Event::AgentFinish(finish) => finish.return_values.to_string(),
        Event::RetrieverStart(start) => start.query.clone(),
        Event::RetrieverEnd(end) => {
            let documents = end.documents.iter();
            let documents: Vec<String> = documents
                .map(|one| format!("{}:{}", one.id.as_deref().unwrap_or("-"), one.page_content))
                .collect();
            documents.join(" | ")
        }
        Event::RetrieverError(end) => error(&end.error),
        Event::CustomEvent(custom) => format!("{} {}", custom.name, custom.data),
        _ => String::new(),
    }
}

fn error(error: &RunError) -> String {
    format!("{error} ({})", error.error_type())
}

fn message(message: &Message) -> String {
    let calls: Vec<String> = message
        .tool_calls
        .iter()
        .map(|call| format!("{}({})", call.name, call.arguments))
        .collect();
    format!("{message}{}", calls.concat())
}

fn answer(result: &LlmResult) -> String {
    let mut text = format!("{:?}", result.text());
    for generation in &result.generations {
        if !generation.reasoning.is_empty() {
            write!(text, " thought {:?}", generation.reasoning).unwrap();
        }
        for call in &generation.tool_calls {
            let id = call.id.as_deref().unwrap_or("-");
            write!(text, " {}({}) {id}", call.name, call.arguments).unwrap();
        }
    }
    if let Some(reason) = result.finish_reason() {
        write!(text, " {reason}").unwrap();
    }
    if let Some(usage) = &result.usage {
        write!(text, " {}+{}", usage.prompt_tokens, usage.completion_tokens).unwrap();
    }
    if let Some(model) = &result.model_name {
        write!(text, " by {model}").unwrap();
    }
    text
}

/// A manager on tokio, and the log of its only handler.
pub(crate) fn logged() -> (CallbackManager, Log) {
    let log = Log::default();
    (CallbackManager::new(Tokio::current()).with_handler(log.handler()), log)
}

/// The same, with the handler inline: what runs side by side is then in one order.
pub(crate) fn logged_inline() -> (CallbackManager, Log) {
    let log = Log::default();
    let callbacks = CallbackManager::new(Tokio::current());
    (callbacks.with_handler_options(log.handler(), Awaited::new().inline()), log)
}

/// A server that answers the n-th request after the last message of the user with the n-th reply.
pub(crate) fn server(replies: impl IntoIterator<Item = Reply>) -> Server {
    let replies: Vec<Reply> = replies.into_iter().collect();
    Server::start(Script::made(move |request| {
        let messages = request["messages"].as_array().unwrap();
        let turn = messages.iter().filter(|message| message["role"] == "assistant").count();
        replies[turn.min(replies.len() - 1)].clone()
    }))
    .unwrap()
}

/// Rig's own client of OpenAI, which needs tokio.
pub(crate) fn openai(server: &Server) -> Model<Chat> {
    OpenAIConfig::new("k").with_base_url(server.base_url()).client().chat("m")
}

/// Reads a stream to its end. Returns the text of its error.
pub(crate) async fn drain(mut stream: StreamingResult) -> Option<String> {
    use futures_util::StreamExt;
    let mut error = None;
    while let Some(item) = stream.next().await {
        error = error.or(item.err().map(|error| error.to_string()));
    }
    error
}

/// Adds two numbers.
pub(crate) struct Add;

#[derive(serde::Deserialize)]
pub(crate) struct Numbers {
    x: i64,
    y: i64,
}

impl Tool for Add {
    const NAME: &'static str = "add";
    type Args = Numbers;
    type Output = String;
    type Error = ToolExecutionError;

    fn description(&self) -> String {
        "Adds two numbers".to_owned()
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}})
    }

    async fn call(&self, _: &mut ToolContext, args: Numbers) -> Result<String, ToolExecutionError> {
        match args.x.checked_add(args.y) {
            Some(sum) => Ok(sum.to_string()),
            None => Err(ToolExecutionError::other("the sum is too large")),
        }
    }
}

pub(crate) fn numbers(x: i64, y: i64) -> Value {
    json!({"x": x, "y": y})
}

/// Finds the tool `add` and a document, or cannot be reached.
pub(crate) struct Index {
    pub(crate) is_down: bool,
}

impl VectorStoreIndex for Index {
    type Filter = Filter<Value>;

    async fn top_n<T: DeserializeOwned + Send>(
        &self,
        _: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchResult<T>>, VectorStoreError> {
        if self.is_down {
            return Err(VectorStoreError::DatastoreError("it is down".into()));
        }
        let document = serde_json::from_value(json!("The heron eats fish."))?;
        Ok(vec![VectorSearchResult { score: 0.5, id: "birds".to_owned(), document }])
    }

    async fn top_n_ids(
        &self,
        _: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchIdResult>, VectorStoreError> {
        match self.is_down {
            true => Err(VectorStoreError::DatastoreError("it is down".into())),
            false => Ok(vec![VectorSearchIdResult { score: 0.9, id: "add".to_owned() }]),
        }
    }
}
