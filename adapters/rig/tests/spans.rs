//! Rig's own spans, and those of rappel. In a process of their own and one after the other: `tracing`
//! caches for the whole process which spans are wanted.
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

#[allow(dead_code, reason = "other tests need the rest")]
#[path = "it/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::join;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rappel_core::{Awaited, CallbackManager};
use rappel_opentelemetry::{OpenTelemetry, Settings, opentelemetry_sdk};
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Reply, Script, Server};
use rappel_tokio::Tokio;
use rappel_tracing::Spans;
use rig_agent::{Agent, AgentBuilder};
use rig_core::message::ToolName;
use rig_core::tool::{DynamicTool, ToolExecutionError, ToolOutput};
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;
use tracing::span::{Attributes, Id};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use scene::{Add, Index, assert_lines, drain, logged, numbers, openai, server};

/// Counts spans by their names. It stands for a layer that exports them.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl<S: tracing::Subscriber> Layer<S> for Counted {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let name = span.metadata().name();
        // The spans of the GenAI conventions.
        if ["invoke_agent", "chat", "execute_tool"].contains(&name) {
            *self.0.lock().unwrap().entry(name).or_default() += 1;
        }
    }
}

impl Counted {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        self.0.lock().unwrap().iter().map(|(name, count)| (*name, *count)).collect()
    }
}

/// An agent that calls the model, a tool, and the model again.
async fn ask(callbacks: &CallbackManager) {
    let server = server([Reply::default().call("c1", "add", &numbers(1, 2)), Reply::text("3")]);
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(callbacks))
        .build();
    assert_eq!(drain(agent.prompt("1+2?").max_turns(3).stream()).await, None);
    callbacks.flush().await.unwrap();
}

fn spans() -> CallbackManager {
    CallbackManager::new(Tokio::current())
        .with_handler_options(Spans::new(), Awaited::new().inline())
}

static ONE_BY_ONE: AsyncMutex<()> = AsyncMutex::const_new(());

const ONE_EACH: [(&str, usize); 3] = [("chat", 2), ("execute_tool", 1), ("invoke_agent", 1)];

#[tokio::test]
async fn rig_s_spans_alone_are_one_for_each_call() {
    let _one = ONE_BY_ONE.lock().await;
    let counted = Counted::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(counted.clone()));
    ask(&CallbackManager::new(Tokio::current())).await;
    assert_eq!(counted.counts(), ONE_EACH);
}

#[tokio::test]
async fn with_both_and_no_filter_each_call_has_two_spans() {
    let _one = ONE_BY_ONE.lock().await;
    let counted = Counted::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(counted.clone()));
    ask(&spans()).await;
    let twice = ONE_EACH.map(|(name, count)| (name, 2 * count));
    assert_eq!(counted.counts(), twice);
}

#[tokio::test]
async fn with_both_and_the_filter_of_the_docs_each_call_has_one_span() {
    let _one = ONE_BY_ONE.lock().await;
    let counted = Counted::default();
    let filtered = counted.clone().with_filter(filter_fn(|span| !span.target().starts_with("rig")));
    let _guard = tracing::subscriber::set_default(Registry::default().with(filtered));
    ask(&spans()).await;
    assert_eq!(counted.counts(), ONE_EACH);
}

#[tokio::test]
async fn rig_s_spans_are_not_exported_by_rappel_opentelemetry() {
    let _one = ONE_BY_ONE.lock().await;
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let telemetry = OpenTelemetry::new(&provider, Settings::new());
    let counted = Counted::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(counted.clone()));
    ask(&CallbackManager::new(Tokio::current()).with_async_handler(telemetry)).await;
    let mut names: Vec<String> = exporter
        .get_finished_spans()
        .unwrap()
        .into_iter()
        .map(|span| span.name.into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["chat model", "chat model", "execute_tool add", "invoke_agent calc"]);
    // Rig's spans were there.
    assert_eq!(counted.counts(), ONE_EACH);
}

/// An outer agent asks for a tool that is, or starts, the inner one.
fn outer(
    server: &Server,
    callbacks: &CallbackManager,
    tool: impl Fn(Agent) -> DynamicTool,
) -> Agent {
    let inner = AgentBuilder::new(openai(server))
        .name("inner")
        .preamble("Answer.")
        .add_hook(RigHook::new(callbacks))
        .build();
    AgentBuilder::new(openai(server))
        .name("outer")
        .dynamic_tool(tool(inner))
        .add_hook(RigHook::new(callbacks))
        .build()
}

fn asking(tool: &'static str) -> Server {
    Server::start(Script::made(move |request| {
        let messages = request["messages"].as_array().unwrap();
        match (messages[0]["role"].as_str(), messages.last().unwrap()["role"].as_str()) {
            (Some("system" | "developer"), _) => Reply::text("yes"),
            (_, Some("tool")) => Reply::text("done"),
            _ => Reply::default().call("c1", tool, &json!({"prompt": "the same"})),
        }
    }))
    .unwrap()
}

