//! Any stream of chunks can be wrapped. Each chunk's event is handled before the chunk is returned,
//! and the run ends with the stream.

use std::io;
use std::sync::{Arc, Mutex, mpsc};

use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_lite::future::{poll_once, yield_now};
use futures_util::stream::FusedStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rappel_core::prelude::*;
use rappel_core::{FinishReason, ToolCallChunk, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

fn tokens(
    tokens: &'static [&'static str],
) -> impl Stream<Item = Result<&'static str, io::Error>> + Send + Unpin {
    stream::iter(tokens).map(|token| Ok(*token))
}

async fn start(callbacks: &CallbackManager) -> LlmRun {
    callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap()
}

fn logged(rt: &Rt) -> (CallbackManager, Log) {
    let log = Log::new();
    // Both kinds write to one log, so that it shows a missing or doubled call of either.
    let callbacks =
        rt.callbacks().with_handler(log.handler()).with_async_handler(log.async_handler());
    (callbacks, log)
}

/// Each line twice, because both handlers write it.
fn doubled(lines: &[&str]) -> Vec<String> {
    lines.iter().flat_map(|line| [(*line).to_owned(), (*line).to_owned()]).collect()
}

on_every_runtime! {
    async fn a_token_is_handled_before_the_stream_returns_it(rt) {
        let (callbacks, log) = logged(&rt);
        let mut stream = tokens(&["", "a", "b"]).with_callbacks(start(&callbacks).await);
        let mut seen = vec!["llm_start: prompt".to_owned()];
        while let Some(token) = stream.next().await {
            seen.push(format!("token: {}", token.unwrap()));
            let lines: Vec<&str> = seen.iter().map(String::as_str).collect();
            assert_eq!(log.lines(), doubled(&lines));
        }
        assert!(stream.is_terminated());
        assert!(stream.next().await.is_none(), "it is fused");
        assert_eq!(log.lines()[8..], doubled(&["llm_end: ab"]));
        drop(stream);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines().len(), 10, "an ended run ends once");
    }

    async fn the_end_has_the_result_that_the_chunks_make_together(rt) {
        let result = Arc::new(Mutex::new(None));
        let kept = result.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            if let Event::LlmEnd(end) = event {
                *kept.lock().unwrap() = Some(end.result.clone());
            }
            Ok(())
        }));
        let chunks = [
            LlmChunk::new("Let me ").with_model_name("gpt-4o"),
            LlmChunk::new("look.").with_tool_calls([ToolCallChunk::new(0, "{\"q\":")
                .with_id("call_1")
                .with_name("search")]),
            LlmChunk::default().with_tool_calls([
                ToolCallChunk::new(0, "\"x\"}"),
                ToolCallChunk::new(1, "{}").with_name("clock"),
            ]),
            LlmChunk::default().with_finish_reason("tool_calls"),
            LlmChunk::default().with_index(1).with_finish_reason("eos"),
            LlmChunk::default().with_usage(TokenUsage::new(3, 4)),
        ];
        let stream = stream::iter(chunks)
            .map(Ok::<_, io::Error>)
            .with_callbacks(start(&callbacks).await);
        assert_eq!(stream.count().await, 6);
        let result: LlmResult = result.lock().unwrap().take().unwrap();
        assert_eq!(result.text(), "Let me look.");
        assert_eq!(result.finish_reason(), Some(&FinishReason::ToolCalls));
        assert_eq!(result.generations[1].finish_reason, Some("eos".into()));
        assert_eq!(
            (
                result.model_name.as_deref(),
                result.usage.unwrap().total_tokens
            ),
            (Some("gpt-4o"), 7)
        );
        let calls = &result.generations[0].tool_calls;
        assert_eq!(
            (
                calls[0].id.as_deref(),
                calls[0].name.as_str(),
                calls[1].name.as_str()
            ),
            (Some("call_1"), "search", "clock")
        );
        assert_eq!(calls[0].parse_arguments().unwrap(), json!({"q": "x"}));
    }

    /// The token before the stream is still being handled, by another thread, when the stream begins.
    async fn the_end_has_the_whole_result_whatever_is_in_flight_when_the_stream_begins(rt) {
        struct Slow(Mutex<mpsc::Receiver<()>>, UnboundedSender<()>, Log);

        impl AsyncCallbackHandler for Slow {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::LlmNewToken).with(EventKind::LlmEnd)
            }

            async fn on_llm_new_token(&self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
                if token.token == "first" {
                    yield_now().await;
                    self.1.unbounded_send(()).unwrap();
                    let _ = self.0.lock().unwrap().recv();
                }
                Ok(())
            }

            async fn on_llm_end(&self, end: &LlmEnd, _: &EventContext) -> HandlerResult {
                self.2.write(end.result.text());
                Ok(())
            }
        }

        if rt.flavour().is_single_threaded() {
            return;
        }
        let (release, waits) = mpsc::channel();
        let (enters, mut entered) = unbounded();
        let log = Log::new();
        let callbacks = rt.callbacks().with_async_handler(Slow(Mutex::new(waits), enters, log.clone()));
        let mut run = start(&callbacks).await;
        assert!(poll_once(run.on_llm_new_token("first")).await.is_none());
        entered.next().await;
        let stream = tokens(&["a", "b"]).with_callbacks(run);
        release.send(()).unwrap();
        let items: Vec<&str> = stream.try_collect().await.unwrap();
        assert_eq!((items, log.lines()), (vec!["a", "b"], vec!["ab".to_owned()]));
    }

    async fn an_error_of_a_stream_carries_the_partial_result(rt) {
        let (callbacks, log) = logged(&rt);
        let cut =
            tokens(&["a", "b"]).chain(stream::iter([Err(io::Error::other("cut")), Ok("never")]));
        let mut stream = cut.with_callbacks(start(&callbacks).await);
        assert_eq!(stream.next().await.unwrap().unwrap(), "a");
        assert_eq!(stream.next().await.unwrap().unwrap(), "b");
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(
            error
                .cause::<io::Error>()
                .map(ToString::to_string)
                .as_deref(),
            Some("cut")
        );
        assert!(
            stream.next().await.is_none(),
            "nothing comes after an error"
        );
        assert_eq!(log.lines()[6..], doubled(&["llm_error: failed: ab"]));
    }

    /// Items after the last one are handed on, and an error is not followed by another one.
    async fn a_stream_that_ends_before_its_last_item_fails_its_run(rt) {
        let chunk = |text: &'static str| Ok::<_, io::Error>(LlmChunk::new(text));
        let stop = || Ok(LlmChunk::default().with_finish_reason("stop"));
        let usage = || Ok(LlmChunk::default().with_usage(TokenUsage::new(3, 4)));
        let cut = || Err(io::Error::other("cut"));
        let cases = [
            (vec![chunk("a"), chunk("b"), stop(), usage()], Ok("ab"), "llm_end: ab"),
            (vec![chunk("a"), chunk("b")], Err("the stream broke off"), "llm_error: failed: ab"),
            (vec![chunk("a"), cut(), stop()], Err("cut"), "llm_error: failed: a"),
            (vec![chunk("a"), stop(), cut()], Err("cut"), "llm_error: failed: a"),
            (vec![], Err("the stream broke off"), "llm_error: failed: "),
        ];
        for (items, expected, end) in cases {
            let (callbacks, log) = logged(&rt);
            let chunks = stream::iter(items).require_last(|chunk| chunk.finish_reason.is_some());
            let chunks = chunks.with_callbacks(start(&callbacks).await);
            let result = chunks.try_collect::<LlmResult>().await;
            let result = result.as_ref().map(LlmResult::text).map_err(ToString::to_string);
            assert_eq!(result, expected.map_err(ToOwned::to_owned));
            let ends = log.lines().into_iter().filter(|line| !line.contains("token"));
            assert_eq!(ends.skip(2).collect::<Vec<_>>(), doubled(&[end]));
        }
    }

    async fn a_stream_that_breaks_off_has_an_error_of_its_own_type_and_ends(rt) {
        let (callbacks, _log) = logged(&rt);
        let tokens = tokens(&["a"]).require_last(|token| *token == "z");
        let mut tokens = tokens.with_callbacks(start(&callbacks).await);
        assert_eq!(tokens.next().await.unwrap().unwrap(), "a");
        let error = tokens.next().await.unwrap().unwrap_err();
        assert_eq!(error.error_type(), "response_cut");
        assert!(tokens.next().await.is_none(), "nothing comes after an error");
    }

    /// The partial result has the chunks before the error.
    async fn an_error_at_any_chunk_is_one_error_event(rt) {
        for cut_at in 0..=3 {
            let (callbacks, log) = logged(&rt);
            let chunks = ["a", "b", "c"]
                .into_iter()
                .take(cut_at)
                .map(Ok)
                .chain([Err(io::Error::other("cut"))]);
            let stream = stream::iter(chunks).with_callbacks(start(&callbacks).await);
            assert_eq!(
                stream
                    .filter(|item| std::future::ready(item.is_ok()))
                    .count()
                    .await,
                cut_at
            );
            let lines = log.lines();
            let errors: Vec<&String> = lines
                .iter()
                .filter(|line| line.starts_with("llm_e"))
                .collect();
            assert_eq!(
                errors,
                [&format!("llm_error: failed: {}", &"abc"[..cut_at]); 2]
            );
        }
    }

    async fn a_stream_dropped_after_any_token_ends_its_run_once(rt) {
        for taken in 0..=3 {
            let (callbacks, log) = logged(&rt);
            let mut stream = tokens(&["a", "b", "c"]).with_callbacks(start(&callbacks).await);
            for _ in 0..taken {
                stream.next().await.unwrap().unwrap();
            }
            drop(stream);
            callbacks.flush().await.unwrap();
            let mut expected = vec!["llm_start: prompt"];
            expected.extend(&["token: a", "token: b", "token: c"][..taken]);
            let cancelled = format!("llm_error: cancelled: {}", &"abc"[..taken]);
            expected.push(&cancelled);
            assert_eq!(log.lines(), doubled(&expected), "after {taken}");
        }
    }

    async fn a_stream_whose_parent_ends_first_keeps_its_partial_result(rt) {
        let (callbacks, log) = logged(&rt);
        let chain = callbacks.group("chain").await.unwrap();
        let run = chain
            .child()
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        let mut stream = tokens(&["a", "b"]).with_callbacks(run);
        stream.next().await.unwrap().unwrap();
        stream.next().await.unwrap().unwrap();
        chain.end(json!({})).await.unwrap();
        assert!(matches!(
            stream.next().await,
            Some(Err(RunError::Cancelled))
        ));
        assert!(stream.next().await.is_none());
        // The two handlers may be called in any order, but each sees the child's end first.
        let mut lines = log.lines().split_off(8);
        assert_eq!(lines[0], "llm_error: cancelled: ab");
        lines.sort();
        assert_eq!(
            lines,
            doubled(&["chain_end: {}", "llm_error: cancelled: ab"])
        );
    }

    /// The end waits behind an event whose emit was dropped. Its result was decided at its first
    /// poll.
    async fn a_stream_dropped_while_its_end_waits_keeps_its_result(rt) {
        let log = Log::new();
        let (gate, opens) = futures_channel::oneshot::channel::<()>();
        let opens = futures_util::FutureExt::shared(opens);
        let waits = async_handler_fn(async move |event, _| {
            if let Event::LlmNewToken(_) = event {
                let _ = opens.clone().await;
            }
            Ok(())
        });
        let callbacks = rt
            .callbacks()
            .with_async_handler(log.async_handler())
            .with_async_handler(waits);
        let mut run = start(&callbacks).await;
        assert!(
            futures_lite::future::poll_once(run.on_llm_new_token("a"))
                .await
                .is_none()
        );
        let mut stream = tokens(&[]).with_callbacks(run);
        assert!(
            futures_lite::future::poll_once(stream.next())
                .await
                .is_none()
        );
        drop(stream);
        drop(gate);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "llm_end: a"]);
    }

    async fn a_handler_can_stop_a_stream(rt) {
        let log = Log::new();
        let gate = handler_fn(|event, _| match event {
            Event::LlmNewToken(token) if token.token == "bad" => {
                Err(HandlerError::new("not that word"))
            }
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_handler_options(gate, Awaited::new().raise_error())
            .with_async_handler(log.async_handler());
        let mut stream = tokens(&["good", "bad", "never"]).with_callbacks(start(&callbacks).await);
        assert_eq!(stream.next().await.unwrap().unwrap(), "good");
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(error, RunError::Stopped(_)), "{error}");
        // The end has been handled already.
        assert_eq!(
            log.lines(),
            [
                "llm_start: prompt",
                "token: good",
                "token: bad",
                "llm_error: stopped: goodbad"
            ]
        );
        assert!(stream.next().await.is_none());
    }

    async fn without_handlers_a_stream_returns_the_same_items(rt) {
        let stream = tokens(&["a", "b"]).with_callbacks(start(&rt.callbacks()).await);
        let all: Vec<&str> = stream.map(Result::unwrap).collect().await;
        assert_eq!(all, ["a", "b"]);
    }
}
