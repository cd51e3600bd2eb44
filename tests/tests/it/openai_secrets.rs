//! The key is sent to the server, and is not in any output.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_core::runtime::BoxFuture;
use rappel_openai::{BodyStream, ChatOpenAi, OpenAiError, Transport};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{MARKED_KEY, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

const KEY: &str = MARKED_KEY;

/// A key of characters that JSON and URLs may escape.
const ESCAPED_KEY: &str = "sk-marked/4f9d2c71+never=printed";

/// A server that answers with that status and body.
#[derive(Clone)]
struct Says(u16, String);

impl Transport for Says {
    fn send(
        &self,
        _: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, OpenAiError>> {
        let body = stream::iter([Ok(Bytes::from(self.1.clone()))]).boxed() as BodyStream;
        let mut response = http::Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(self.0).unwrap();
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// A manager whose handler writes the `Debug` of all that it gets.
fn logged(rt: &Rt) -> (CallbackManager, Log) {
    let log = Log::new();
    let lines = log.clone();
    let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
        lines.write(format!("{event:?} {cx:?}"));
        Ok(())
    }));
    (callbacks, log)
}

on_every_runtime! {
    async fn the_key_is_in_no_debug_error_or_event(rt) {
        // The server refuses the key and repeats it in its error, as some servers do.
        let server = Server::start(Script::joke().require_key("another one")).unwrap();
        let (callbacks, log) = logged(&rt);
        for streaming in [true, false] {
            let builder = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .api_key(KEY)
                .streaming(streaming);
            let builder = builder.callbacks(callbacks.clone());
            log.write(format!("{builder:?}"));
            let chat = builder.build().unwrap();
            log.write(format!("{chat:?}"));
            let error = chat.invoke("hi").await.unwrap_err();
            log.write(format!("{error} {error:?}"));
        }
        assert_eq!(
            server.requests()[0].authorization.as_deref(),
            Some(format!("Bearer {KEY}").as_str())
        );
        assert!(
            log.lines().iter().any(|line| line.contains("Incorrect API key provided")),
            "{:?}",
            log.lines()
        );
        assert!(!log.lines().iter().any(|line| line.contains(KEY)), "{:?}", log.lines());
    }

    /// Handlers get the known parameters. An extra field may be a secret.
    async fn extra_fields_are_sent_to_the_server_only(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let (callbacks, log) = logged(&rt);
        let builder = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .temperature(0.5)
            .callbacks(callbacks);
        let chat = builder.extra("gateway_token", KEY).build().unwrap();
        chat.invoke("hi").await.unwrap();
        assert_eq!(server.requests()[0].body["gateway_token"], KEY);
        assert!(log.lines()[0].contains("\"temperature\": Number(0.5)"), "{:?}", log.lines());
        assert!(!log.lines().iter().any(|line| line.contains(KEY)), "{:?}", log.lines());
        assert!(!format!("{chat:?}").contains(KEY), "{chat:?}");
    }

    /// Some gateways do that in their debug mode.
    async fn the_key_is_replaced_if_the_answer_repeats_the_request(rt) {
        let debug = json!({"headers": {"authorization": format!("Bearer {KEY}")}});
        let whole = json!({"choices": [{"message": {"content": "hi", "debug": debug}, "finish_reason": "stop"}], "debug": debug});
        let event = json!({"choices": [{"delta": {"content": "hi", "debug": debug}, "finish_reason": "stop"}], "debug": debug});
        let server = Server::start(Script::given(whole, [event])).unwrap();
        let (callbacks, log) = logged(&rt);
        for streaming in [true, false] {
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .api_key(KEY)
                .streaming(streaming);
            let result =
                chat.callbacks(callbacks.clone()).build().unwrap().invoke("hi").await.unwrap();
            assert_eq!(result.text(), "hi");
            assert_eq!(
                result.llm_output.as_ref().unwrap()["debug"]["headers"]["authorization"],
                "Bearer [redacted]"
            );
            log.write(format!("{result:?}"));
        }
        callbacks.flush().await.unwrap();
        assert!(!log.lines().iter().any(|line| line.contains(KEY)), "{:?}", log.lines());
    }

    /// A result joins the texts of the chunks.
    async fn a_key_that_is_split_over_chunks_is_replaced(rt) {
        let (head, tail) = KEY.split_at(20);
        let events = ["so ", head, tail, ", sk-ma", "y"].map(|text| {
            let calls = json!([
                {"index": 0, "function": {"arguments": text}, "thought": text},
                {"index": 1, "function": {"name": text}},
            ]);
            json!({"choices": [{"index": 0, "delta": {
                "content": text, "reasoning": text, "refusal": text, "thinking": text, "tool_calls": calls,
            }}]})
        });
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let cut = json!({"choices": [{"index": 0, "delta": {"content": "!"}}]});
        for last in [&end, &cut] {
            let server = Server::start(Script::given(json!({}), events.iter().chain([last]).cloned())).unwrap();
            let log = Log::new();
            let lines = log.clone();
            let texts = Log::new();
            let tokens = texts.clone();
            let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
                lines.write(format!("{event:?}"));
                if let Event::LlmNewToken(token) = event {
                    tokens.write(token.token.to_string());
                }
                Ok(())
            }));
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url(server.base_url())
                .api_key(KEY)
                .streaming(true)
                .max_retries(0)
                .callbacks(callbacks.clone())
                .build()
                .unwrap();
            let result = chat.invoke("hi").await;
            callbacks.flush().await.unwrap();
            log.write(format!("{result:?}"));
            assert!(!log.lines().iter().any(|line| line.contains(KEY)), "{:?}", log.lines());
            let expected = "so [redacted], sk-may";
            // A token is late only if it may be the beginning of the key.
            let texts = texts.lines();
            if last == &end {
                assert_eq!(texts, ["so ", "", "[redacted]", ", ", "sk-may", ""]);
                let generation = &result.unwrap().generations[0];
                assert_eq!(generation.text, expected);
                assert_eq!(generation.reasoning, expected);
                assert_eq!(generation.refusal, expected);
                assert_eq!(generation.extra["thinking"], expected);
                assert_eq!(generation.tool_calls[1].name, expected);
                assert_eq!(generation.tool_calls[0].arguments, expected);
                assert_eq!(generation.tool_calls[0].extra["thought"], expected);
            } else {
                assert_eq!(texts, ["so ", "", "[redacted]", ", ", "sk-may", "!"]);
            }
        }
    }

    /// The beginning of a key that does not go on is a text like any other.
    async fn what_is_held_back_comes_before_the_end(rt) {
        let head = &KEY[..20];
        let event = |text: &str, reason: Option<&str>| json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]});
        let held = event(&format!("so {head}"), None);
        for (last, texts) in [
            (Some(event("", Some("stop"))), vec!["so ", head]),
            (Some(event("...", Some("stop"))), vec!["so ", "sk-marked-4f9d2c71-n..."]),
            (None, vec!["so ", head]),
        ] {
            let is_whole = last.is_some();
            let events = std::iter::once(&held).chain(&last);
            let body: String = events.map(|event| format!("data: {event}\n\n")).collect();
            let chat = ChatOpenAi::builder()
                .model("m")
                .base_url("http://models.invalid/v1")
                .transport(Says(200, body))
                .api_key(KEY)
                .max_retries(0)
                .callbacks(rt.callbacks())
                .build()
                .unwrap();
            let mut stream = chat.stream(vec![Message::human("hi")]).await.unwrap();
            let (mut found, mut ends_well) = (Vec::new(), true);
            while let Some(chunk) = stream.next().await {
                match chunk {
                    Ok(chunk) => found.push(chunk.text.to_string()),
                    Err(_) => ends_well = false,
                }
            }
            assert_eq!((found, ends_well), (texts.into_iter().map(str::to_owned).collect(), is_whole));
        }
    }

    async fn an_escaped_key_is_replaced(rt) {
        for spelled in [
            "sk-marked\\/4f9d2c71+never=printed",
            "\\u0073k-marked/4f9d2c71+never=printed",
            "sk-marked%2F4f9d2c71%2Bnever%3Dprinted",
            "sk-marked\\/4f9d2c71%2bnever\\u003Dprinted",
            "sk-marked\\\\/4f9d2c71+never%253Dprinted",
        ] {
            let answer = format!(
                "{{\"choices\":[{{\"delta\":{{\"content\":\"so {spelled}\"}},\"finish_reason\":\"stop\"}}],\"{spelled}\":[\"{spelled}\"]}}"
            );
            let error = format!("{{\"error\":{{\"message\":\"so {spelled}\"}}}}");
            for (status, body) in [
                (200, format!("data: {answer}\n\n")),
                (200, answer),
                (200, format!("data: {error}\n\n")),
                (401, error),
                (401, format!("so {spelled}")),
            ] {
                let (callbacks, log) = logged(&rt);
                let chat = ChatOpenAi::builder()
                    .model("m")
                    .base_url("http://models.invalid/v1")
                    .api_key(ESCAPED_KEY)
                    .max_retries(0)
                    .transport(Says(status, body.clone()))
                    .callbacks(callbacks.clone())
                    .build()
                    .unwrap();
                match chat.invoke("hi").await {
                    Ok(result) => {
                        assert_eq!(result.text(), "so [redacted]");
                        log.write(format!("{result:?}"));
                    }
                    Err(error) => log.write(format!("{error} {error:?}")),
                }
                callbacks.flush().await.unwrap();
                let lines = log.lines().concat();
                assert!(lines.contains("so [redacted]"), "{body}: {lines}");
                assert!(!lines.contains("printed") && !lines.contains("sk-marked"), "{body}: {lines}");
            }
        }
    }

    async fn the_key_is_sent(rt) {
        let server = Server::start(Script::tokens(["hi"]).require_key(KEY)).unwrap();
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .api_key(KEY)
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        assert_eq!(chat.invoke("hi").await.unwrap().text(), "hi");
    }
}