#[tokio::test]
async fn by_rig_s_spans_calls_of_two_traces_with_the_same_prompt_find_their_own_agents() {
    let _one = ONE_BY_ONE.lock().await;
    let _guard = tracing::subscriber::set_default(Registry::default());
    let server = asking("inner");
    let (callbacks, log) = logged();
    let agent = outer(&server, &callbacks, |inner| inner.into_tool().unwrap());
    let ask = || agent.prompt("?").max_turns(3).run();
    let (first, second) = join(ask(), ask()).await;
    assert!(first.is_ok() && second.is_ok());
    callbacks.flush().await.unwrap();
    let expected = [
        "outer.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" inner({\"prompt\":\"the same\"}) c1 tool_calls 1+2 by m",
        "outer.on_agent_action inner {\"prompt\":\"the same\"}",
        "  inner.on_tool_start {\"prompt\":\"the same\"} c1",
        "    inner.on_chain_start agent {\"input\":\"the same\"}",
        "      model.on_chat_model_start System: Answer. | Human: the same",
        "      model.on_llm_end \"yes\" stop 2+1 by m",
        "    inner.on_agent_finish {\"output\":\"yes\"}",
        "    inner.on_chain_end {\"output\":\"yes\"}",
        "  inner.on_tool_end \"yes\" c1",
        "  model.on_chat_model_start Human: ? | AI: inner({\"prompt\":\"the same\"}) | Tool: yes",
        "  model.on_llm_end \"done\" stop 2+1 by m",
        "outer.on_agent_finish {\"output\":\"done\"}",
        "outer.on_chain_end {\"output\":\"done\"}",
    ];
    let traces = log.traces();
    assert_eq!(traces.len(), 2, "{traces:#?}");
    assert_lines(&traces[0], &expected);
    assert_lines(&traces[1], &expected);
}

#[tokio::test]
async fn by_rig_s_spans_an_agent_that_a_tool_of_one_s_own_starts_is_under_the_tool() {
    let _one = ONE_BY_ONE.lock().await;
    let _guard = tracing::subscriber::set_default(Registry::default());
    let server = asking("own");
    let (callbacks, log) = logged();
    let agent = outer(&server, &callbacks, |inner| {
        DynamicTool::new(ToolName::new("own").unwrap(), "Asks", json!({}), move |_| {
            let inner = inner.clone();
            Box::pin(async move {
                let answer =
                    inner.prompt("another").await.map_err(ToolExecutionError::from_error)?;
                Ok(ToolOutput::text(answer.output()))
            })
        })
    });
    agent.prompt("?").max_turns(3).await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "outer.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" own({\"prompt\":\"the same\"}) c1 tool_calls 1+2 by m",
        "outer.on_agent_action own {\"prompt\":\"the same\"}",
        "  own.on_tool_start {\"prompt\":\"the same\"} c1",
        "    inner.on_chain_start agent {\"input\":\"another\"}",
        "      model.on_chat_model_start System: Answer. | Human: another",
        "      model.on_llm_end \"yes\" stop 1+1 by m",
        "    inner.on_agent_finish {\"output\":\"yes\"}",
        "    inner.on_chain_end {\"output\":\"yes\"}",
        "  own.on_tool_end \"yes\" c1",
        "  model.on_chat_model_start Human: ? | AI: own({\"prompt\":\"the same\"}) | Tool: yes",
        "  model.on_llm_end \"done\" stop 2+1 by m",
        "outer.on_agent_finish {\"output\":\"done\"}",
        "outer.on_chain_end {\"output\":\"done\"}",
    ]);
}

#[tokio::test]
async fn inside_rig_s_spans_a_retrieval_is_under_the_agent_that_asks() {
    let _one = ONE_BY_ONE.lock().await;
    let _guard = tracing::subscriber::set_default(Registry::default());
    let server = server([Reply::text("Fish")]);
    let (callbacks, log) = logged();
    let hook = RigHook::new(&callbacks);
    let agent = AgentBuilder::new(openai(&server))
        .add_hook(hook.clone())
        .dynamic_context(1, hook.index("library", Index { is_down: false }))
        .build();
    let (first, second) = join(agent.prompt("same").run(), agent.prompt("same").run()).await;
    assert!(first.is_ok() && second.is_ok());
    callbacks.flush().await.unwrap();
    let traces = log.traces();
    assert_eq!(traces.len(), 2, "{traces:#?}");
    let expected = [
        "agent.on_chain_start agent {\"input\":\"same\"}",
        "  library.on_retriever_start same",
        "  library.on_retriever_end birds:The heron eats fish.",
        "  model.on_chat_model_start Human: <file id: birds>\n\"The heron eats fish.\"\n</file>\n | Human: same",
        "  model.on_llm_end \"Fish\" stop 0+1 by m",
        "agent.on_agent_finish {\"output\":\"Fish\"}",
        "agent.on_chain_end {\"output\":\"Fish\"}",
    ];
    assert_lines(&traces[0], &expected);
    assert_lines(&traces[1], &expected);
}
