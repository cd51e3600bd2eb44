//! What may well succeed is tried again, and handlers hear of it.

use std::time::Duration;

use futures_lite::future::or;
use futures_util::StreamExt;
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

/// Generates, with the waits between two attempts over at once, and no other time passing; the waits that handlers were told of, and what
/// they saw.
async fn generate(rt: &Rt, chat: ChatOpenAiBuilder) -> (Result<LlmResult, RunError>, Vec<Duration>, Vec<String>) {
    let (log, time) = (Log::new(), VirtualTime::new());
    let (told, mut retries) = futures_channel::mpsc::unbounded();
    let callbacks = rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |event, _| {
        if let Event::Retry(retry) = event {
            assert!(retry.cause.downcast_ref::<OpenAiError>().is_some(), "{retry:?}");
            told.unbounded_send(retry.wait)?;
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
    let generation = async { chat.generate(vec![vec![Message::human("hi")]]).await.remove(0) };
    let result = or(generation, async {
        while let Some(wait) = retries.next().await {
            waits.push(wait);
            time.until_asleep_for(wait).await;
            time.advance(wait);
        }
        std::future::pending().await
    })
    .await;
    callbacks.flush().await;
    (result, waits, log.lines())
}

on_every_runtime! {
    async fn a_429_and_then_success(rt) {
        for streaming in [true, false] {
            let server = Server::start(answering().fault(limited()).times(2)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).streaming(streaming);
            let (result, waits, lines) = generate(&rt, chat).await;
            assert_eq!(result.unwrap().text(), "ab");
            // The server's own words.
            assert_eq!(waits, [Duration::from_secs(7); 2]);
            assert_eq!(lines[..3], [START, "retry: 1", "retry: 2"]);
            assert_eq!(lines.last().unwrap(), "llm_end: ab");
            assert_eq!(lines.iter().filter(|line| line.starts_with("llm_e")).count(), 1, "{lines:?}");
            assert_eq!(server.requests().len(), 3);
        }
    }

    async fn three_failures_are_one_too_many(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let (result, waits, lines) = generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        let error = result.unwrap_err();
        assert!(matches!(error.cause(), Some(OpenAiError::Status { status: 429, .. })), "{error:?}");
        assert_eq!(waits.len(), 2);
        assert_eq!(lines, [START, "retry: 1", "retry: 2", "llm_error: failed: "]);
        assert_eq!(server.requests().len(), 3);
    }

    async fn a_date_to_come_back_at(rt) {
        // Long ago by every clock: the wait is over.
        let server = Server::start(answering().fault(limited()).times(1).retry_after("Wed, 21 Oct 2015 07:28:00 GMT")).unwrap();
        let (result, waits, _) = generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        assert_eq!((result.unwrap().text(), waits), ("ab", vec![Duration::ZERO]));
    }

    async fn no_answer_at_all_is_tried_again_after_a_while(rt) {
        for fault in [Fault::CutBeforeHeaders, Fault::Status(500, "oops".into()), Fault::Status(408, String::new()), Fault::Status(409, String::new())] {
            let server = Server::start(answering().fault(fault).times(1)).unwrap();
            let (result, waits, _) = generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
            assert_eq!(result.unwrap().text(), "ab");
            assert!((250..=500).contains(&waits[0].as_millis()), "{waits:?}");
        }
    }

    /// Nobody has seen any of it.
    async fn a_whole_answer_that_breaks_off_is_tried_again(rt) {
        let server = Server::start(answering().fault(Fault::Cut(1)).times(1)).unwrap();
        let (result, waits, lines) = generate(&rt, ChatOpenAi::builder().base_url(server.base_url())).await;
        assert_eq!((result.unwrap().text(), waits.len()), ("ab", 1));
        assert_eq!(lines, [START, "retry: 1", "llm_end: ab"]);
    }

    async fn what_has_begun_or_is_hopeless_is_not_tried_again(rt) {
        for fault in [Fault::Cut(2), Fault::ErrorEvent(2), Fault::Status(401, "no".into()), Fault::Status(400, "no".into()), Fault::Gzip] {
            let server = Server::start(answering().fault(fault)).unwrap();
            let (result, waits, _) = generate(&rt, ChatOpenAi::builder().base_url(server.base_url()).streaming(true)).await;
            assert!(result.is_err());
            assert_eq!((waits.len(), server.requests().len()), (0, 1));
        }
    }

    async fn there_must_be_time_for_it(rt) {
        for (retry_after, total, tries) in [("61", None, 1), ("20", Some(10), 1), ("4", Some(10), 3), ("6", Some(10), 2)] {
            let server = Server::start(answering().fault(limited()).retry_after(retry_after)).unwrap();
            let chat = ChatOpenAi::builder().base_url(server.base_url()).total_timeout(total.map(Duration::from_secs));
            let (result, ..) = generate(&rt, chat).await;
            assert!(matches!(result.unwrap_err().cause(), Some(OpenAiError::Status { status: 429, .. })));
            assert_eq!(server.requests().len(), tries, "{retry_after}");
        }
    }

    /// A handler that raises there stops the call, and it is not tried again.
    async fn a_handler_that_has_had_enough(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let log = Log::new();
        let enough = handler_fn(|event, _| match event {
            Event::Retry(_) => Err(HandlerError::new("enough")),
            _ => Ok(()),
        });
        let callbacks = rt.callbacks()
            .on_handler_failure(|_| {})
            .with_handler_options(enough, HandlerOptions::new().raise_error(true))
            .with_async_handler(log.async_handler());
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).callbacks(callbacks.clone()).build().unwrap();
        let error = chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        callbacks.flush().await;
        assert_eq!(log.lines(), [START, "retry: 1", "llm_error: stopped: "]);
        assert_eq!(server.requests().len(), 1);
    }

    /// Given up while it waits, a call is cancelled like any other.
    async fn a_call_that_is_dropped_while_it_waits(rt) {
        let server = Server::start(answering().fault(limited())).unwrap();
        let (log, time) = (Log::new(), VirtualTime::new());
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).callbacks(callbacks.clone()).timer(time.clone());
        let chat = chat.build().unwrap();
        let generation = async { chat.generate(vec![vec![Message::human("hi")]]).await.remove(0).map(|_| ()) };
        or(generation, async {
            while log.lines().len() < 2 {
                futures_lite::future::yield_now().await;
            }
            Ok(())
        })
        .await
        .unwrap();
        callbacks.flush().await;
        assert_eq!(log.lines(), [START, "retry: 1", "llm_error: cancelled: "]);
    }
}
