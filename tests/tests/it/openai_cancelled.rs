//! Calls that are given up at any point, by the caller or by the end of their run: every handler
//! gets exactly one end, and the socket is closed.

use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use futures_util::StreamExt;
use rappel_core::prelude::*;
use rappel_openai::{ChatOpenAi, ChatOpenAiBuilder};
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_tests::virtual_time::VirtualTime;

const TOKENS: [&str; 4] = ["a", "b", "c", "d"];

const START: &str = "chat_model_start: Human: hi";

/// How long the server may take to notice that its client has disconnected. It is immediate, except
/// on a busy machine.
const NOTICES: Duration = Duration::from_secs(30);

fn question() -> Vec<Message> {
    vec![Message::human("hi")]
}

fn model(server: &Server) -> ChatOpenAiBuilder {
    ChatOpenAi::builder().model("m").base_url(server.base_url())
}

/// Callbacks with a sync and an async handler, and the log of each.
fn logged(rt: &Rt) -> (CallbackManager, [Log; 2]) {
    let (sync, asynchronous) = (Log::new(), Log::new());
    let callbacks = rt
        .callbacks()
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    (callbacks, [sync, asynchronous])
}

/// Servers that stop sending, each with whether the answer is streamed, and the tokens that it
/// sends.
fn silent() -> [(Fault, bool, &'static [&'static str]); 4] {
    [
        (Fault::StallBeforeHeaders, true, &[]),
        (Fault::StallBeforeHeaders, false, &[]),
        (Fault::Stall(3), true, &["", "a", "b"]),
        (Fault::Stall(0), false, &[]),
    ]
}

/// The log of a run that was cancelled after those tokens.
fn cancelled_after(tokens: &[&str]) -> Vec<String> {
    let mut lines = vec![START.to_owned()];
    lines.extend(tokens.iter().map(|token| format!("token: {token}")));
    lines.push(format!("llm_error: cancelled: {}", tokens.concat()));
    lines
}

/// Waits until the log has that many lines, and the server that many requests.
async fn until(log: &Log, lines: usize, server: &Server, requests: usize) {
    while log.lines().len() < lines || server.requests().len() < requests {
        yield_now().await;
    }
}

