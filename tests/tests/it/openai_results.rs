//! The parts of an answer other than its text, streamed and whole. They are in the result, and
//! their pieces are in the token events.

use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_core::{FinishReason, TokenLogprob, Value, json};
use rappel_openai::{ChatOpenAi, OpenAiError, Tool};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

/// An event of a stream with that choice.
fn event(choice: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp", "choices": [choice]})
}

fn delta(delta: Value) -> Value {
    event(json!({"index": 0, "delta": delta, "finish_reason": null}))
}

fn end(reason: &str) -> Value {
    event(json!({"index": 0, "delta": {}, "finish_reason": reason}))
}

fn whole(choices: Value) -> Value {
    json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "fp", "choices": choices})
}

/// A handler that writes the pieces of an answer as a page would show them.
struct Page(Log);

impl CallbackHandler for Page {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        let texts =
            [("said", &*token.token), ("thought", token.reasoning()), ("refused", token.refusal())];
        for (what, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            self.0.write(format!("{} {what} {text}", token.choice()));
        }
        for call in token.tool_calls() {
            let name = call.name.as_deref().unwrap_or_default();
            self.0.write(format!(
                "{} called {} {name}({}",
                token.choice(),
                call.index,
                call.arguments
            ));
        }
        Ok(())
    }
}

/// The results of a streamed answer and of a whole one, and the page of the first.
async fn both(rt: &Rt, server: &Server) -> ([LlmResult; 2], Vec<String>) {
    let log = Log::new();
    let mut results = Vec::new();
    for streaming in [true, false] {
        let callbacks = rt.callbacks().with_handler(Page(log.clone()));
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .n(2)
            .tools([Tool::function("weather")]);
        let chat = chat.streaming(streaming).callbacks(callbacks).build().unwrap();
        results.push(chat.invoke("hi").await.unwrap());
    }
    (results.try_into().unwrap(), log.lines())
}

