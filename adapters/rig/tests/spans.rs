//! Rig's own spans, and those of rappel. In a process of their own and one after the other: `tracing`
//! caches for the whole process which spans are wanted.
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

#[allow(dead_code, reason = "other tests need the rest")]
#[path = "it/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rappel_core::{Awaited, CallbackManager};
use rappel_opentelemetry::{OpenTelemetry, Settings, opentelemetry_sdk};
use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rappel_tokio::Tokio;
use rappel_tracing::Spans;
use rig_agent::AgentBuilder;
use tokio::sync::Mutex as AsyncMutex;
use tracing::span::{Attributes, Id};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use scene::{Add, drain, numbers, openai, server};

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
