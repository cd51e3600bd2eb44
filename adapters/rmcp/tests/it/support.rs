//! A log of events, and a server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_rmcp::{CallbackClient, ServeWithCallbacks};
use rappel_tokio::prelude::*;
use rappel_tokio::{Awaited, RunId, json};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, InputRequest, InputRequests,
    InputRequiredResult, JsonObject, ProgressNotificationParam, ServerCapabilities, ServerConfig,
};
use rmcp::service::{ClientLifecycleMode, RequestContext};
use rmcp::{ClientHandler, RoleClient, RoleServer, ServerHandler, ServiceExt};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The events as lines: the names from the root run to the event's, and what it says.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

struct Line {
    run: RunId,
    sequence: Option<u64>,
    text: String,
}

impl Log {
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<String> {
        self.runs();
        self.0.lock().unwrap().iter().map(|line| line.text.clone()).collect()
    }

    /// The lines of each run, in the order of the runs' starts. The events of a run have the numbers
    /// 0, 1, 2, and so on.
    #[track_caller]
    pub(crate) fn runs(&self) -> Vec<(RunId, Vec<String>)> {
        let mut runs: Vec<(RunId, Vec<String>)> = Vec::new();
        for Line { run, sequence, text } in &*self.0.lock().unwrap() {
            let at = runs.iter().position(|(known, _)| known == run);
            let at = at.unwrap_or_else(|| {
                runs.push((*run, Vec::new()));
                runs.len() - 1
            });
            assert_eq!(*sequence, Some(runs[at].1.len() as u64), "{text}");
            runs[at].1.push(text.clone());
        }
        runs
    }

    /// The lines of runs that are at the same time: each run's together, in the order of the lines.
    #[track_caller]
    pub(crate) fn sorted_runs(&self) -> Vec<String> {
        let mut runs: Vec<Vec<String>> = self.runs().into_iter().map(|(_, lines)| lines).collect();
        runs.sort();
        runs.concat()
    }

    /// A manager with the log as its only handler.
    pub(crate) fn callbacks(&self) -> CallbackManager {
        let (log, mut paths) = (self.clone(), HashMap::<RunId, String>::new());
        let handler = handler_fn(move |event, cx: &EventContext| {
            let parent = cx.parent_id().and_then(|parent| paths.get(&parent));
            let path = match parent {
                Some(parent) => format!("{parent} > {}", cx.name()),
                None => cx.name().to_owned(),
            };
            let text = format!("{path}: {}", describe(event));
            log.0.lock().unwrap().push(Line { run: cx.id(), sequence: cx.sequence(), text });
            paths.insert(cx.id(), path);
            Ok(())
        });
        CallbackManager::new(Tokio::current())
            .with_handler_options(handler, Awaited::new().inline())
    }
}

fn describe(event: &Event) -> String {
    let call = |id: &Option<String>| id.as_ref().map_or(String::new(), |id| format!(" for {id}"));
    match event {
        Event::ToolStart(start) => {
            assert_eq!(start.input, start.inputs.as_ref().unwrap().to_string());
            let of_server = &*start.name != "ask the user";
            assert_eq!(start.tool_type.as_deref(), of_server.then_some("extension"));
            format!("start {}{}", start.input, call(&start.tool_call_id))
        }
        Event::CustomEvent(event) => format!("{} {}", event.name, event.data),
        Event::ToolEnd(end) => format!("end {}{}", end.output, call(&end.tool_call_id)),
        Event::ToolError(end) => {
            let (error, id) = (&end.error, call(&end.tool_call_id));
            format!("error {}: {error}{id}", error.error_type())
        }
        event => event.kind().to_string(),
    }
}

/// What the server tells the test.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Progressed,
    Hangs,
    Cancelled,
}

