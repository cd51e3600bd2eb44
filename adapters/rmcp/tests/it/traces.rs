//! The trace goes on at the server.

use std::process::Stdio;

use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use rappel_opentelemetry::{OpenTelemetry, RunIds, RunTraceParent, Settings, span_id, trace_id};
use rappel_rmcp::{ServeWithCallbacks, rmcp};
use rappel_tokio::prelude::*;
use rappel_tokio::{RunId, TraceParent, Value, json};
use rmcp::model::{RequestMetaObject, RequestParamsMeta};
use rmcp::transport::TokioChildProcess;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::support::{Log, call, serve, within};

fn telemetry() -> OpenTelemetry {
    let provider = SdkTracerProvider::builder()
        .with_id_generator(RunIds::new())
        .with_simple_exporter(InMemorySpanExporter::default())
        .build();
    OpenTelemetry::new(&provider, Settings::new())
}

#[tokio::test]
async fn meta_has_the_trace_context_of_the_tools_run_and_nothing_else() {
    let (client, _seen) = serve();
    let log = Log::default();
    let telemetry = telemetry();
    let callbacks = log.callbacks().with_async_handler(telemetry.clone());
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let client = client.with_traceparent(RunTraceParent::traceparent);

    let chain = callbacks.group("agent").await.unwrap();
    let result = client.call_tool(call("meta", json!({}))).in_run(&chain).await.unwrap();
    let meta: Value = serde_json::from_str(&result.content[0].as_text().unwrap().text).unwrap();
    let sent = meta["traceparent"].as_str().unwrap().parse::<TraceParent>().unwrap();
    assert_eq!(sent.trace_id(), trace_id(chain.id()).to_bytes());
    assert_ne!(sent.span_id(), span_id(chain.id()).to_bytes());
    assert_eq!(meta.as_object().unwrap().len(), 1, "{meta}");
    chain.end("done").await.unwrap();
    let expected = [
        "agent: on_chain_start".to_owned(),
        "agent > meta: start {}".to_owned(),
        format!("agent > meta: end {}", json!(meta.to_string())),
        "agent: on_chain_end".to_owned(),
    ];
    assert_eq!(log.lines(), expected);
}

#[tokio::test]
async fn a_traceparent_that_the_call_has_is_left_as_it_is() {
    let (client, _seen) = serve();
    let log = Log::default();
    let callbacks = log.callbacks().with_async_handler(telemetry());
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let client = client.with_traceparent(RunTraceParent::traceparent);
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut params = call("meta", json!({}));
    let mut meta = RequestMetaObject::new();
    meta.set_traceparent(text);
    params.set_meta(meta);
    let result = client.call_tool(params).await.unwrap();
    let meta = json!({"traceparent": text}).to_string();
    assert_eq!(result.content[0].as_text().unwrap().text, meta);
    assert_eq!(log.lines(), ["meta: start {}".to_owned(), format!("meta: end {}", json!(meta))]);
}

/// The server of the docs, as a process.
#[tokio::test]
async fn the_servers_runs_are_in_the_callers_trace() {
    // TARGET/PROFILE/deps/it-…
    let this = std::env::current_exe().unwrap();
    let server = this.ancestors().nth(2).unwrap().join("examples/server");
    let command = Command::new(server.with_extension(std::env::consts::EXE_EXTENSION));
    let (transport, stderr) =
        TokioChildProcess::builder(command).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::default();
    let callbacks = log.callbacks().with_async_handler(telemetry());
    let client = ().serve_with_callbacks(transport, &callbacks).await.unwrap();
    let client = client.with_traceparent(RunTraceParent::traceparent);

    let chain = callbacks.group("agent").await.unwrap();
    let chain_id = chain.id();
    let weather = |city| client.call_tool(call("weather", json!({"city": city})));
    let calls = async {
        weather("Bonn").await.unwrap();
        weather("Atlantis").await.unwrap();
        tokio::select! {
            biased;
            _ = weather("Nowhere") => panic!("it has no answer"),
            // The server answers this one behind it.
            result = weather("Bonn") => result.unwrap(),
        };
        // The server has got the cancellation before this one.
        weather("Bonn").await.unwrap();
    };
    within(calls.in_run(&chain)).await;
    chain.end("done").await.unwrap();
    client.cancel().await.unwrap();
    let mut written = String::new();
    within(stderr.unwrap().read_to_string(&mut written)).await.unwrap();

    // The server's runs name the spans of the client's.
    let runs = log.runs();
    let ids: Vec<RunId> = runs.iter().map(|(id, _)| *id).collect();
    let mut events = vec![Vec::new(); ids.len()];
    for line in written.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let caller: TraceParent = record["traceparent"].as_str().unwrap().parse().unwrap();
        assert_eq!(caller.trace_id(), trace_id(chain_id).to_bytes());
        let call = ids.iter().position(|id| span_id(*id).to_bytes() == caller.span_id()).unwrap();
        events[call].push(json!([record["kind"], record["data"]]));
    }
    let start = |city: &str| {
        let inputs = json!({"city": city});
        let payload = json!({"name": "weather", "input": inputs.to_string(), "inputs": inputs});
        json!(["on_tool_start", payload])
    };
    let failed = |kind: &str, message: &str| {
        let error = json!({"kind": kind, "message": message, "causes": []});
        json!(["on_tool_error", {"error": error}])
    };
    let answered = vec![start("Bonn"), json!(["on_tool_end", {"output": "sunny"}])];
    let expected = [
        // The chain is not of the server.
        vec![],
        answered.clone(),
        vec![start("Atlantis"), failed("failed", "no such city: Atlantis")],
        vec![start("Nowhere"), failed("cancelled", "cancelled")],
        answered.clone(),
        answered,
    ];
    assert_eq!(events, expected);

    let call = |city: &str, end: &str| {
        vec![
            format!(r#"agent > weather: start {{"city":"{city}"}}"#),
            format!("agent > weather: {end}"),
        ]
    };
    let sunny = call("Bonn", r#"end "sunny""#);
    let expected = [
        vec!["agent: on_chain_start".to_owned(), "agent: on_chain_end".to_owned()],
        sunny.clone(),
        call("Atlantis", "error tool_error: no such city: Atlantis"),
        call("Nowhere", "error cancelled: cancelled"),
        sunny.clone(),
        sunny,
    ];
    assert_eq!(runs.into_iter().map(|(_, lines)| lines).collect::<Vec<_>>(), expected);
}
