//! The key is sent to the server, and is not in any output.

use rappel_core::json;
use rappel_core::prelude::*;
use rappel_openai::ChatOpenAi;
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{MARKED_KEY, Script, Server};
use rappel_tests::record::Log;

const KEY: &str = MARKED_KEY;

on_every_runtime! {
    async fn the_key_is_in_no_debug_error_or_event(rt) {
        // The server refuses the key and repeats it in its error, as some servers do.
        let server = Server::start(Script::joke().require_key("another one")).unwrap();
        let log = Log::new();
        let events = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            events.write(format!("{event:?} {cx:?}"));
            Ok(())
        }));
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
        let log = Log::new();
        let events = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            events.write(format!("{event:?}"));
            Ok(())
        }));
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
        let log = Log::new();
        let events = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            events.write(format!("{event:?}"));
            Ok(())
        }));
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