on_every_runtime! {
    async fn a_stream_may_be_dropped_after_any_chunk(rt) {
        // The first chunk has the role, and no text.
        for taken in 0..=TOKENS.len() + 1 {
            let server = Server::start(Script::tokens(TOKENS).gated()).unwrap();
            let (callbacks, logs) = logged(&rt);
            let chat = model(&server).callbacks(callbacks.clone()).build().unwrap();
            let mut stream = chat.stream(question()).await.unwrap();
            server.release(taken);
            for _ in 0..taken {
                stream.next().await.unwrap().unwrap();
            }
            drop(stream);
            callbacks.flush().await.unwrap();

            let tokens: Vec<&str> = [""].into_iter().chain(TOKENS).take(taken).collect();
            for log in logs {
                assert_eq!(log.lines(), cancelled_after(&tokens), "after {taken}");
            }
            assert!(server.wait_broken_off(1, NOTICES), "the socket is open after {taken}");
        }
    }

    async fn a_generation_may_be_dropped_while_the_server_stalls(rt) {
        let server = Server::start(Script::tokens(TOKENS).fault(Fault::Stall(3))).unwrap();
        let (callbacks, logs) = logged(&rt);
        let chat = model(&server).streaming(true).callbacks(callbacks.clone()).build().unwrap();
        let (sender, tokens) = futures_channel::mpsc::unbounded();
        let call = callbacks.clone().with_handler(handler_fn(move |event, _| {
            if let Event::LlmNewToken(token) = event {
                sender.unbounded_send(token.token.to_string())?;
            }
            Ok(())
        }));
        let mut generation = chat.generate_with(vec![question()], call.into());
        let mut tokens = tokens.take(3).collect::<Vec<_>>();
        // The generation goes on until the third token, and never ends by itself.
        futures_util::future::poll_fn(|cx| {
            assert!(generation.as_mut().poll(cx).is_pending());
            std::pin::Pin::new(&mut tokens).poll(cx)
        })
        .await;
        drop(generation);
        callbacks.flush().await.unwrap();
        for log in logs {
            assert_eq!(log.lines(), cancelled_after(&["", "a", "b"]));
        }
        assert!(server.wait_broken_off(1, NOTICES));
    }

    async fn a_batch_may_be_dropped_while_it_waits_for_whole_answers(rt: with_blocking_threads) {
        let server = Server::start(Script::tokens(TOKENS).gated()).unwrap();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chat = model(&server).callbacks(callbacks.clone()).build().unwrap();
        let mut generation = chat.generate(vec![question(), question()]);
        while server.requests().len() < 2 {
            assert!(poll_once(&mut generation).await.is_none());
        }
        drop(generation);
        callbacks.flush().await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let cancelled = "llm_error: cancelled: ";
        assert_eq!(lines, [START, START, cancelled, cancelled]);
        assert!(server.wait_broken_off(2, NOTICES));
    }

    /// A handler that raises stops the generation, and so the server.
    async fn a_handler_may_stop_a_generation(rt) {
        let server = Server::start(Script::tokens(TOKENS).fault(Fault::Stall(4))).unwrap();
        let log = Log::new();
        let gate = handler_fn(|event, _| match event {
            Event::LlmNewToken(token) if token.token == "b" => Err("enough".into()),
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_handler_options(gate, Awaited::new().raise_error())
            .with_async_handler(log.async_handler());
        let chat = model(&server).streaming(true).callbacks(callbacks.clone()).build().unwrap();
        let error = chat.invoke("hi").await.unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        assert_eq!(
            log.lines(),
            [START, "token: ", "token: a", "token: b", "llm_error: stopped: ab"]
        );
        assert!(server.wait_broken_off(1, NOTICES));
    }

    async fn a_shutdown_ends_a_generation_on_a_silent_server(rt) {
        for (fault, streaming, tokens) in silent() {
            let what = format!("{fault:?}, streaming: {streaming}");
            let server = Server::start(Script::tokens(TOKENS).fault(fault)).unwrap();
            let (callbacks, logs) = logged(&rt);
            let chat =
                model(&server).streaming(streaming).callbacks(callbacks.clone()).build().unwrap();
            let generation = rt.go(async move { chat.invoke("hi").await });
            until(&logs[1], 1 + tokens.len(), &server, 1).await;
            until(&logs[0], 1 + tokens.len(), &server, 1).await;
            callbacks.shutdown(Duration::ZERO).await.unwrap();
            callbacks.flush().await.unwrap();

            let error = generation.await.unwrap_err();
            assert!(matches!(error, RunError::Cancelled), "{what}: {error:?}");
            for log in logs {
                assert_eq!(log.lines(), cancelled_after(tokens), "{what}");
            }
            assert!(server.wait_broken_off(1, NOTICES), "the socket is open: {what}");
        }
    }

    async fn a_shutdown_ends_a_stream_on_a_silent_server(rt) {
        let server = Server::start(Script::tokens(TOKENS).fault(Fault::Stall(2))).unwrap();
        let (callbacks, logs) = logged(&rt);
        let chat = model(&server).callbacks(callbacks.clone()).build().unwrap();
        let mut stream = chat.stream(question()).await.unwrap();
        for _ in 0..2 {
            stream.next().await.unwrap().unwrap();
        }
        let next = rt.go(async move { (stream.next().await, stream.next().await.is_none()) });
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        callbacks.flush().await.unwrap();

        let (error, ended) = next.await;
        assert!(matches!(error, Some(Err(RunError::Cancelled))), "{error:?}");
        assert!(ended);
        for log in logs {
            assert_eq!(log.lines(), cancelled_after(&["", "a"]));
        }
        assert!(server.wait_broken_off(1, NOTICES));
    }

    async fn a_shutdown_ends_the_wait_for_a_retry(rt) {
        let server =
            Server::start(Script::tokens(TOKENS).fault(Fault::Status(429, String::new()))).unwrap();
        let (callbacks, logs) = logged(&rt);
        let time = VirtualTime::new();
        let chat = model(&server).timer(time.clone()).callbacks(callbacks.clone()).build().unwrap();
        let generation = rt.go(async move { chat.invoke("hi").await });
        // The server's `retry-after`.
        time.until_asleep_for(Duration::from_secs(7)).await;
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        callbacks.flush().await.unwrap();

        let error = generation.await.unwrap_err();
        assert!(matches!(error, RunError::Cancelled), "{error:?}");
        for log in logs {
            assert_eq!(log.lines(), [START, "retry: 1", "llm_error: cancelled: "]);
        }
        assert_eq!(server.requests().len(), 1);
    }

    /// The generation is a child of the chain, so it is closed before the chain's end.
    async fn the_end_of_a_chain_ends_a_generation_under_it(rt) {
        for (fault, streaming, tokens) in silent() {
            let what = format!("{fault:?}, streaming: {streaming}");
            let server = Server::start(Script::tokens(TOKENS).fault(fault)).unwrap();
            let (callbacks, logs) = logged(&rt);
            let chain = callbacks.on_chain_start(ChainStart::new("chain", "hi")).await.unwrap();
            let chat = model(&server).streaming(streaming).build().unwrap();
            let options = CallOptions::from(chain.child());
            let generation = rt.go(async move { chat.invoke_with("hi", options).await });
            until(&logs[1], 2 + tokens.len(), &server, 1).await;
            until(&logs[0], 2 + tokens.len(), &server, 1).await;
            chain.end("done").await.unwrap();

            let error = generation.await.unwrap_err();
            assert!(matches!(error, RunError::Cancelled), "{what}: {error:?}");
            let mut expected = vec!["chain_start: \"hi\"".to_owned()];
            expected.extend(cancelled_after(tokens));
            expected.push("chain_end: \"done\"".to_owned());
            for log in logs {
                assert_eq!(log.lines(), expected, "{what}");
            }
            assert!(server.wait_broken_off(1, NOTICES), "the socket is open: {what}");
        }
    }
}
