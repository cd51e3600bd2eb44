//! The requests of `ChatOpenAi`: every setting under its own name, every kind of message, and no
//! request if something is invalid.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_core::{ContentPart, ToolCall, Value, json};
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder, OpenAiError, ResponseFormat, Tool, ToolChoice};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Script, Server};
use rappel_tests::record::Log;

fn model(server: &Server) -> ChatOpenAiBuilder {
    ChatOpenAi::builder().model("m").base_url(server.base_url())
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}})
}

on_every_runtime! {
    async fn every_setting_is_sent_under_its_own_name(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let weather = Tool::function("weather")
            .description("the weather in a city")
            .parameters(schema())
            .strict(true);
        let chat = model(&server)
            .max_tokens(25)
            .max_completion_tokens(30)
            .temperature(0.7)
            .top_p(0.9)
            .stop(["\n"])
            .seed(-7)
            .n(1)
            .tools([weather])
            .tool_choice(ToolChoice::Function("weather".to_owned()))
            .response_format(ResponseFormat::json_schema("weather", schema()).strict(true))
            .user("somebody")
            .extra("reasoning_effort", "low")
            .extra("parallel_tool_calls", false)
            .streaming(true)
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        chat.invoke("hi").await.unwrap();
        let function = json!({"name": "weather", "description": "the weather in a city", "parameters": schema(), "strict": true});
        let expected = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 25, "max_completion_tokens": 30, "temperature": 0.7, "top_p": 0.9, "stop": ["\n"], "seed": -7, "n": 1,
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema(), "strict": true}},
            "stream": true, "stream_options": {"include_usage": true}, "user": "somebody",
            "reasoning_effort": "low", "parallel_tool_calls": false,
        });
        assert_eq!(server.requests()[0].body, expected);
    }

    /// A setting may be plain JSON, or any type that serializes to the right JSON.
    async fn settings_may_be_json(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let tool = json!({"type": "function", "function": {"name": "now"}});
        let chat = model(&server)
            .tools([&tool])
            .tool_choice("required")
            .response_format(BTreeMap::from([("type", "json_object")]))
            .stream_options(json!({"include_usage": true, "include_obfuscation": false}))
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        chat.stream(vec![Message::human("hi")]).await.unwrap().count().await;
        chat.invoke("hi").await.unwrap();
        let requests = server.requests();
        let (streamed, whole) = (&requests[0].body, &requests[1].body);
        assert_eq!(
            (&streamed["tools"], &streamed["tool_choice"]),
            (&json!([tool]), &json!("required"))
        );
        assert_eq!(streamed["response_format"], json!({"type": "json_object"}));
        assert_eq!(
            streamed["stream_options"],
            json!({"include_usage": true, "include_obfuscation": false})
        );
        assert_eq!(whole.get("stream_options"), None, "servers refuse it without a stream");
    }

    async fn every_kind_of_message_is_sent(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let chat = model(&server).callbacks(rt.callbacks()).build().unwrap();
        let conversation = vec![
            Message::system("Be brief."),
            Message::human(vec![
                ContentPart::text("What is this?"),
                ContentPart::image_url("https://example.org/cat.png").with_detail("low"),
                ContentPart::image_data("image/png", b"\x89PNG"),
            ])
            .with_name("ann"),
            Message::ai("").with_tool_calls([
                ToolCall::new("weather", r#"{"city":"Bonn"}"#).with_id("call_1")
            ]),
            Message::tool("call_1", "rain"),
            Message::ai("A wet cat."),
        ];
        chat.invoke(conversation).await.unwrap();
        let call = json!({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bonn\"}"}});
        let expected = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "A wet cat."},
        ]);
        assert_eq!(server.requests()[0].body["messages"], expected);
    }

    async fn a_message_that_cannot_be_sent_is_an_error_and_no_request(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        for streaming in [true, false] {
            let log = Log::new();
            let callbacks = rt.callbacks().with_handler(log.handler());
            let chat = model(&server).streaming(streaming).callbacks(callbacks).build().unwrap();
            let conversation = vec![Message::human("hi"), Message::new(Role::Tool, "rain")];
            let error = chat.invoke(conversation).await.unwrap_err();
            assert!(
                matches!(error.cause(), Some(OpenAiError::InvalidMessage { index: 1, .. })),
                "{error:?}"
            );
            assert_eq!(
                log.lines(),
                ["chat_model_start: Human: hi | Tool: rain", "llm_error: failed: "]
            );
        }
        assert_eq!(server.requests().len(), 0);
    }

    /// Functions are in the event. The contents of the server's own tools, and the user, are sent
    /// to the server only.
    async fn the_start_has_the_tools(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            if let Event::ChatModelStart(start) = event {
                seen.write(Value::from(start.invocation_params.clone()).to_string());
            }
            Ok(())
        }));
        let secret = json!({"type": "mcp", "headers": {"authorization": "sk-secret"}});
        let now = serde_json::to_value(Tool::function("now")).unwrap();
        let chat = model(&server)
            .max_completion_tokens(9)
            .tools([secret, now])
            .tool_choice(ToolChoice::Auto)
            .response_format(ResponseFormat::Text)
            .user("somebody")
            .callbacks(callbacks)
            .build()
            .unwrap();
        chat.invoke("hi").await.unwrap();
        let params = concat!(
            r#"{"max_completion_tokens":9,"model":"m","response_format":{"type":"text"},"stream":false,"tool_choice":"auto","#,
            r#""tools":[{"type":"mcp"},{"function":{"name":"now"},"type":"function"}]}"#
        );
        assert_eq!(log.lines(), [params]);
    }
}

#[test]
fn a_setting_that_cannot_be_sent_is_named() {
    let model = || ChatOpenAi::builder().model("m").base_url("http://localhost/v1");
    let no_json = BTreeMap::from([([1, 2], "a key that is not text")]);
    let wrong = [
        (model().temperature(f64::NAN), "`temperature` is not a finite number"),
        (model().top_p(f64::INFINITY), "`top_p` is not a finite number"),
        (model().n(129), "`n` is more than 128"),
        (model().tools(["weather"]), "`tools` is not a JSON object"),
        (model().tools([&no_json]), "`tools` can't be written as JSON"),
        (model().tool_choice(&no_json), "`tool_choice` can't be written as JSON"),
        (model().response_format("json_object"), "`response_format` is not a JSON object"),
        (model().stream_options(true), "`stream_options` is not a JSON object"),
        (model().tools([1]).response_format(2), "`tools` is not a JSON object"),
    ];
    for (builder, expected) in wrong {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, OpenAiError::InvalidParameter { .. }), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
    for name in ["tools", "tool_choice", "response_format", "max_completion_tokens", "messages"] {
        let error = model().extra(name, 1).build().unwrap_err();
        assert!(matches!(error, OpenAiError::ReservedParameter { .. }), "{name}: {error:?}");
    }
}