on_every_runtime! {
    async fn tool_calls_are_assembled_from_their_pieces(rt) {
        let calls = json!([
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bonn\"}"}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
        ]);
        let events = [
            delta(json!({"role": "assistant", "content": null})),
            delta(
                json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}]}),
            ),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"city\":"}}]})),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"Bonn\"}"}}]})),
            delta(
                json!({"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}),
            ),
            end("tool_calls"),
        ];
        let choices = json!([{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": calls}, "finish_reason": "tool_calls"}]);
        let server = Server::start(Script::given(whole(choices), events)).unwrap();
        let ([streamed, at_once], page) = both(&rt, &server).await;
        assert_eq!(streamed, at_once);
        let said = &streamed.generations[0];
        assert_eq!(said.finish_reason, Some(FinishReason::ToolCalls));
        assert_eq!((said.text.as_str(), said.tool_calls.len()), ("", 2));
        assert_eq!(said.tool_calls[0].parse_arguments().unwrap()["city"], "Bonn");
        assert_eq!(
            page,
            [
                "0 called 0 weather(",
                "0 called 0 ({\"city\":",
                "0 called 0 (\"Bonn\"}",
                "0 called 1 now({}"
            ]
        );

        // The next turn of the conversation.
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        let turn = vec![
            Message::human("hi"),
            streamed.generations[0].clone().into(),
            Message::tool("call_1", "rain"),
            Message::tool("call_2", "noon"),
        ];
        chat.invoke(turn).await.unwrap();
        let sent = &server.requests()[2].body["messages"];
        assert_eq!(sent[1], json!({"role": "assistant", "content": null, "tool_calls": calls}));
        assert_eq!(sent[3], json!({"role": "tool", "content": "noon", "tool_call_id": "call_2"}));
    }

    /// A handler that prints tokens prints the answer, and not the reasoning.
    async fn reasoning_and_refusals_are_not_part_of_the_text(rt) {
        let events = [
            delta(json!({"role": "assistant", "content": "", "reasoning_content": "a city,"})),
            delta(json!({"reasoning_content": " I guess"})),
            delta(json!({"content": "Bonn"})),
            delta(json!({"content": "."})),
            delta(json!({"refusal": "No more."})),
            end("stop"),
        ];
        let message = json!({"role": "assistant", "content": "Bonn.", "reasoning": "a city, I guess", "refusal": "No more."});
        let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
        let server = Server::start(Script::given(whole(choices), events)).unwrap();
        let ([streamed, at_once], page) = both(&rt, &server).await;
        assert_eq!(streamed, at_once);
        let said = &streamed.generations[0];
        assert_eq!(
            (&*said.text, &*said.reasoning, &*said.refusal),
            ("Bonn.", "a city, I guess", "No more.")
        );
        assert_eq!(
            page,
            [
                "0 thought a city,",
                "0 thought  I guess",
                "0 said Bonn",
                "0 said .",
                "0 refused No more."
            ]
        );
    }

    async fn each_choice_is_a_generation(rt) {
        let choice = |index: u32, text: &str| {
            event(json!({"index": index, "delta": {"content": text}, "finish_reason": null}))
        };
        let last = |index: u32, reason: &str| {
            event(json!({"index": index, "delta": {}, "finish_reason": reason}))
        };
        let events = [
            choice(0, "Hea"),
            choice(1, "Tai"),
            choice(1, "ls"),
            choice(0, "ds"),
            last(1, "length"),
            last(0, "stop"),
        ];
        let choices = json!([
            {"index": 1, "message": {"content": "Tails"}, "finish_reason": "length"},
            {"index": 0, "message": {"content": "Heads"}, "finish_reason": "stop"},
        ]);
        let server = Server::start(Script::given(whole(choices), events)).unwrap();
        let ([streamed, at_once], page) = both(&rt, &server).await;
        assert_eq!(streamed, at_once);
        let said: Vec<_> = streamed
            .generations
            .iter()
            .map(|said| (&*said.text, said.finish_reason.clone().unwrap()))
            .collect();
        assert_eq!(said, [("Heads", FinishReason::Stop), ("Tails", FinishReason::Length)]);
        assert_eq!(page, ["0 said Hea", "1 said Tai", "1 said ls", "0 said ds"]);
    }

    /// Some servers write them as text, because JSON has no such numbers. No event could be written
    /// as JSON with one.
    async fn an_infinite_log_probability_becomes_a_number(rt) {
        let top = json!([{"token": "Bo", "logprob": 0}, {"token": "Ko", "logprob": "-Infinity"}, {"token": "Po", "logprob": "NaN"}]);
        let logprobs = json!({"content": [{"token": "Bo", "logprob": "-Infinity", "top_logprobs": top}]});
        let piece = json!({"choices": [{"index": 0, "delta": {"content": "Bo"}, "logprobs": logprobs, "finish_reason": "stop"}]});
        let whole = json!({"choices": [{"index": 0, "message": {"content": "Bo"}, "logprobs": logprobs, "finish_reason": "stop"}]});
        let server = Server::start(Script::given(whole, [piece])).unwrap();
        for streaming in [true, false] {
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .streaming(streaming)
                .callbacks(rt.callbacks());
            let result = chat.build().unwrap().invoke("hi").await.unwrap();
            let token = &result.generations[0].logprobs[0];
            let top: Vec<_> = token.top_logprobs.iter().map(|top| (&*top.token, top.logprob)).collect();
            assert_eq!((token.logprob, top), (-9999.0, vec![("Bo", 0.0), ("Ko", -9999.0)]));
            let json = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<LlmResult>(&json).unwrap(), result);
        }
    }

    async fn usage_logprobs_and_unknown_fields_are_kept(rt) {
        let tokens = |text: &str, logprob: f64| json!({"content": [{"token": text, "logprob": logprob, "bytes": null, "top_logprobs": []}]});
        let piece = |text: &str, logprob: f64| {
            event(
                json!({"index": 0, "delta": {"content": text}, "logprobs": tokens(text, logprob), "x_score": 3, "finish_reason": null}),
            )
        };
        let usage = json!({
            "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "cost": 0.5,
            "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        });
        let mut last = whole(json!([]));
        last["usage"] = usage.clone();
        let events = [piece("Bo", -0.25), piece("nn", -2.0), end("stop"), last];
        let mut logprobs = tokens("Bo", -0.25);
        logprobs["content"]
            .as_array_mut()
            .unwrap()
            .extend(tokens("nn", -2.0)["content"].as_array().unwrap().clone());
        let mut at_once = whole(json!([{
            "index": 0, "message": {"content": "Bonn"}, "logprobs": logprobs, "x_score": 3, "finish_reason": "stop",
        }]));
        at_once["usage"] = usage;
        let server = Server::start(Script::given(at_once, events)).unwrap();
        let ([streamed, at_once], _) = both(&rt, &server).await;
        assert_eq!(streamed, at_once);
        let usage = streamed.usage.as_ref().unwrap();
        assert_eq!(
            (usage.total_tokens, usage.cached_tokens, usage.reasoning_tokens),
            (14, Some(8), Some(3))
        );
        assert_eq!(usage.extra["cost"], 0.5);
        let said = &streamed.generations[0];
        assert_eq!(said.logprobs, [TokenLogprob::new("Bo", -0.25), TokenLogprob::new("nn", -2.0)]);
        assert_eq!(said.extra["x_score"], 3);
        assert_eq!(
            streamed.llm_output,
            Some(json!({"id": "c", "created": 1, "system_fingerprint": "fp"}))
        );
    }

    /// The error event has the partial result, including the incomplete tool call.
    async fn an_error_in_a_stream_has_the_partial_result(rt) {
        let call = json!([{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": "{\"ci"}}]);
        let failed = json!({"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "gone"}});
        for (error, text) in [
            (json!({"error": {"code": 502, "message": "gone"}}), "gone"),
            (json!({ "choices": [failed] }), "gone"),
        ] {
            let events = [
                delta(json!({"content": "Let me", "reasoning_content": "hm"})),
                delta(json!({"tool_calls": call})),
                error,
            ];
            let server = Server::start(Script::given(json!({}), events)).unwrap();
            let log = Log::new();
            let seen = log.clone();
            let callbacks = rt.callbacks().with_async_handler(async_handler_fn(
                async move |event: &Event, _: &EventContext| {
                    let line = match event {
                        Event::LlmError(error) => {
                            let said = &error.partial.generations[0];
                            Some(format!(
                                "{} after {:?}, {:?} and {}",
                                error.error,
                                said.text,
                                said.reasoning,
                                said.tool_calls[0].arguments
                            ))
                        }
                        Event::LlmEnd(_) => Some("the end".to_owned()),
                        _ => None,
                    };
                    line.into_iter().for_each(|line| seen.write(line));
                    Ok(())
                },
            ));
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .callbacks(callbacks.clone())
                .build()
                .unwrap();
            let mut stream = chat.stream(vec![Message::human("hi")]).await.unwrap();
            let mut last = None;
            while let Some(chunk) = stream.next().await {
                last = Some(chunk);
            }
            let error = last.unwrap().unwrap_err();
            let cause = error.cause::<OpenAiError>();
            assert!(
                matches!(cause, Some(OpenAiError::Reported { message, code: Some(code), .. }) if message == text && code == "502"),
                "{error:?}"
            );
            callbacks.flush().await.unwrap();
            assert_eq!(
                log.lines(),
                ["the server reported an error: gone after \"Let me\", \"hm\" and {\"ci"]
            );
        }
    }

    /// The stream ends after the finish reason of one of two answers.
    async fn an_answer_without_a_finish_reason_is_cut(rt) {
        let events = [
            event(json!({"index": 0, "delta": {"content": "a"}})),
            event(json!({"index": 1, "delta": {"content": "b"}})),
            event(json!({"index": 0, "delta": {}, "finish_reason": "stop"})),
        ];
        let script = Script::given(json!({}), events)
            .fault(rappel_tests::openai_server::Fault::EndsEarly(3));
        let server = Server::start(script).unwrap();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .streaming(true)
            .callbacks(callbacks)
            .build()
            .unwrap();
        let error = chat.invoke("hi").await.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Cut { source: None, .. })), "{error:?}");
        assert_eq!(log.lines().last().unwrap(), "llm_error: failed: a | b");
    }
}
