//! Many traces from one runtime, for the script that compares them with what a collector received.
//!
//! cargo run -p rappel-opentelemetry --example traces -- smol 3000 expected.txt
//!
//! It writes a line for each span that the collector should have: its trace, itself, its parent, its
//! times, and its name. With `--wait` it stops after half of the traces until a line comes on its
//! standard input.

use std::collections::HashMap;
use std::io::{BufRead, BufWriter, Write};
use std::time::Duration;

use rappel_core::{
    Awaited, CallbackHandler, CallbackManager, ChainStart, ChatModelStart, EmitError, Event,
    EventContext, Message, RunId, ToolStart, handler_fn,
};
use rappel_opentelemetry::{Otlp, otlp, span_id, trace_id};

/// A chain, a model under it, and a tool under that. Every tenth tool is cancelled.
async fn trace(callbacks: &CallbackManager, number: usize) -> Result<(), EmitError> {
    let chain = callbacks.on_chain_start(ChainStart::new("chain", number)).await?;
    let start = ChatModelStart::new("model", vec![Message::human("hi")]);
    let mut model = chain.child().on_chat_model_start(start).await?;
    model.on_llm_new_token("a").await?;
    let tool = model.child().on_tool_start(ToolStart::new("tool", "x")).await?;
    match number % 10 {
        0 => drop(tool),
        _ => tool.end("y").await?,
    }
    model.end("a").await?;
    chain.end("b").await
}

/// Writes what a collector should receive, from the events alone.
fn expectations(file: std::fs::File) -> impl CallbackHandler + Send {
    let mut file = BufWriter::new(file);
    let mut started = HashMap::<RunId, u128>::new();
    handler_fn(move |event: &Event, cx: &EventContext| {
        let time = cx.time().unwrap_or_default().as_nanos();
        let name = match event {
            start if start.kind().is_start() => {
                started.insert(cx.id(), time);
                return Ok(());
            }
            Event::LlmEnd(_) => "chat model",
            Event::ToolEnd(_) | Event::ToolError(_) => "execute_tool tool",
            Event::ChainEnd(_) => "chain",
            _ => return Ok(()),
        };
        let start = started.remove(&cx.id()).unwrap_or_default();
        let parent = cx.parent_id().map_or_else(|| "-".to_owned(), |id| span_id(id).to_string());
        let (trace, span) = (trace_id(cx.root_id()), span_id(cx.id()));
        writeln!(file, "{trace} {span} {parent} {start} {time} {name}")?;
        Ok(file.flush()?)
    })
}

async fn all(telemetry: Otlp, callbacks: CallbackManager, traces: usize, wait: bool) {
    for number in 0..traces {
        if wait && number == traces / 2 {
            let flushed = telemetry.clone();
            // Both block: there is nothing else to do meanwhile.
            let counts = flushed.force_flush();
            println!("half: {counts:?}");
            let _ = std::io::stdin().lock().lines().next();
        }
        trace(&callbacks, number).await.expect("no handler stops it");
        // The queue has room for 2,048 spans.
        while telemetry.counts().pending > 1500 {
            let _ = telemetry.force_flush();
        }
    }
    let report = callbacks.shutdown(Duration::from_secs(60)).await.expect("it is not in a call");
    println!("{}", telemetry.counts());
    assert!(report.is_clean(), "{report:?}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [runtime, traces, expected, wait @ ..] = &arguments[..] else {
        panic!("usage: traces RUNTIME TRACES FILE [--wait]");
    };
    let traces = traces.parse().expect("a number of traces");
    let wait = wait.iter().any(|wait| wait == "--wait");
    let telemetry = otlp().service_name("traces").timeout(Duration::from_secs(30)).build();
    let telemetry = telemetry.expect("the settings can be used");
    let expected = expectations(std::fs::File::create(expected).expect("a file"));
    let register = |callbacks: CallbackManager| {
        telemetry.register(callbacks).with_handler_options(expected, Awaited::new().inline())
    };
    match runtime.as_str() {
        "tokio" => {
            let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            tokio.expect("a runtime").block_on(async {
                let callbacks = register(CallbackManager::new(rappel_tokio::Tokio::current()));
                all(telemetry.clone(), callbacks, traces, wait).await;
            });
        }
        "smol" => {
            let callbacks = register(CallbackManager::new(rappel_smol::Smol::global()));
            smol::block_on(all(telemetry.clone(), callbacks, traces, wait));
        }
        "async-std" => {
            let callbacks = register(CallbackManager::new(rappel_async_std::AsyncStd::new()));
            smol::block_on(all(telemetry.clone(), callbacks, traces, wait));
        }
        "threads" => {
            let callbacks = register(CallbackManager::new(rappel_threads::Threads::new()));
            futures_executor::block_on(all(telemetry.clone(), callbacks, traces, wait));
        }
        other => panic!("there is no runtime {other}: tokio, smol, async-std or threads"),
    }
}
