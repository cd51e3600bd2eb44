//! The recipe for `ollama-rs` in the docs is the example, and the example works.

use ollama_rs::Ollama;
use ollama_rs::generation::chat::ChatMessage;
use ollama_rs::generation::chat::request::ChatMessageRequest;
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

use self::support::{Log, Server, Then, assert_in_page, dropped, extend, run, run_example};

#[allow(dead_code, reason = "its `main` is run as a program")]
#[path = "../examples/ollama_rs.rs"]
mod recipe;
mod support;

const NDJSON: &str = "application/x-ndjson";

fn message(message: Value, done: bool) -> String {
    let mut line = json!({"model": "qwen3:8b", "created_at": "2026-11-01T00:00:00Z", "message": message, "done": done});
    if done {
        line["done_reason"] = "stop".into();
        line["prompt_eval_count"] = 12.into();
        line["eval_count"] = 7.into();
        for duration in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"]
        {
            line[duration] = 1.into();
        }
    }
    format!("{line}\n")
}

fn text(text: &str) -> String {
    message(json!({"role": "assistant", "content": text}), false)
}

fn parts() -> Vec<String> {
    let call = |city: &str| json!({"function": {"name": "weather", "arguments": {"city": city}}});
    let calls = |calls: Value| json!({"role": "assistant", "content": "", "tool_calls": calls});
    vec![
        message(json!({"role": "assistant", "content": "", "thinking": "Bonn or Berlin?"}), false),
        text("Let me "),
        text("look."),
        message(calls(json!([call("Bonn")])), false),
        message(calls(json!([call("Berlin")])), false),
        message(json!({"role": "assistant", "content": ""}), true),
    ]
}

const BONN: &str = r#"{"city":"Bonn"}"#;
const BERLIN: &str = r#"{"city":"Berlin"}"#;

/// The events of an answer that ends behind its second part.
fn two_tokens_and(error: &str) -> [Value; 3] {
    [
        json!({"token": {"reasoning": "Bonn or Berlin?", "model_name": "qwen3:8b"}}),
        json!({"token": {"text": "Let me ", "model_name": "qwen3:8b"}}),
        json!({"error": error, "partial": "Let me "}),
    ]
}

async fn answer(server: &Server, log: &Log) -> Result<LlmResult, RunError> {
    let messages = vec![ChatMessage::user("How is the weather in Bonn?".to_owned())];
    let request = ChatMessageRequest::new("qwen3".to_owned(), messages);
    let ollama = Ollama::try_new(&server.url).unwrap();
    recipe::answer(&ollama, request, run(log).await).await
}

#[test]
fn the_page_has_the_example() {
    assert_in_page("ollama-rs.md", "ollama_rs");
    support::assert_in_table("ollama-rs", "`ollama-rs`");
}

#[test]
fn the_program_works() {
    let server = Server::start("200 OK", NDJSON, parts(), Then::Ends);
    let output = run_example("ollama_rs", "OLLAMA_URL", &server.url);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let sent = server.request();
    assert_eq!((&sent["model"], &sent["stream"]), (&json!("qwen3"), &json!(true)));
}

#[tokio::test]
async fn handlers_get_text_reasoning_tool_calls_and_usage() {
    let server = Server::start("200 OK", NDJSON, parts(), Then::Ends);
    let log = Log::new();
    let result = answer(&server, &log).await.unwrap();
    let token = |chunk: Value| {
        let mut token = json!({"model_name": "qwen3:8b"});
        extend(&mut token, chunk);
        json!({"token": token})
    };
    let call = |index: u32, arguments: &str| {
        token(json!({"tool_calls": [{"index": index, "name": "weather", "arguments": arguments}]}))
    };
    let usage = json!({
        "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
        "cached_tokens": null, "cache_write_tokens": null, "reasoning_tokens": null,
    });
    let calls = json!([
        {"id": null, "name": "weather", "arguments": BONN},
        {"id": null, "name": "weather", "arguments": BERLIN},
    ]);
    let generation =
        json!({"text": "Let me look.", "reasoning": "Bonn or Berlin?", "tool_calls": calls});
    let expected = [
        token(json!({"reasoning": "Bonn or Berlin?"})),
        token(json!({"text": "Let me "})),
        token(json!({"text": "look."})),
        call(0, BONN),
        call(1, BERLIN),
        token(json!({"usage": usage})),
        json!({"end": support::result(generation, usage, json!({"model_name": "qwen3:8b"}))}),
    ];
    assert_eq!(log.events().await, expected);
    assert_eq!(json!(result), expected[6]["end"]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    for then in [Then::Ends, Then::Cuts] {
        let server = Server::start("200 OK", NDJSON, parts()[..2].to_vec(), then);
        let log = Log::new();
        let error = answer(&server, &log).await.unwrap_err();
        assert_eq!(error.to_string(), "the stream broke off");
        assert_eq!(log.events().await, two_tokens_and("the stream broke off"));
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_an_error() {
    let mut parts = parts()[..2].to_vec();
    parts.push("{\"error\": \"out of memory\"}\n".to_owned());
    let server = Server::start("200 OK", NDJSON, parts, Then::Ends);
    let log = Log::new();
    answer(&server, &log).await.unwrap_err();
    assert_eq!(log.events().await, two_tokens_and("the stream broke off"));
}

/// A fault of ollama-rs that the page names.
#[tokio::test]
async fn a_message_whose_packets_split_a_character_is_lost() {
    let split = text("Köln").into_bytes();
    let (first, second) = split.split_at(split.iter().position(|byte| *byte == 0xC3).unwrap() + 1);
    let last = parts().pop().unwrap();
    let parts = vec![text("Let me ").into_bytes(), first.into(), second.into(), last.into_bytes()];
    let server = Server::start("200 OK", NDJSON, parts, Then::Ends);
    assert_eq!(answer(&server, &Log::new()).await.unwrap().text(), "Let me ");
}

#[tokio::test]
async fn a_refusal_is_an_error() {
    let refusal = vec!["{\"error\": \"no such model\"}".to_owned()];
    let server = Server::start("404 Not Found", "application/json", refusal, Then::Ends);
    let log = Log::new();
    let error = answer(&server, &log).await.unwrap_err();
    let error = error.to_string();
    assert_eq!(error, "{\"error\": \"no such model\"}");
    assert_eq!(log.events().await, [json!({"error": error, "partial": ""})]);
}

#[tokio::test]
async fn a_dropped_answer_is_cancelled_and_closes_the_connection() {
    let server = Server::start("200 OK", NDJSON, parts()[..2].to_vec(), Then::Waits);
    let log = Log::new();
    dropped(answer(&server, &log), &log, 2).await;
    assert_eq!(log.events().await, two_tokens_and("cancelled"));
    tokio::task::spawn_blocking(move || server.until_closed()).await.unwrap();
}
