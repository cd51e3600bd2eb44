//! Settings of one call, headers, addresses, and what a server says beside its answer.

use std::time::Duration;

use futures_lite::future::or;
use rappel_core::prelude::*;
use rappel_core::{CallOptions, Value, json};
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder, OpenAiError, Phase, SendReasoning, Tool};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, MARKED_KEY, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::virtual_time::VirtualTime;

fn model(server: &Server) -> ChatOpenAiBuilder {
    ChatOpenAi::builder().model("m").base_url(server.base_url()).max_retries(0)
}

on_every_runtime! {
    async fn what_a_call_does_not_name_is_the_models_setting(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let chat = model(&server)
            .temperature(0.5)
            .max_tokens(10)
            .seed(1)
            .extra("top_k", 5)
            .tools([Tool::function("now")])
            .tool_choice("auto")
            .callbacks(rt.callbacks())
            .build()
            .unwrap();
        let options = CallOptions::new()
            .model("other")
            .temperature(0.25)
            .max_completion_tokens(7)
            .stop(["."])
            .response_format(json!({"type": "json_object"}))
            .extra("min_p", 0.5);
        chat.invoke_with("hi", options).await.unwrap();
        chat.invoke_with("hi", CallOptions::new().tools([Tool::function("then")]).seed(2)).await.unwrap();
        chat.invoke_with("hi", CallOptions::new().tools(Vec::<Value>::new())).await.unwrap();
        chat.invoke("hi").await.unwrap();
        let sent: Vec<Value> = server.requests().into_iter().map(|request| request.body).collect();
        let tool = |name: &str| json!([{"type": "function", "function": {"name": name}}]);
        let base = json!({
            "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10, "temperature": 0.5,
            "seed": 1, "tools": tool("now"), "tool_choice": "auto", "stream": false, "top_k": 5,
        });
        assert_eq!(
            sent[0],
            json!({
                "model": "other", "messages": base["messages"], "max_completion_tokens": 7, "temperature": 0.25,
                "stop": ["."], "seed": 1, "tools": tool("now"), "tool_choice": "auto",
                "response_format": {"type": "json_object"}, "stream": false, "top_k": 5, "min_p": 0.5,
            })
        );
        assert_eq!((&sent[1]["tools"], &sent[1]["seed"]), (&tool("then"), &json!(2)));
        assert_eq!((sent[2].get("tools"), sent[2].get("tool_choice")), (None, None));
        assert_eq!(sent[3], base);
    }

    async fn an_option_that_cannot_be_sent_is_the_error_of_its_run(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = model(&server).callbacks(callbacks.clone()).build().unwrap();
        for (options, expect) in [
            (CallOptions::new().temperature(f64::NAN), "`temperature` is not a finite number"),
            (CallOptions::new().extra("model", "x"), "`model` has a setting of its own"),
            (CallOptions::new().header("x-a", "b\nc"), "the header `x-a` has a value"),
            (CallOptions::new().tools([json!(7)]), "`tools` is not a JSON object"),
        ] {
            let error = chat.invoke_with("hi", options).await.unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error}");
            assert_eq!(error.error_type(), "invalid_request");
        }
        callbacks.flush().await.unwrap();
        assert_eq!(server.requests().len(), 0);
        assert_eq!(log.lines(), ["chat_model_start: Human: hi", "llm_error: failed: "].repeat(4));
    }

    async fn a_call_may_have_limits_of_its_own(rt) {
        let server = Server::start(Script::tokens(["hi"]).fault(Fault::StallBeforeHeaders)).unwrap();
        let time = VirtualTime::new();
        let chat = model(&server).connect_timeout(None).timer(time.clone()).callbacks(rt.callbacks()).build().unwrap();
        for (options, expected) in [
            (CallOptions::new().first_byte_timeout(Duration::from_secs(3)), Phase::FirstByte),
            (CallOptions::new().total_timeout(Duration::from_secs(5)), Phase::Total),
        ] {
            let fly = async {
                time.fly().await;
                unreachable!("it flies on and on")
            };
            let error = or(chat.invoke_with("hi", options), fly).await.unwrap_err();
            assert!(
                matches!(error.cause(), Some(OpenAiError::TimedOut { phase, .. }) if *phase == expected),
                "{error:?}"
            );
            assert_eq!(error.error_type(), "timeout");
        }
    }

    async fn headers_and_parameters_are_sent_and_their_secrets_are_in_no_output(rt) {
        let server = Server::start(Script::tokens(["hi"]).require_key("another")).unwrap();
        let log = Log::new();
        let events = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            events.write(format!("{event:?} {cx:?}"));
            Ok(())
        }));
        let secret = format!("{MARKED_KEY}-header");
        let builder = model(&server)
            .header("X-Gateway-Token", &secret)
            .header("authorization", format!("Bearer {MARKED_KEY}"))
            .query("sig", format!("{MARKED_KEY}+query"))
            .organization("org-1")
            .project("proj-1")
            .callbacks(callbacks);
        log.write(format!("{builder:?}"));
        let chat = builder.build().unwrap();
        log.write(format!("{chat:?}"));
        let options = CallOptions::new().header("x-call-key", format!("{MARKED_KEY}-call"));
        log.write(format!("{options:?}"));
        // The server repeats the key in its error.
        let error = chat.invoke_with("hi", options).await.unwrap_err();
        log.write(format!("{error} {error:?}"));
        let request = &server.requests()[0];
        assert_eq!(request.header("x-gateway-token"), Some(&*secret));
        assert_eq!(request.header("x-call-key"), Some(&*format!("{MARKED_KEY}-call")));
        assert_eq!(request.header("openai-organization"), Some("org-1"));
        assert_eq!(request.header("openai-project"), Some("proj-1"));
        assert_eq!(request.query.as_deref(), Some(&*format!("sig={MARKED_KEY}%2Bquery")));
        assert!(error.to_string().contains("Incorrect API key provided: [redacted]"), "{error}");
        assert!(!log.lines().iter().any(|line| line.contains(MARKED_KEY)), "{:?}", log.lines());
    }

    async fn azure_has_its_own_address_and_header(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let endpoint = server.base_url().replace("/v1", "/");
        let chat = ChatOpenAi::azure(endpoint, "gpt-4o", "2024-10-21").api_key(MARKED_KEY);
        let chat = chat.callbacks(rt.callbacks()).build().unwrap();
        chat.invoke("hi").await.unwrap();
        let request = &server.requests()[0];
        assert_eq!(request.path, "/openai/deployments/gpt-4o/chat/completions");
        assert_eq!(request.query.as_deref(), Some("api-version=2024-10-21"));
        assert_eq!((request.header("api-key"), request.header("authorization")), (Some(MARKED_KEY), None));
        assert_eq!(request.body["model"], "gpt-4o");
    }

    async fn a_base_url_may_be_written_in_several_ways(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let base = server.base_url();
        for url in [
            base.clone(),
            format!("{base}/"),
            format!("{base}/chat/completions"),
            format!("{base}/chat/completions/?a=b"),
            format!("{base}?a=b"),
        ] {
            let chat = ChatOpenAi::builder().model("m").base_url(&url).callbacks(rt.callbacks());
            assert_eq!(chat.build().unwrap().invoke("hi").await.unwrap().text(), "hi", "{url}");
            let query = url.contains('?').then_some("a=b");
            assert_eq!(server.requests().last().unwrap().query.as_deref(), query, "{url}");
        }
    }

    async fn a_404_names_the_address(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let root = server.base_url().replace("/v1", "");
        for (url, asks) in [(format!("{root}?key={MARKED_KEY}"), true), (format!("{root}/api/v1"), false)] {
            let chat = ChatOpenAi::builder().model("m").base_url(&url).callbacks(rt.callbacks());
            let error = chat.build().unwrap().invoke("hi").await.unwrap_err().to_string();
            assert!(error.contains(&root) && error.contains("/chat/completions"), "{error}");
            assert_eq!(error.contains("is `/v1` missing in the base URL?"), asks, "{error}");
            assert!(!error.contains(MARKED_KEY), "{error}");
        }
    }

    async fn what_the_headers_say_is_in_the_result_and_in_errors(rt) {
        let script = || {
            Script::tokens(["hi"])
                .header("x-request-id", "req_1")
                .header("openai-processing-ms", "250")
                .header("x-ratelimit-remaining-tokens", "99")
        };
        let server = Server::start(script()).unwrap();
        for streaming in [true, false] {
            let chat = model(&server).streaming(streaming).callbacks(rt.callbacks()).build().unwrap();
            let result = chat.invoke("hi").await.unwrap();
            assert_eq!(result.request_id.as_deref(), Some("req_1"));
            assert_eq!(result.response_id.as_deref(), Some("chatcmpl-1"));
            let output = result.llm_output.unwrap();
            assert_eq!((&output["request_id"], &output["processing_ms"]), (&json!("req_1"), &json!(250)));
            assert_eq!(output["rate_limits"], json!({"remaining-tokens": "99"}));
        }
        for fault in [Fault::Status(429, "slow down".into()), Fault::ErrorEvent(2)] {
            let server = Server::start(script().fault(fault)).unwrap();
            let chat = model(&server).streaming(true).callbacks(rt.callbacks()).build().unwrap();
            let error = chat.invoke("hi").await.unwrap_err();
            let said = error.cause::<OpenAiError>().and_then(OpenAiError::server).unwrap();
            assert_eq!(said.request_id.as_deref(), Some("req_1"));
            assert_eq!(said.rate_limits["remaining-tokens"], "99");
        }
    }

    async fn a_run_names_its_provider_and_server(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            if let Event::ChatModelStart(start) = event {
                let server = (&start.provider, &start.server_address, start.server_port);
                seen.write(format!("{server:?}"));
            }
            Ok(())
        }));
        let chat = model(&server).provider("vllm").callbacks(callbacks.clone()).build().unwrap();
        chat.invoke("hi").await.unwrap();
        callbacks.flush().await.unwrap();
        let port = server.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse::<u16>().unwrap();
        let expected = (Some("vllm".to_owned()), Some("127.0.0.1".to_owned()), Some(port));
        assert_eq!(log.lines(), [format!("{expected:?}")]);
    }

    /// The second turn of a tool call, with a server that answers 400 if the reasoning is missing.
    async fn reasoning_goes_back_with_a_tool_call(rt) {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}});
        let message = json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call]});
        let whole = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]});
        let mut delta = message.clone();
        delta["tool_calls"][0]["index"] = json!(0);
        let event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]});
        let server = Server::start(Script::given(whole, [event]).require_reasoning()).unwrap();
        for (streaming, send, fine) in [
            (true, SendReasoning::Auto, true),
            (false, SendReasoning::Auto, true),
            (false, SendReasoning::Always, true),
            (false, SendReasoning::Never, false),
        ] {
            let chat = model(&server).streaming(streaming).send_reasoning(send);
            let chat = chat.callbacks(rt.callbacks()).build().unwrap();
            let mut turn = vec![Message::human("when?")];
            let mut answer = chat.invoke(turn.clone()).await.unwrap();
            turn.push(answer.generations.remove(0).into());
            turn.push(Message::tool("c1", "noon"));
            let second = chat.invoke(turn).await;
            assert_eq!(second.is_ok(), fine, "{send:?}: {second:?}");
        }
    }
}
