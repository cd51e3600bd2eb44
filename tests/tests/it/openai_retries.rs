//! A request that may succeed later is sent again, and handlers get each retry.

use std::time::Duration;

use futures_lite::future::or;
use futures_util::StreamExt;
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder, OpenAiError};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, MARKED_KEY, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_tests::virtual_time::VirtualTime;

const START: &str = "chat_model_start: Human: hi";

fn answering() -> Script {
    Script::tokens(["a", "b"])
}

fn limited() -> Fault {
    Fault::Status(429, r#"{"error": {"message": "slow down"}}"#.into())
}

/// Generates. The waits between two attempts end at once, and no other time passes. Returns the
/// result, the waits in the retry events, and the log of a handler.
async fn generate(
    rt: &Rt,
    chat: ChatOpenAiBuilder,
) -> (Result<LlmResult, RunError>, Vec<Duration>, Vec<String>) {
    let (log, time) = (Log::new(), VirtualTime::new());
    let (sender, mut retries) = futures_channel::mpsc::unbounded();
    let callbacks =
        rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |event, _| {
            if let Event::Retry(retry) = event {
                assert!(retry.cause.downcast_ref::<OpenAiError>().is_some(), "{retry:?}");
                sender.unbounded_send(retry.wait)?;
            }
            Ok(())
        }));
    let chat = chat
        .model("m")
        .api_key(MARKED_KEY)
        .callbacks(callbacks.clone())
        .timer(time.clone())
        .build()
        .unwrap();
    let mut waits = Vec::new();
    let generation = async { chat.invoke("hi").await };
    let result = or(generation, async {
        while let Some(wait) = retries.next().await {
            waits.push(wait);
            time.until_asleep_for(wait).await;
            time.advance(wait);
        }
        std::future::pending().await
    })
    .await;
    callbacks.flush().await.unwrap();
    (result, waits, log.lines())
}

