//! The Responses API over real HTTP: the events of chat completions, and what only Responses has.

use rappel_core::prelude::*;
use rappel_core::{FinishReason, Value, json};
use rappel_openai::{Api, ChatOpenAi, ChatOpenAiBuilder, ResponseFormat, Tool, ToolChoice};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, JOKE, Packets, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

const QUESTION: &str = "Tell me a joke";

fn model(server: &Server, api: Api) -> ChatOpenAiBuilder {
    ChatOpenAi::builder().model("gpt-5").base_url(server.base_url()).api(api).max_retries(0)
}

/// The log of a call, without the tokens that have no text: either API has such chunks of its own.
async fn log(rt: &Rt, api: Api, script: &Script, streaming: bool, tokens: u32) -> Vec<String> {
    let server = Server::start(script.clone()).unwrap();
    let log = Log::new();
    let chat = model(&server, api)
        .streaming(streaming)
        .max_retries(1)
        .max_tokens(tokens)
        .max_event_bytes(20_000)
        .callbacks(rt.callbacks().with_handler(log.handler()))
        .build()
        .unwrap();
    let ended = match chat.invoke(QUESTION).await {
        Ok(result) => format!(
            "{:?} {:?} {:?} {:?}",
            result.text(),
            result.finish_reason(),
            result.usage.as_ref().map(|usage| (usage.prompt_tokens, usage.completion_tokens)),
            result.model_name
        ),
        Err(error) => error.to_string(),
    };
    let mut lines = log.lines();
    lines.retain(|line| line != "token: ");
    lines.push(ended.replace("chat/completions", "PATH").replace("responses", "PATH"));
    lines
}

/// What a server streams, and the whole answer of the same items.
fn given(items: &[Value], middle: Vec<Value>) -> Script {
    let usage = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 16});
    let whole = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "error": null, "output": items, "usage": usage});
    let begun = json!({"id": "resp_1", "object": "response", "status": "in_progress", "model": "gpt-5", "output": []});
    let mut events = vec![json!({"type": "response.created", "response": begun})];
    events.extend(middle);
    events.push(json!({"type": "response.completed", "response": whole}));
    for (number, event) in (0..).zip(&mut events) {
        event["sequence_number"] = json!(number);
    }
    Script::given(whole, events)
}

fn call_item(id: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "weather", "arguments": "{\"city\":\"Bonn\"}", "status": "completed"})
}

fn call_events(index: u64, id: &str) -> Vec<Value> {
    let mut begun = call_item(id);
    begun["arguments"] = json!("");
    vec![
        json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
        json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": "{\"city\":"}),
        json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": "\"Bonn\"}"}),
        json!({"type": "response.function_call_arguments.done", "output_index": index, "arguments": "{\"city\":\"Bonn\"}"}),
        json!({"type": "response.output_item.done", "output_index": index, "item": call_item(id)}),
    ]
}

fn reasoning_item(id: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "Bonn is"}, {"type": "summary_text", "text": "a city"}], "encrypted_content": format!("secret of {id}")})
}

fn reasoning_events(id: &str) -> Vec<Value> {
    let delta = |part: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": part, "delta": text});
    vec![
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": id, "summary": []}}),
        delta(0, "Bonn"),
        delta(0, " is"),
        delta(1, "a city"),
        json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning_item(id)}),
    ]
}

/// The first turn's result, its message, and the server's log of requests.
fn answered(result: LlmResult) -> Message {
    result.generations.into_iter().next().unwrap().into()
}

