//! The recipe for the Responses API of `async-openai` in the docs is the example, and the example
//! works.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

use self::support::{Log, Server, Then, assert_in_page, dropped, extend, run, run_example, sse};

#[allow(dead_code, reason = "its `main` is run as a program")]
#[path = "../examples/async_openai_responses.rs"]
mod recipe;
mod support;

const SSE: &str = "text/event-stream";

fn response(more: Value) -> Value {
    let mut response = json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress",
        "model": "gpt-4o-mini-2024", "output": [],
    });
    extend(&mut response, more);
    response
}

fn text_deltas() -> Vec<Value> {
    let delta = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "sequence_number": 1, "item_id": "i"});
        extend(&mut event, more);
        event
    };
    vec![
        json!({"type": "response.created", "sequence_number": 0, "response": response(json!({}))}),
        delta(
            "response.reasoning_summary_text.delta",
            json!({"output_index": 0, "summary_index": 0, "delta": "Bonn or Berlin?"}),
        ),
        delta(
            "response.output_text.delta",
            json!({"output_index": 1, "content_index": 0, "delta": "Let me "}),
        ),
        delta(
            "response.output_text.delta",
            json!({"output_index": 1, "content_index": 0, "delta": "look."}),
        ),
    ]
}

fn call(name: &str, id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc", "call_id": id, "name": name, "arguments": arguments})
}

fn usage() -> Value {
    json!({
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 19,
    })
}

fn parts() -> Vec<String> {
    let mut events = text_deltas();
    let added = |index: u32, item: Value| json!({"type": "response.output_item.added", "sequence_number": 2, "output_index": index, "item": item});
    let arguments = |index: u32, delta: &str| json!({"type": "response.function_call_arguments.delta", "sequence_number": 2, "item_id": "fc", "output_index": index, "delta": delta});
    let output = [call("weather", "call_1", "{\"city\":\"Bonn\"}"), call("time", "call_2", "{}")];
    events.extend([
        added(2, call("weather", "call_1", "")),
        arguments(2, "{\"city\":"),
        arguments(2, "\"Bonn\"}"),
        added(3, call("time", "call_2", "")),
        arguments(3, "{}"),
        json!({"type": "response.completed", "sequence_number": 9, "response": response(json!({"status": "completed", "output": output, "usage": usage()}))}),
    ]);
    sse(&events)
}

/// The events of an answer that ends behind its third event.
fn two_tokens_and(error: &str) -> [Value; 3] {
    [
        json!({"token": {"reasoning": "Bonn or Berlin?"}}),
        json!({"token": {"text": "Let me "}}),
        json!({"error": error, "partial": "Let me "}),
    ]
}

async fn answer(server: &Server, log: &Log) -> Result<LlmResult, RunError> {
    let config = OpenAIConfig::new().with_api_base(&server.url).with_api_key("sk-none");
    let request = json!({"model": "gpt-4o-mini", "input": "How is the weather in Bonn?"});
    let request = serde_json::from_value(request).unwrap();
    recipe::answer(&Client::with_config(config), request, run(log).await).await
}

#[test]
fn the_page_has_the_example() {
    assert_in_page("async-openai.md", "async_openai_responses");
    support::assert_in_table("async-openai", "`async-openai`, Responses");
}

#[test]
fn the_program_works() {
    let server = Server::start("200 OK", SSE, parts(), Then::Ends);
    let output = run_example("async_openai_responses", "OPENAI_BASE_URL", &server.url);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let sent = server.request();
    assert_eq!((&sent["stream"], &sent["tools"][0]["name"]), (&json!(true), &json!("weather")));
}