on_every_runtime! {
    async fn a_call_succeeds_after_two_429s(rt) {
        for streaming in [true, false] {
            let server = Server::start(answering().fault(limited()).times(2)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            let (result, waits, lines) = generate(&rt, chat).await;
            assert_eq!(result.unwrap().text(), "ab");
            // The server's `retry-after`.
            assert_eq!(waits, [Duration::from_secs(7); 2]);
            assert_eq!(lines[..3], [START, "retry: 1", "retry: 2"]);
            assert_eq!(lines.last().unwrap(), "llm_end: ab");
            assert_eq!(
                lines.iter().filter(|line| line.starts_with("llm_e")).count(),
                1,
                "{lines:?}"
            );
            assert_eq!(server.requests().len(), 3);
        }
    }

    async fn the_third_failure_is_the_error(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let (result, waits, lines) =
            generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error.cause(), Some(OpenAiError::Status { status: 429, .. })),
            "{error:?}"
        );
        assert_eq!(waits.len(), 2);
        assert_eq!(lines, [START, "retry: 1", "retry: 2", "llm_error: failed: "]);
        assert_eq!(server.requests().len(), 3);
    }

    async fn retry_after_may_be_a_date(rt) {
        // The date is in the past, so there is no wait.
        let server = Server::start(
            answering().fault(limited()).times(1).retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
        )
        .unwrap();
        let (result, waits, _) =
            generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        assert_eq!((result.unwrap().text(), waits), ("ab", vec![Duration::ZERO]));
    }

    async fn a_failure_without_retry_after_is_retried_after_a_random_wait(rt) {
        for fault in [
            Fault::CutBeforeHeaders,
            Fault::Status(500, "oops".into()),
            Fault::Status(408, String::new()),
            Fault::Status(409, String::new()),
        ] {
            let server = Server::start(answering().fault(fault).times(1)).unwrap();
            let (result, waits, _) =
                generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
            assert_eq!(result.unwrap().text(), "ab");
            assert!((250..=500).contains(&waits[0].as_millis()), "{waits:?}");
        }
    }

    /// No part of it was returned.
    async fn a_whole_answer_that_breaks_off_is_retried(rt) {
        let server = Server::start(answering().fault(Fault::Cut(1)).times(1)).unwrap();
        let (result, waits, lines) =
            generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        assert_eq!((result.unwrap().text(), waits.len()), ("ab", 1));
        assert_eq!(lines, [START, "retry: 1", "llm_end: ab"]);
    }

    async fn started_streams_and_permanent_errors_are_not_retried(rt) {
        for fault in [
            Fault::Cut(2),
            Fault::ErrorEvent(2),
            Fault::Status(401, "no".into()),
            Fault::Status(400, "no".into()),
            Fault::Gzip,
        ] {
            let server = Server::start(answering().fault(fault)).unwrap();
            let (result, waits, _) =
                generate(&rt, ChatOpenAi::builder().base_url(server.base_url()).streaming(true))
                    .await;
            assert!(result.is_err());
            assert_eq!((waits.len(), server.requests().len()), (0, 1));
        }
    }

    async fn a_wait_beyond_the_total_is_not_started(rt) {
        for (retry_after, total, tries) in
            [("61", None, 1), ("20", Some(10), 1), ("4", Some(10), 3), ("6", Some(10), 2)]
        {
            let server =
                Server::start(answering().fault(limited()).retry_after(retry_after)).unwrap();
            let chat = ChatOpenAi::builder()
                .base_url(server.base_url())
                .total_timeout(total.map(Duration::from_secs));
            let (result, ..) = generate(&rt, chat).await;
            assert!(matches!(
                result.unwrap_err().cause(),
                Some(OpenAiError::Status { status: 429, .. })
            ));
            assert_eq!(server.requests().len(), tries, "{retry_after}");
        }
    }

    /// A handler that raises in `on_retry` stops the call.
    async fn a_handler_may_stop_the_retries(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let log = Log::new();
        let enough = handler_fn(|event, _| match event {
            Event::Retry(_) => Err("enough".into()),
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_handler_options(enough, Awaited::new().raise_error())
            .with_async_handler(log.async_handler());
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .callbacks(callbacks.clone())
            .build()
            .unwrap();
        let error = chat.invoke("hi").await.unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [START, "retry: 1", "llm_error: stopped: "]);
        assert_eq!(server.requests().len(), 1);
    }

    async fn a_call_dropped_while_it_waits_for_a_retry_is_cancelled(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let (log, time) = (Log::new(), VirtualTime::new());
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .callbacks(callbacks.clone())
            .timer(time.clone());
        let chat = chat.build().unwrap();
        let generation = async { chat.invoke("hi").await.map(|_| ()) };
        or(generation, async {
            while log.lines().len() < 2 {
                futures_lite::future::yield_now().await;
            }
            Ok(())
        })
        .await
        .unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [START, "retry: 1", "llm_error: cancelled: "]);
    }

    /// Such a refusal does not pass, however often the request is sent.
    async fn a_final_refusal_is_not_asked_again(rt) {
        for (body, tries) in [
            (r#"{"error": {"message": "no money", "code": "insufficient_quota"}}"#, 1),
            (r#"{"error": {"message": "no money", "type": "insufficient_quota"}}"#, 1),
            (r#"{"error": {"message": "insufficient_quota is a word", "code": "rate_limit"}}"#, 3),
        ] {
            let server = Server::start(answering().fault(Fault::Status(429, body.into()))).unwrap();
            let (result, ..) =
                generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
            assert_eq!(result.unwrap_err().error_type(), "429");
            assert_eq!(server.requests().len(), tries, "{body}");
        }
    }

    async fn the_server_may_say_whether_to_retry(rt) {
        for (status, said, tries) in [(500, "false", 1), (400, "true", 3), (500, "perhaps", 3)] {
            let fault = Fault::Status(status, "no".into());
            let script = answering().fault(fault).header("x-should-retry", said);
            let server = Server::start(script).unwrap();
            let (result, ..) =
                generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
            assert_eq!(result.unwrap_err().error_type(), status.to_string());
            assert_eq!(server.requests().len(), tries, "{status} {said}");
        }
    }

    /// The first event has the role and no content.
    async fn a_stream_that_breaks_before_its_content_is_tried_again(rt) {
        for after in [0, 1] {
            let server = Server::start(answering().fault(Fault::Cut(after)).times(1)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(true);
            let (result, waits, lines) = generate(&rt, chat).await;
            let result = result.unwrap();
            assert_eq!((result.text(), waits.len(), server.requests().len()), ("ab", 1, 2));
            let roles = if after == 0 { 1 } else { 2 };
            assert_eq!(lines.iter().filter(|line| *line == "token: ").count(), roles + 2, "{lines:?}");
            assert_eq!(lines.last().unwrap(), "llm_end: ab");
        }
        let server = Server::start(answering().fault(Fault::Cut(1))).unwrap();
        let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(true);
        let (result, waits, lines) = generate(&rt, chat).await;
        assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::Cut { .. })));
        assert_eq!((waits.len(), server.requests().len()), (2, 3));
        assert_eq!(lines.last().unwrap(), "llm_error: failed: ");
    }

    /// It costs no retry, and the server is not asked for it again.
    async fn a_server_that_refuses_stream_options_is_asked_without(rt) {
        let server = Server::start(answering().refuse_stream_options()).unwrap();
        let model = || ChatOpenAi::builder().model("m").base_url(server.base_url()).max_retries(0);
        let chat = model().streaming(true).callbacks(rt.callbacks()).build().unwrap();
        for requests in [2, 3] {
            assert_eq!(chat.invoke("hi").await.unwrap().text(), "ab");
            assert_eq!(server.requests().len(), requests);
        }
        // What the program asks for itself is not left out.
        let chat = model().stream_options(json!({"include_usage": true})).streaming(true);
        let chat = chat.callbacks(rt.callbacks()).build().unwrap();
        let error = chat.invoke("hi").await.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Status { status: 400, .. })));
    }
}
