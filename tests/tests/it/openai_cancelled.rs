//! Dropping a stream, or the future of a generation, at any point: exactly one end for every handler, and the socket is closed.

use std::time::Duration;

use futures_lite::future::poll_once;
use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_openai::ChatOpenAi;
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

const TOKENS: [&str; 4] = ["a", "b", "c", "d"];

/// How long the server may take to notice that its client has gone; it takes no time but on a busy machine.
const NOTICES: Duration = Duration::from_secs(30);

fn question() -> Vec<Message> {
    vec![Message::human("hi")]
}

fn watched(rt: &Rt, server: &Server) -> (ChatOpenAi, CallbackManager, Log, Log) {
    let (sync, asynchronous) = (Log::new(), Log::new());
    let callbacks = rt
        .callbacks()
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .streaming(true)
        .callbacks(callbacks.clone());
    (chat.build().unwrap(), callbacks, sync, asynchronous)
}

on_every_runtime! {
    async fn a_stream_after_k_chunks_for_every_k(rt) {
        // The first chunk has the role, and no text.
        for taken in 0..=TOKENS.len() + 1 {
            let server = Server::start(Script::tokens(TOKENS).gated()).unwrap();
            let (chat, callbacks, sync, asynchronous) = watched(&rt, &server);
            let mut stream = chat.stream(question()).await.unwrap();
            server.release(taken);
            for _ in 0..taken {
                stream.next().await.unwrap().unwrap();
            }
            drop(stream);
            callbacks.flush().await;

            let seen = &TOKENS[..taken.saturating_sub(1)];
            let mut expected = vec!["chat_model_start: Human: hi".to_owned()];
            expected.extend((taken > 0).then(|| "token: ".to_owned()));
            expected.extend(seen.iter().map(|token| format!("token: {token}")));
            expected.push(format!("llm_error: cancelled: {}", seen.concat()));
            assert_eq!(sync.lines(), expected, "after {taken}");
            assert_eq!(asynchronous.lines(), expected, "after {taken}");
            assert!(server.wait_broken_off(1, NOTICES), "the socket is closed after {taken}");
        }
    }

    async fn a_generation_that_waits_for_a_stalled_server(rt) {
        let server = Server::start(Script::tokens(TOKENS).fault(Fault::Stall(3))).unwrap();
        let (chat, callbacks, sync, asynchronous) = watched(&rt, &server);
        let (heard, hears) = futures_channel::mpsc::unbounded();
        let call = callbacks.clone().with_handler(handler_fn(move |event, _| {
            if let Event::LlmNewToken(token) = event {
                heard.unbounded_send(token.token.to_string())?;
            }
            Ok(())
        }));
        let mut generation = chat.generate_with(vec![question()], call.into());
        let mut hears = hears.take(3).collect::<Vec<_>>();
        // The generation goes on until the third token is there, and never ends by itself.
        futures_util::future::poll_fn(|cx| {
            assert!(generation.as_mut().poll(cx).is_pending());
            std::pin::Pin::new(&mut hears).poll(cx)
        })
        .await;
        drop(generation);
        callbacks.flush().await;
        for log in [sync, asynchronous] {
            let lines = log.lines();
            assert_eq!(lines.last().unwrap(), "llm_error: cancelled: ab");
            assert_eq!(lines.iter().filter(|line| line.starts_with("llm_")).count(), 1, "{lines:?}");
        }
        assert!(server.wait_broken_off(1, NOTICES));
    }

    async fn a_generation_that_waits_for_a_whole_answer(rt: with_blocking_threads) {
        let server = Server::start(Script::tokens(TOKENS).gated()).unwrap();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).callbacks(callbacks.clone()).build().unwrap();
        let mut generation = chat.generate(vec![question(), question()]);
        while server.requests().len() < 2 {
            assert!(poll_once(&mut generation).await.is_none());
        }
        drop(generation);
        callbacks.flush().await;
        let mut lines = log.lines();
        lines.sort();
        let (start, cancelled) = ("chat_model_start: Human: hi", "llm_error: cancelled: ");
        assert_eq!(lines, [start, start, cancelled, cancelled]);
        assert!(server.wait_broken_off(2, NOTICES));
    }

    /// A handler that raises stops the generation, and so the server.
    async fn a_generation_that_a_handler_stops(rt) {
        let server = Server::start(Script::tokens(TOKENS).fault(Fault::Stall(4))).unwrap();
        let log = Log::new();
        let gate = handler_fn(|event, _| match event {
            Event::LlmNewToken(token) if token.token == "b" => Err(HandlerError::new("enough")),
            _ => Ok(()),
        });
        let callbacks = rt.callbacks()
            .on_handler_failure(|_| {})
            .with_handler_options(gate, HandlerOptions::new().raise_error(true))
            .with_async_handler(log.async_handler());
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(true).callbacks(callbacks.clone()).build().unwrap();
        let error = chat.generate(vec![question()]).await.remove(0).unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        callbacks.flush().await;
        assert_eq!(log.lines(), ["chat_model_start: Human: hi", "token: ", "token: a", "token: b", "llm_error: stopped: ab"]);
        assert!(server.wait_broken_off(1, NOTICES));
    }
}