on_every_runtime! {
    async fn every_scenario_has_the_event_log_of_chat_completions(rt) {
        let faults = [
            Fault::Status(500, "{\"error\":{\"message\":\"down\"}}".to_owned()),
            Fault::Status(400, "{\"error\":{\"message\":\"no\"}}".to_owned()),
            Fault::CutBeforeHeaders,
            Fault::Cut(1),
            Fault::Cut(4),
            Fault::EndsEarly(4),
            Fault::BrokenJson(4),
            Fault::ErrorEvent(1),
            Fault::ErrorEvent(4),
            Fault::Oversized(4, 30_000),
            Fault::WrongContentType,
            Fault::Gzip,
            Fault::Redirect("/elsewhere".to_owned()),
            Fault::Reset(4),
        ];
        let mut scripts = vec![
            Script::joke(),
            Script::echo(),
            Script::joke().crlf(),
            Script::joke().comments(),
            Script::joke().packets(Packets::of_bytes(7)),
            Script::joke().packets(Packets::of_events(5)),
        ];
        scripts.extend(faults.into_iter().map(|fault| Script::joke().fault(fault)));
        for script in &scripts {
            for streaming in [true, false] {
                for tokens in [100, 3] {
                    let chat = log(&rt, Api::ChatCompletions, script, streaming, tokens).await;
                    let responses = log(&rt, Api::Responses, script, streaming, tokens).await;
                    assert_eq!(chat, responses, "{script:?}, streaming: {streaming}");
                }
            }
        }
    }

    async fn a_request_has_the_form_of_the_responses_api(rt) {
        let server = Server::start(Script::joke()).unwrap();
        let schema = json!({"type": "object"});
        let chat = model(&server, Api::Responses)
            .max_completion_tokens(50)
            .temperature(0.5)
            .tools([Tool::function("weather").parameters(schema.clone())])
            .tool_choice(ToolChoice::Function("weather".to_owned()))
            .response_format(ResponseFormat::json_schema("joke", schema.clone()).strict(true))
            .extra("reasoning_effort", "low")
            .extra("reasoning", json!({"summary": "auto"}))
            .extra("verbosity", "high")
            .extra("store", false)
            .extra("instructions", "Be brief")
            .extra("previous_response_id", "resp_0")
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        let image = Message::human(vec![
            rappel_core::ContentPart::text("look"),
            rappel_core::ContentPart::image_url("https://example.org/a.png").with_detail("low"),
        ]);
        let result = chat.invoke(vec![Message::system("You joke"), image]).await.unwrap();
        assert_eq!(result.text(), JOKE.concat());
        let request = &server.requests()[0];
        assert_eq!(request.path, "/v1/responses");
        assert_eq!(
            request.body,
            json!({
                "model": "gpt-5", "stream": false, "max_output_tokens": 50, "temperature": 0.5,
                "input": [
                    {"role": "system", "content": "You joke"},
                    {"role": "user", "content": [
                        {"type": "input_text", "text": "look"},
                        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
                    ]},
                ],
                "tools": [{"type": "function", "name": "weather", "parameters": schema, "strict": false}],
                "tool_choice": {"type": "function", "name": "weather"},
                "text": {"format": {"type": "json_schema", "name": "joke", "schema": schema, "strict": true}, "verbosity": "high"},
                "reasoning": {"summary": "auto", "effort": "low"},
                "store": false, "instructions": "Be brief", "previous_response_id": "resp_0",
            })
        );
    }

    async fn what_the_api_does_not_have_is_an_error(rt) {
        let server = Server::start(Script::joke()).unwrap();
        for builder in [
            model(&server, Api::Responses).n(2),
            model(&server, Api::Responses).seed(1),
            model(&server, Api::Responses).stop(["x"]),
        ] {
            let error = builder.callbacks(rt.callbacks()).build().unwrap_err().to_string();
            assert!(error.contains("is not a parameter of the Responses API"), "{error}");
        }
    }

    async fn a_tool_call_takes_two_turns(rt) {
        for streaming in [true, false] {
            let server = Server::start(given(&[call_item("call_1")], call_events(0, "call_1"))).unwrap();
            let log = Log::new();
            let chat = model(&server, Api::Responses)
                .streaming(streaming)
                .callbacks(rt.callbacks().with_handler(log.handler()))
                .build()
                .unwrap();
            let question = Message::human("How is the weather?");
            let result = chat.invoke(vec![question.clone()]).await.unwrap();
            assert_eq!(result.finish_reason(), Some(&FinishReason::ToolCalls));
            let call = &result.generations[0].tool_calls[0];
            assert_eq!((call.id.as_deref(), &*call.name), (Some("call_1"), "weather"));
            assert_eq!(call.parse_arguments().unwrap()["city"], "Bonn");
            let turn = [question, answered(result), Message::tool("call_1", "rain")];
            chat.invoke(turn.to_vec()).await.unwrap();
            assert_eq!(
                server.requests()[1].body["input"],
                json!([
                    {"role": "user", "content": "How is the weather?"},
                    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{\"city\":\"Bonn\"}"},
                    {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
                ])
            );
            let mut lines = log.lines();
            lines.retain(|line| line != "token: ");
            assert_eq!(lines.len(), 4, "{lines:?}");
            assert_eq!(lines[1], "llm_end: ");
        }
    }

    async fn a_reasoning_model_that_stores_nothing_gets_its_reasoning_back_in_each_turn(rt) {
        for streaming in [true, false] {
            let items = [reasoning_item("rs_1"), call_item("call_1")];
            let mut events = reasoning_events("rs_1");
            events.extend(call_events(1, "call_1"));
            let server = Server::start(given(&items, events)).unwrap();
            let log = Log::new();
            let chat = model(&server, Api::Responses)
                .streaming(streaming)
                .extra("store", false)
                .extra("include", json!(["reasoning.encrypted_content"]))
                .callbacks(rt.callbacks().with_handler(log.handler()))
                .build()
                .unwrap();
            let mut conversation = vec![Message::human("How is the weather?")];
            for _ in 0..3 {
                let result = chat.invoke(conversation.clone()).await.unwrap();
                assert_eq!(result.generations[0].reasoning, "Bonn is\n\na city");
                let usage = result.usage.as_ref().unwrap();
                assert_eq!((usage.cached_tokens, usage.reasoning_tokens), (Some(4), Some(5)));
                conversation.extend([answered(result), Message::tool("call_1", "rain")]);
            }
            let call = json!({"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{\"city\":\"Bonn\"}"});
            let output = json!({"type": "function_call_output", "call_id": "call_1", "output": "rain"});
            let turn = [reasoning_item("rs_1"), call, output];
            let sent: Vec<Value> = server.requests()[2].body["input"].as_array().unwrap()[1..].to_vec();
            assert_eq!(sent, [turn.clone(), turn].concat());
            let mut lines = log.lines();
            lines.retain(|line| line != "token: ");
            assert_eq!(lines.iter().filter(|line| *line == "llm_end: ").count(), 3, "{lines:?}");
            assert_eq!(lines.len(), 6, "{lines:?}");
        }
    }

    async fn stored_reasoning_does_not_go_back(rt) {
        let items = [reasoning_item("rs_1"), call_item("call_1")];
        let server = Server::start(given(&items, Vec::new())).unwrap();
        let chat = model(&server, Api::Responses).callbacks(rt.callbacks()).build().unwrap();
        let result = chat.invoke("hi").await.unwrap();
        let turn = vec![Message::human("hi"), answered(result), Message::tool("call_1", "rain")];
        chat.invoke(turn).await.unwrap();
        assert_eq!(server.requests()[1].body["input"][1]["type"], "function_call");
    }

    async fn a_refusal_is_no_text(rt) {
        let part = json!({"type": "refusal", "refusal": "I can't help."});
        let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]});
        let delta = |text: &str| json!({"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": text});
        let events = vec![
            delta("I can't"),
            delta(" help."),
            json!({"type": "response.refusal.done", "output_index": 0, "content_index": 0, "refusal": "I can't help."}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        ];
        for streaming in [true, false] {
            let server = Server::start(given(std::slice::from_ref(&item), events.clone())).unwrap();
            let log = Log::new();
            let chat = model(&server, Api::Responses)
                .streaming(streaming)
                .callbacks(rt.callbacks().with_handler(log.handler()))
                .build()
                .unwrap();
            let result = chat.invoke(QUESTION).await.unwrap();
            assert_eq!(result.generations[0].refusal, "I can't help.");
            assert_eq!((result.text(), result.finish_reason()), ("", Some(&FinishReason::Stop)));
            let mut lines = log.lines();
            lines.retain(|line| line != "token: ");
            assert_eq!(lines, ["chat_model_start: Human: Tell me a joke", "llm_end: "]);
        }
    }
}
