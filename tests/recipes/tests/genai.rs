//! The recipe for `genai` in the docs is the example, and the example works.

use genai::Client;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatRequest};
use genai::resolver::{AuthData, Endpoint};
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

use self::support::{Log, Server, Then, assert_in_page, dropped, extend, run, run_example, sse};

#[allow(dead_code, reason = "its `main` is run as a program")]
#[path = "../examples/genai.rs"]
mod recipe;
mod support;

const SSE: &str = "text/event-stream";

/// An answer of OpenAI's.
fn parts() -> Vec<String> {
    let event = |choices: Value, usage: Value| json!({"choices": choices, "usage": usage});
    let delta = |delta: Value| {
        event(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null)
    };
    let piece = |piece: Value| delta(json!({"tool_calls": [piece]}));
    let mut parts = sse(&[
        delta(json!({"role": "assistant", "reasoning_content": "Bonn or Berlin?"})),
        delta(json!({"content": "Let me "})),
        delta(json!({"content": "look."})),
        piece(
            json!({"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}),
        ),
        piece(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
        piece(json!({"index": 0, "function": {"arguments": "\"Bonn\"}"}})),
        piece(json!({"index": 1, "id": "call_2", "function": {"name": "time", "arguments": "{}"}})),
        event(json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]), Value::Null),
        event(
            json!([]),
            json!({
                "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3},
            }),
        ),
    ]);
    parts.push("data: [DONE]\n\n".to_owned());
    parts
}

/// A provider of its own format.
fn anthropic() -> Vec<String> {
    let events = [
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 12, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me look."}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"city\":"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "\"Bonn\"}"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    let line =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(line).collect()
}

const BONN: &str = r#"{"city":"Bonn"}"#;

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "name": name, "arguments": arguments})
}

/// A call as a piece of the last chunk.
fn piece(index: u32, call: &Value) -> Value {
    let mut piece = call.clone();
    extend(&mut piece, json!({"index": index}));
    piece
}

/// The events of an answer that ends behind its third part.
fn three_tokens_and(error: &str) -> [Value; 4] {
    [
        json!({"token": {"reasoning": "Bonn or Berlin?"}}),
        json!({"token": {"text": "Let me "}}),
        json!({"token": {"text": "look."}}),
        json!({"error": error, "partial": "Let me look."}),
    ]
}

async fn answer(
    kind: AdapterKind,
    model: &str,
    server: &Server,
    log: &Log,
) -> Result<LlmResult, RunError> {
    let endpoint = Endpoint::from_owned(format!("{}/v1/", server.url));
    let client = Client::builder()
        .append_provider_config(kind, (endpoint, AuthData::from_single("sk-none")))
        .build()
        .unwrap();
    let request = ChatRequest::new(vec![ChatMessage::user("How is the weather in Bonn?")]);
    recipe::answer(&client, model, request, run(log).await).await
}

async fn openai(server: &Server, log: &Log) -> Result<LlmResult, RunError> {
    answer(AdapterKind::OpenAI, "gpt-4o-mini", server, log).await
}

#[test]
fn the_page_has_the_example() {
    assert_in_page("genai.md", "genai");
    support::assert_in_table("genai", "`genai`");
}

#[test]
fn the_program_works() {
    let server = Server::start("200 OK", SSE, parts(), Then::Ends);
    let output = run_example("genai", "OPENAI_BASE_URL", &server.url);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let sent = server.request();
    assert_eq!(
        (&sent["stream"], &sent["tools"][0]["function"]["name"]),
        (&json!(true), &json!("weather"))
    );
}

#[tokio::test]
async fn handlers_get_text_reasoning_tool_calls_and_usage() {
    let server = Server::start("200 OK", SSE, parts(), Then::Ends);
    let log = Log::new();
    let result = openai(&server, &log).await.unwrap();
    let usage = json!({
        "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
        "cached_tokens": 5, "cache_write_tokens": null, "reasoning_tokens": 3,
    });
    let (weather, time) = (call("call_1", "weather", BONN), call("call_2", "time", "{}"));
    let generation = json!({
        "text": "Let me look.", "reasoning": "Bonn or Berlin?",
        "finish_reason": "tool_calls", "tool_calls": [weather, time],
    });
    let expected = [
        json!({"token": {"reasoning": "Bonn or Berlin?"}}),
        json!({"token": {"text": "Let me "}}),
        json!({"token": {"text": "look."}}),
        json!({"token": {
            "tool_calls": [piece(0, &weather), piece(1, &time)],
            "finish_reason": "tool_calls", "usage": usage,
        }}),
        json!({"end": support::result(generation, usage, json!({}))}),
    ];
    assert_eq!(log.events().await, expected);
    assert_eq!(json!(result), expected[4]["end"]);
}

#[tokio::test]
async fn another_provider_gives_the_same_events() {
    let server = Server::start("200 OK", SSE, anthropic(), Then::Ends);
    let log = Log::new();
    let result = answer(AdapterKind::Anthropic, "claude-haiku-4-5", &server, &log).await.unwrap();
    let usage = json!({
        "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
        "cached_tokens": null, "cache_write_tokens": null, "reasoning_tokens": null,
    });
    let weather = call("toolu_1", "weather", BONN);
    let generation = json!({
        "text": "Let me look.", "finish_reason": "tool_calls", "tool_calls": [weather],
    });
    let expected = [
        json!({"token": {"text": "Let me look."}}),
        json!({"token": {
            "tool_calls": [piece(0, &weather)], "finish_reason": "tool_calls", "usage": usage,
        }}),
        json!({"end": support::result(generation, usage, json!({}))}),
    ];
    assert_eq!(log.events().await, expected);
    assert_eq!(json!(result), expected[2]["end"]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let cut = "Web stream error for model 'gpt-4o-mini (adapter: OpenAI)'.\nCause: error decoding response body";
    for (then, expected) in [(Then::Ends, "the stream broke off"), (Then::Cuts, cut)] {
        let server = Server::start("200 OK", SSE, parts()[..3].to_vec(), then);
        let log = Log::new();
        let error = openai(&server, &log).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(log.events().await, three_tokens_and(expected));
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_error() {
    let mut parts = parts()[..3].to_vec();
    parts.extend(sse(&[json!({"error": {"message": "overloaded"}})]));
    let server = Server::start("200 OK", SSE, parts, Then::Ends);
    let log = Log::new();
    let error = openai(&server, &log).await.unwrap_err().to_string();
    assert!(error.starts_with("Error event") && error.contains("overloaded"), "{error}");
    assert_eq!(log.events().await, three_tokens_and(&error));
}

#[tokio::test]
async fn a_refusal_is_an_error() {
    let refusal = vec!["{\"error\": {\"message\": \"no such model\"}}".to_owned()];
    let server = Server::start("404 Not Found", "application/json", refusal, Then::Ends);
    let log = Log::new();
    let error = openai(&server, &log).await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("no such model"), "{error}");
    assert_eq!(log.events().await, [json!({"error": error, "partial": ""})]);
}

#[tokio::test]
async fn a_dropped_answer_is_cancelled_and_closes_the_connection() {
    let server = Server::start("200 OK", SSE, parts()[..3].to_vec(), Then::Waits);
    let log = Log::new();
    dropped(openai(&server, &log), &log, 3).await;
    assert_eq!(log.events().await, three_tokens_and("cancelled"));
    tokio::task::spawn_blocking(move || server.until_closed()).await.unwrap();
}
