//! The recipe for `async-openai` in the docs is the example, and the example works.

use std::process::Output;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionTool, ChatCompletionToolChoiceOption, ChatCompletionTools, FunctionObject,
    ResponseFormat, ToolChoiceOptions,
};
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

use self::support::{Log, Then, dropped, extend, sse};

#[allow(dead_code, reason = "its `main` is run as a program")]
#[path = "../examples/async_openai.rs"]
mod recipe;
mod support;

/// Runs the example as a user does.
fn run_program(server: &Server) -> Output {
    support::run_example("async_openai", "OPENAI_BASE_URL", &server.base_url())
}

/// Events as OpenAI sends them, because `async-openai` accepts no others.
fn events() -> Vec<Value> {
    let event = |choices: Value, usage: Value| {
        json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-2024", "choices": choices, "usage": usage,
        })
    };
    let delta = |delta: Value| {
        event(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null)
    };
    let piece = |piece: Value| delta(json!({"tool_calls": [piece]}));
    vec![
        delta(json!({"role": "assistant", "content": "Let me look: "})),
        piece(
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
        ),
        piece(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
        piece(json!({"index": 0, "function": {"arguments": "\"Bonn\"}"}})),
        event(json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]), Value::Null),
        event(json!([]), json!({"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19})),
    ]
}

#[test]
fn the_recipe_is_the_example() {
    support::assert_in_page("async-openai.md", "async_openai");
    support::assert_in_table("async-openai", "`async-openai`, Chat Completions");
}

#[test]
fn handlers_get_text_tool_calls_and_usage() {
    let server = Server::start(Script::given(json!({}), events())).unwrap();
    let output = run_program(&server);
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = concat!(
        "Let me look: weather(({\"city\":(\"Bonn\"}\n",
        "Some(ToolCalls), Some(TokenUsage { prompt_tokens: 12, completion_tokens: 7, total_tokens: 19,",
    );
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains(
            r#"[ToolCall { id: Some("call_1"), name: "weather", arguments: "{\"city\":\"Bonn\"}""#
        ),
        "{text}"
    );
    assert!(output.status.success());
    let sent = &server.requests()[0].body;
    assert_eq!(
        (&sent["stream"], &sent["tools"][0]["function"]["name"]),
        (&json!(true), &json!("weather"))
    );
}

#[test]
fn an_error_has_the_partial_result() {
    let server =
        Server::start(Script::given(json!({}), events()).fault(Fault::BrokenJson(1))).unwrap();
    let output = run_program(&server);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("after \"Let me look: \"\n"), "{text}");
    assert!(!output.status.success());

    let server = Server::start(
        Script::joke()
            .fault(Fault::Status(400, r#"{"error": {"message": "no such model"}}"#.into())),
    )
    .unwrap();
    let text = String::from_utf8(run_program(&server).stdout).unwrap();
    assert!(text.contains("no such model") && text.ends_with("after \"\"\n"), "{text}");
}

async fn answer(server: &support::Server, log: &Log) -> Result<LlmResult, RunError> {
    let config = OpenAIConfig::new().with_api_base(&server.url).with_api_key("sk-none");
    let messages = json!([{"role": "user", "content": "How is the weather in Bonn?"}]);
    let request = json!({"model": "gpt-4o-mini", "messages": messages});
    let request = serde_json::from_value(request).unwrap();
    recipe::answer(&Client::with_config(config), request, support::run(log).await).await
}

/// The events of an answer that ends behind its second event.
fn two_tokens_and(error: &str) -> [Value; 3] {
    let model = "gpt-4o-mini-2024";
    let piece = json!({"index": 0, "id": "call_1", "name": "weather", "arguments": ""});
    [
        json!({"token": {"text": "Let me look: ", "model_name": model}}),
        json!({"token": {"tool_calls": [piece], "model_name": model}}),
        json!({"error": error, "partial": "Let me look: "}),
    ]
}

#[tokio::test]
async fn each_chunk_is_an_event_and_the_end_has_the_whole() {
    let mut parts = sse(&events());
    parts.push("data: [DONE]\n\n".to_owned());
    let server = support::Server::start("200 OK", "text/event-stream", parts, Then::Ends);
    let log = Log::new();
    let result = answer(&server, &log).await.unwrap();
    assert_eq!(server.request()["stream"], true);

    let model = json!({"model_name": "gpt-4o-mini-2024"});
    let token = |chunk: Value| {
        let mut token = model.clone();
        extend(&mut token, chunk);
        json!({"token": token})
    };
    let piece =
        |arguments: &str| token(json!({"tool_calls": [{"index": 0, "arguments": arguments}]}));
    let usage = json!({
        "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
        "cached_tokens": null, "cache_write_tokens": null, "reasoning_tokens": null,
    });
    let call = json!({"id": "call_1", "name": "weather", "arguments": "{\"city\":\"Bonn\"}"});
    let generation = json!({
        "text": "Let me look: ", "finish_reason": "tool_calls", "tool_calls": [call],
    });
    let [text, first, _] = two_tokens_and("");
    let expected = [
        text,
        first,
        piece("{\"city\":"),
        piece("\"Bonn\"}"),
        token(json!({"finish_reason": "tool_calls"})),
        json!({"token": {"usage": usage}}),
        json!({"end": support::result(generation, usage, model)}),
    ];
    assert_eq!(log.events().await, expected);
    assert_eq!(json!(result), expected[6]["end"]);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let cut = "stream failed: EventStream error: Transport error: error decoding response body";
    for (then, expected) in [(Then::Ends, "the stream broke off"), (Then::Cuts, cut)] {
        let parts = sse(&events()[..2]);
        let server = support::Server::start("200 OK", "text/event-stream", parts, then);
        let log = Log::new();
        let error = answer(&server, &log).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(log.events().await, two_tokens_and(expected));
    }
}

#[tokio::test]
async fn a_dropped_answer_is_cancelled_and_closes_the_connection() {
    let parts = sse(&events()[..2]);
    let server = support::Server::start("200 OK", "text/event-stream", parts, Then::Waits);
    let log = Log::new();
    dropped(answer(&server, &log), &log, 2).await;
    assert_eq!(log.events().await, two_tokens_and("cancelled"));
    tokio::task::spawn_blocking(move || server.until_closed()).await.unwrap();
}

/// The types of `async-openai` serialize to the right JSON.
#[tokio::test]
async fn its_types_are_settings_of_chat_open_ai() {
    let server = Server::start(Script::tokens(["hi"])).unwrap();
    let function = FunctionObject {
        name: "weather".to_owned(),
        parameters: Some(json!({"type": "object"})),
        ..FunctionObject::default()
    };
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .tools([ChatCompletionTools::Function(ChatCompletionTool { function })])
        .tool_choice(ChatCompletionToolChoiceOption::Mode(ToolChoiceOptions::Required))
        .response_format(ResponseFormat::JsonObject)
        .build()
        .unwrap();
    chat.invoke("hi").await.unwrap();
    let sent = &server.requests()[0].body;
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
    assert_eq!(sent["tools"], json!([tool]));
    assert_eq!(
        (&sent["tool_choice"], &sent["response_format"]),
        (&json!("required"), &json!({"type": "json_object"}))
    );
}