#[tokio::test]
async fn handlers_get_text_reasoning_tool_calls_and_usage() {
    let server = Server::start("200 OK", SSE, parts(), Then::Ends);
    let log = Log::new();
    let result = answer(&server, &log).await.unwrap();
    let piece = |piece: Value| json!({"token": {"tool_calls": [piece]}});
    let usage = json!({
        "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
        "cached_tokens": 5, "cache_write_tokens": null, "reasoning_tokens": 3,
    });
    let about = json!({"model_name": "gpt-4o-mini-2024", "response_id": "resp_1"});
    let mut last = json!({"finish_reason": "tool_calls", "usage": usage});
    extend(&mut last, about.clone());
    let calls = json!([
        {"id": "call_1", "name": "weather", "arguments": "{\"city\":\"Bonn\"}"},
        {"id": "call_2", "name": "time", "arguments": "{}"},
    ]);
    let generation = json!({
        "text": "Let me look.", "reasoning": "Bonn or Berlin?",
        "finish_reason": "tool_calls", "tool_calls": calls,
    });
    let expected = [
        json!({"token": {"reasoning": "Bonn or Berlin?"}}),
        json!({"token": {"text": "Let me "}}),
        json!({"token": {"text": "look."}}),
        piece(json!({"index": 0, "id": "call_1", "name": "weather", "arguments": ""})),
        piece(json!({"index": 0, "arguments": "{\"city\":"})),
        piece(json!({"index": 0, "arguments": "\"Bonn\"}"})),
        piece(json!({"index": 1, "id": "call_2", "name": "time", "arguments": ""})),
        piece(json!({"index": 1, "arguments": "{}"})),
        json!({"token": last}),
        json!({"end": support::result(generation, usage, about)}),
    ];
    assert_eq!(log.events().await, expected);
    assert_eq!(json!(result), expected[9]["end"]);
}

#[tokio::test]
async fn an_incomplete_answer_has_its_reason() {
    let mut events = text_deltas();
    let incomplete = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": usage()});
    events.push(json!({"type": "response.incomplete", "sequence_number": 9, "response": response(incomplete)}));
    let server = Server::start("200 OK", SSE, sse(&events), Then::Ends);
    let result = answer(&server, &Log::new()).await.unwrap();
    assert_eq!(result.text(), "Let me look.");
    assert_eq!(result.finish_reason().unwrap().as_str(), "length");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let cut = "stream failed: EventStream error: Transport error: error decoding response body";
    for (then, expected) in [(Then::Ends, "the stream broke off"), (Then::Cuts, cut)] {
        let server = Server::start("200 OK", SSE, sse(&text_deltas()[..3]), then);
        let log = Log::new();
        let error = answer(&server, &log).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(log.events().await, two_tokens_and(expected));
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_error() {
    let error = json!({"code": "server_error", "message": "overloaded"});
    let failed = response(json!({"status": "failed", "error": error}));
    for event in [
        json!({"type": "response.failed", "sequence_number": 9, "response": failed}),
        json!({"type": "error", "sequence_number": 9, "code": "server_error", "message": "overloaded", "param": null}),
    ] {
        let mut events = text_deltas()[..3].to_vec();
        events.push(event);
        let server = Server::start("200 OK", SSE, sse(&events), Then::Ends);
        let log = Log::new();
        let error = answer(&server, &log).await.unwrap_err();
        assert_eq!(error.to_string(), "overloaded");
        assert_eq!(log.events().await, two_tokens_and("overloaded"));
    }
}

#[tokio::test]
async fn a_refusal_is_an_error() {
    let refusal = json!({"error": {"message": "no such model", "type": "invalid_request_error", "param": null, "code": null}});
    let refusal = vec![refusal.to_string()];
    let server = Server::start("404 Not Found", "application/json", refusal, Then::Ends);
    let log = Log::new();
    let error = answer(&server, &log).await.unwrap_err().to_string();
    assert_eq!(error, "404 Not Found invalid_request_error: no such model");
    assert_eq!(log.events().await, [json!({"error": error, "partial": ""})]);
}

#[tokio::test]
async fn a_dropped_answer_is_cancelled_and_closes_the_connection() {
    let server = Server::start("200 OK", SSE, sse(&text_deltas()[..3]), Then::Waits);
    let log = Log::new();
    dropped(answer(&server, &log), &log, 2).await;
    assert_eq!(log.events().await, two_tokens_and("cancelled"));
    tokio::task::spawn_blocking(move || server.until_closed()).await.unwrap();
}
