//! The counterparts of LangChain's handlers in `docs/handlers.md` compile as they stand there.

use std::fs::{self, File};
use std::io;

use rappel_core::prelude::*;
use rappel_handlers::{
    Budget, Collector, Console, Filter, FinalAnswer, Gate, JsonLines, PerTrace, Prices,
    StreamingStdout, Usage, With,
};
use rappel_testkit::{Answer, ScriptedChatModel};

use crate::support::callbacks;

fn prices() -> Prices {
    #[cfg(feature = "prices")]
    return Prices::bundled();
    #[cfg(not(feature = "prices"))]
    return Prices::new();
}

#[test]
fn each_counterpart_registers_in_one_line() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let (usage, collector) = (Usage::with_prices(prices()), Collector::new(100));
    let callbacks = callbacks()
        .with(Console::to(io::sink()).contents(200))
        .with(StreamingStdout::to(io::sink()))
        .with(Console::to(File::create(path("run.log"))?).contents(200))
        .with(JsonLines::append(path("run.jsonl"))?)
        .with(usage.clone())
        .with(collector.clone())
        .with_handler(
            Filter::new(handler_fn(|_, _| Ok(()))).matching(|run| run.parent_id().is_none()),
        )
        .with(FinalAnswer::new(StreamingStdout::to(io::sink())))
        .with(Gate::tools(async |_event, _cx| Ok(())))
        .with(Gate::models(async |_event, _cx| Ok(())))
        .with(Budget::new().tokens(100_000))
        .with(PerTrace::new(|_: &RunInfo| handler_fn(|_, _| Ok(()))))
        .with(JsonLines::to(io::sink()));
    let model = ScriptedChatModel::new([Answer::text("a"), Answer::text("b")]);
    let model = model.callbacks(callbacks.clone());
    futures_executor::block_on(async {
        let (answer, _usage) = Usage::scope(model.invoke("one")).await;
        answer?;
        let (answer, _usage) = Usage::scope_with(prices(), model.invoke("two")).await;
        answer
    })?;
    assert_eq!(collector.take().len(), 2);
    assert_eq!(usage.report().total().unmeasured, 2);
    assert!(fs::read_to_string(path("run.log"))?.contains("✓ scripted"));
    assert!(callbacks.stats().iter().all(|stats| stats.failed == 0));
    Ok(())
}

/// The handlers of LangChain, LangGraph and LangChain's community.
const LANGCHAIN: &[&str] = &[
    "StdOutCallbackHandler",
    "StreamingStdOutCallbackHandler",
    "FileCallbackHandler",
    "UsageMetadataCallbackHandler",
    "get_usage_metadata_callback",
    "BaseTracer",
    "AsyncBaseTracer",
    "LangChainTracer",
    "wait_for_all_tracers",
    "ConsoleCallbackHandler",
    "FunctionCallbackHandler",
    "LoggingCallbackHandler",
    "RunCollectorCallbackHandler",
    "collect_runs",
    "EvaluatorCallbackHandler",
    "RootListenersTracer",
    "AsyncRootListenersTracer",
    "LogStreamCallbackHandler",
    "_AstreamEventsCallbackHandler",
    "_MemoryStream",
    "AsyncIteratorCallbackHandler",
    "AsyncFinalIteratorCallbackHandler",
    "FinalStreamingStdOutCallbackHandler",
    "OpenAICallbackHandler",
    "get_openai_callback",
    "BedrockAnthropicTokenUsageCallbackHandler",
    "HumanApprovalCallbackHandler",
    "AsyncHumanApprovalCallbackHandler",
    "UpstashRatelimitHandler",
    "StreamlitCallbackHandler",
    "Argilla",
    "Aim",
    "Arize",
    "Arthur",
    "ClearML",
    "Comet",
    "DeepEval",
    "Context",
    "Fiddler",
    "Flyte",
    "Infino",
    "LabelStudio",
    "LLMonitor",
    "MLflow",
    "PromptLayer",
    "SageMaker",
    "Trubrics",
    "UpTrain",
    "Wandb",
    "WhyLabs",
    "StreamMessagesHandler",
];

#[test]
fn each_handler_of_langchain_is_in_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/handlers.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, table) = page.split_once("## LangChain's handlers").unwrap();
    let cells = table.lines().filter(|line| line.starts_with('|'));
    let first: Vec<&str> = cells.map(|line| line.split('|').nth(1).unwrap()).collect();
    let words: Vec<&str> = first.iter().flat_map(|cell| cell.split([',', ' ', '`'])).collect();
    for name in LANGCHAIN {
        assert!(words.contains(name), "{name} is not in docs/handlers.md");
    }
}