pub(crate) struct Server(UnboundedSender<Seen>);

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.clone().unwrap_or_default();
        let text = |text: &str| CallToolResult::success(vec![ContentBlock::text(text)]);
        let result = match &*request.name {
            "echo" => text(arguments["text"].as_str().unwrap()),
            "lines" => CallToolResult::success(vec![
                ContentBlock::text("first"),
                ContentBlock::text("second"),
            ]),
            "structured" => CallToolResult::structured(json!({"sum": 3})),
            "image" => CallToolResult::success(vec![
                ContentBlock::text("a picture:"),
                ContentBlock::image("AAAA", "image/png"),
            ]),
            "fails" => CallToolResult::error(vec![ContentBlock::text("no such city")]),
            "fails silently" => CallToolResult::error(Vec::new()),
            "meta" => {
                let mut meta = context.meta.clone();
                assert!(meta.remove("progressToken").is_some());
                text(&json!(meta).to_string())
            }
            "progress" => {
                progress(&arguments, &context).await;
                let _ = self.0.send(Seen::Progressed);
                text("done")
            }
            "asks" if request.input_responses.is_some() => {
                progress(&arguments, &context).await;
                text(&json!(request.input_responses).to_string())
            }
            "asks" => return Ok(question().into()),
            "hangs" => {
                let _ = self.0.send(Seen::Hangs);
                context.ct.cancelled().await;
                let _ = self.0.send(Seen::Cancelled);
                text("unread")
            }
            name => return Err(ErrorData::invalid_params(format!("no tool {name}"), None)),
        };
        Ok(result.into())
    }
}

async fn progress(arguments: &JsonObject, context: &RequestContext<RoleServer>) {
    let token = context.meta.get_progress_token().unwrap();
    for step in 1..=arguments["steps"].as_u64().unwrap() {
        let progress = ProgressNotificationParam::new(token.clone(), step as f64)
            .with_total(100.0)
            .with_message(format!("step {step}"));
        context.peer.notify_progress(progress).await.unwrap();
    }
}

fn question() -> InputRequiredResult {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    let form = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: "Your name?".into(),
        requested_schema: serde_json::from_value(schema).unwrap(),
    };
    let mut requests = InputRequests::new();
    requests.insert("name".into(), InputRequest::Elicitation(ElicitRequest::new(form)));
    InputRequiredResult::new(Some(requests), Some("state".into()))
}

/// A client that answers questions. Its answer is a run inside the call's.
pub(crate) struct Client;

impl ClientHandler for Client {
    fn get_info(&self) -> rmcp::model::ClientConfig {
        let mut info = rmcp::model::ClientConfig::default();
        info.capabilities = rmcp::model::ClientCapabilities::builder().enable_elicitation().build();
        info
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let callbacks = CallbackManager::current().unwrap();
        let run =
            callbacks.on_tool_start(ToolStart::new("ask the user", "{}").with_inputs(json!({})));
        run.await.unwrap().end("Ferris").await.unwrap();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"name": "Ferris"})))
    }
}

pub(crate) struct Scene {
    pub(crate) client: CallbackClient<Client>,
    pub(crate) log: Log,
    pub(crate) callbacks: CallbackManager,
    pub(crate) seen: UnboundedReceiver<Seen>,
}

impl Scene {
    /// A client and a server, connected in memory.
    pub(crate) async fn new() -> Self {
        Self::with(ClientLifecycleMode::Initialize).await
    }

    pub(crate) async fn with(lifecycle: ClientLifecycleMode) -> Self {
        let (client, seen) = serve();
        let log = Log::default();
        let callbacks = log.callbacks();
        let client =
            Client.serve_with_lifecycle_and_callbacks(client, lifecycle, &callbacks).await.unwrap();
        Self { client, log, callbacks, seen }
    }

    pub(crate) async fn next(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }
}

/// Starts a server, and returns the client's end of its connection.
pub(crate) fn serve() -> (DuplexStream, UnboundedReceiver<Seen>) {
    let (client, server) = duplex(64 * 1024);
    let (send, seen) = unbounded_channel();
    tokio::spawn(async move {
        let server = Server(send).serve(server).await.unwrap();
        server.waiting().await.unwrap();
    });
    (client, seen)
}

/// Tests fail instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes a minute")
}

pub(crate) fn call(name: &'static str, arguments: rappel_tokio::Value) -> CallToolRequestParams {
    let arguments = arguments.as_object().cloned().unwrap();
    CallToolRequestParams::new(name).with_arguments(arguments)
}
