//! The recipe for `async-openai` in the docs is the example, and the example works.

use std::path::Path;
use std::process::{Command, Output};

use async_openai::types::chat::{
    ChatCompletionTool, ChatCompletionToolChoiceOption, ChatCompletionTools, FunctionObject,
    ResponseFormat, ToolChoiceOptions,
};
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the example as a user does. `cargo test` has built it.
fn run(server: &Server) -> Output {
    // TARGET/PROFILE/deps/async_openai-…
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples/async_openai");
    let mut command = Command::new(example.with_extension(std::env::consts::EXE_EXTENSION));
    command.env("OPENAI_BASE_URL", server.base_url()).env("OPENAI_API_KEY", "sk-none");
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.output().unwrap()
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
    let page = std::fs::read_to_string(here().join("../../docs/async-openai.md")).unwrap();
    let (_, rest) =
        page.split_once("<!-- tests/recipes/examples/async_openai.rs -->\n```rust\n").unwrap();
    let (code, rest) = rest.split_once("```").unwrap();
    assert_eq!(code, std::fs::read_to_string(here().join("examples/async_openai.rs")).unwrap());
    assert!(!rest.contains("```"), "a block without an example");
}

#[test]
fn handlers_get_text_tool_calls_and_usage() {
    let server = Server::start(Script::given(json!({}), events())).unwrap();
    let output = run(&server);
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
    let output = run(&server);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("after \"Let me look: \"\n"), "{text}");
    assert!(!output.status.success());

    let server = Server::start(
        Script::joke()
            .fault(Fault::Status(400, r#"{"error": {"message": "no such model"}}"#.into())),
    )
    .unwrap();
    let text = String::from_utf8(run(&server).stdout).unwrap();
    assert!(text.contains("no such model") && text.ends_with("after \"\"\n"), "{text}");
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
