//! What becomes of events that find their run's share of a queue full.

use rappel_core::{LlmChunk, TokenLogprob, ToolCallChunk};

use super::*;

/// A chunk with a part of everything that a chunk may bring.
fn chunk(number: u32) -> LlmChunk {
    let call = ToolCallChunk::new(0, format!("{number},"));
    let call = match number {
        0 | 1 => call.with_id(format!("call {number}")).with_name("tool"),
        _ => call,
    };
    let chunk = LlmChunk::new(format!("{number} ")).with_index(number % 2).with_tool_calls([call]);
    let mut chunk = if number == 9 { chunk.with_finish_reason("stop") } else { chunk };
    chunk.reasoning = format!("thought {number} ").into();
    chunk.refusal = format!("no {number} ").into();
    chunk.logprobs.push(TokenLogprob::new(number.to_string(), -1.0));
    chunk.extra.insert("list".to_owned(), json!([number]));
    chunk.llm_output.insert("last".to_owned(), number.into());
    chunk
}

on_every_runtime! {
    async fn a_full_queue_makes_its_emitter_wait(rt: with_blocking_threads) {
        let (callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::Wait)).await;
        tokens(&mut run, &["a", "b"]).await;
        let mut third = run.on_llm_new_token("c");
        assert!(poll_once(&mut third).await.is_none());
        assert_eq!(callbacks.stats()[0].pending, 4);
        grip.let_go();
        third.await.unwrap();
        run.end("").await.unwrap();
        let expected = ["llm_start: prompt", "token: a", "token: b", "token: c", "llm_end: "];
        assert_eq!(log.lines(), expected);
    }

    /// Its event was accepted, so it is delivered.
    async fn an_emitter_that_is_dropped_while_it_waits_for_room_takes_nothing_with_it(
        rt: with_blocking_threads
    ) {
        let (callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::Wait)).await;
        tokens(&mut run, &["a", "b"]).await;
        let mut third = run.on_llm_new_token("c");
        assert!(poll_once(&mut third).await.is_none());
        drop(third);
        drop(run);
        drop(grip);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [
            "llm_start: prompt", "token: a", "token: b", "token: c", "llm_error: cancelled: abc",
        ]);
    }

    async fn tokens_are_coalesced_and_no_text_is_lost(rt: with_blocking_threads) {
        let (callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::Coalesce)).await;
        tokens(&mut run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end("").await.unwrap();
        assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "token: bcde", "llm_end: "]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.coalesced, stats.dropped), (4, 3, 0));
    }

    /// Tokens longer than those that a queue holds by value are coalesced too.
    async fn long_tokens_are_coalesced_and_no_text_is_lost(rt: with_blocking_threads) {
        let (_callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::Coalesce)).await;
        let long = ["a", "b", "c", "d", "e"].map(|letter| letter.repeat(100));
        for token in &long {
            run.on_llm_new_token(token.as_str()).await.unwrap();
        }
        drop(grip);
        run.end("").await.unwrap();
        let rest = format!("token: {}", long[1..].concat());
        let first = format!("token: {}", long[0]);
        assert_eq!(log.lines(), ["llm_start: prompt", &first, &rest, "llm_end: "]);
    }

    /// A token joins the last queued token of its own run, also behind a sibling's.
    async fn the_tokens_of_two_alternating_siblings_are_coalesced(rt: with_blocking_threads) {
        let (first, mut grip) = held();
        let log = Log::new();
        let handler = Counts { first: Some(first), log: log.clone() };
        let callbacks = rt.callbacks().with_handler_options(handler, Background::new(8));
        let parent = chain(&callbacks, "parent").await;
        grip.entered().await;
        let mut siblings = [
            model(&parent.child(), "one").await, model(&parent.child(), "two").await,
        ];
        for number in 0..1_000 {
            siblings[number % 2].on_llm_new_token(["a", "b"][number % 2]).await.unwrap();
        }
        drop(grip);
        drop(siblings);
        callbacks.flush().await.unwrap();
        let text: String =
            log.lines().iter().filter_map(|line| line.strip_prefix("token: ")).collect();
        assert_eq!(text.matches('a').count(), 500);
        assert_eq!(text.matches('b').count(), 500);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.coalesced, stats.dropped), (1_000 - 16, 0));
        drop(parent);
    }

    /// Nothing is joined across another event of the same run.
    async fn tokens_are_not_coalesced_across_another_event_of_their_run(rt: with_blocking_threads) {
        let (callbacks, mut run, log, grip) = stuck(&rt, Background::new(3)).await;
        tokens(&mut run, &["a", "b"]).await;
        run.on_retry(retry(1)).await.unwrap();
        tokens(&mut run, &["c", "d"]).await;
        drop(grip);
        drop(run);
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        let at = |part: &str| {
            lines.iter().position(|line| line.starts_with("token") && line.contains(part))
        };
        let retried = lines.iter().position(|line| line == "retry: 1").unwrap();
        assert!(at("b").unwrap() < retried && retried < at("c").unwrap(), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "llm_error: cancelled: abcd");
    }

    /// Tokens of several choices are texts of their own. Chunks keep everything that they bring.
    async fn chunks_are_coalesced_choice_by_choice(rt: with_blocking_threads) {
        let chunks = Arc::new(Mutex::new(LlmResult::new()));
        let joined = chunks.clone();
        let (first, mut grip) = held();
        let mut first = Some(first);
        let handler = handler_fn(move |event, cx| {
            if let Some(mut held) = first.take() {
                held.on_event(event, cx)?;
            }
            if let Event::LlmNewToken(token) = event {
                let mut joined = joined.lock().unwrap();
                match &token.chunk {
                    Some(chunk) => joined.push_chunk(chunk),
                    None => joined.push_text(&token.token),
                }
            }
            Ok(())
        });
        let options = pipelined(Overflow::Coalesce);
        let callbacks = rt.callbacks().with_handler_options(handler, options);
        let mut run = model(&callbacks, "run").await;
        grip.entered().await;
        let mut whole = LlmResult::new();
        for number in 0..10 {
            let chunk = chunk(number);
            whole.push_chunk(&chunk);
            run.on_llm_new_token(chunk).await.unwrap();
        }
        drop(grip);
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(callbacks.stats()[0].coalesced, 8);
        assert_eq!(*chunks.lock().unwrap(), whole);
    }

    async fn the_oldest_tokens_are_dropped(rt: with_blocking_threads) {
        let (callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::DropOldest)).await;
        tokens(&mut run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end("").await.unwrap();
        assert_eq!(log.lines(), [
            "llm_start: prompt", "token: d after 3 and 0 runs", "token: e", "llm_end: ",
        ]);
        assert_eq!(callbacks.stats()[0].dropped, 3);
    }

    async fn the_newest_tokens_are_dropped(rt: with_blocking_threads) {
        let (callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::DropNewest)).await;
        tokens(&mut run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end("").await.unwrap();
        assert_eq!(log.lines(), [
            "llm_start: prompt", "token: a", "token: b", "llm_end:  after 3 and 0 runs",
        ]);
        assert_eq!(callbacks.stats()[0].dropped, 3);
    }

    /// Only tokens are dropped. Another event waits for room, whatever the overflow.
    async fn events_that_are_no_tokens_wait_for_room(rt: with_blocking_threads) {
        for overflow in [Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest] {
            let (_callbacks, mut run, log, grip) = stuck(&rt, pipelined(overflow)).await;
            tokens(&mut run, &["a", "b"]).await;
            let mut second = run.on_retry(retry(1));
            assert!(poll_once(&mut second).await.is_none());
            drop(grip);
            second.await.unwrap();
            run.end("").await.unwrap();
            let expected = ["llm_start: prompt", "token: a", "token: b", "retry: 1", "llm_end: "];
            assert_eq!(log.lines(), expected);
        }
    }

    /// If tokens may be joined, they make room for other events too.
    async fn coalesced_tokens_make_room(rt: with_blocking_threads) {
        let (_callbacks, mut run, log, grip) = stuck(&rt, pipelined(Overflow::Coalesce)).await;
        tokens(&mut run, &["a", "b"]).await;
        run.on_retry(retry(1)).await.unwrap();
        let mut second = run.on_retry(retry(2));
        assert!(poll_once(&mut second).await.is_none());
        drop(grip);
        second.await.unwrap();
        run.end("").await.unwrap();
        let expected = ["llm_start: prompt", "token: ab", "retry: 1", "retry: 2", "llm_end: "];
        assert_eq!(log.lines(), expected);
    }

    /// In the background no emitter waits. If tokens are joined, no text is dropped; what cannot
    /// be joined is dropped; starts and ends have their room.
    async fn in_the_background_no_text_is_dropped(rt: with_blocking_threads) {
        let options = Background::new(2).open_traces(1);
        let (callbacks, mut run, log, grip) = stuck(&rt, options).await;
        tokens(&mut run, &["a", "b", "c"]).await;
        for attempt in 1..=4 {
            run.on_retry(retry(attempt)).await.unwrap();
        }
        tokens(&mut run, &["d", "e"]).await;
        run.on_retry(retry(5)).await.unwrap();
        tokens(&mut run, &["f"]).await;
        run.end("").await.unwrap();
        // It has taken as many traces as it may, until it has handled the end of this one.
        streamed(callbacks.clone(), "refused".into(), 3).await.unwrap();
        drop(grip);
        callbacks.flush().await.unwrap();
        streamed(callbacks.clone(), "taken".into(), 0).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), [
            "llm_start: prompt", "token: abc after 0 and 1 runs", "retry: 1",
            "token: def after 3 and 0 runs", "llm_end:  after 1 and 0 runs",
            "llm_start: prompt", "llm_end: all",
        ]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.dropped, stats.coalesced), (7, 4, 4));
        assert_eq!((stats.refused_runs, stats.open_runs), (1, 0));
    }

    /// If tokens may be dropped, another event takes the place of one, or is dropped.
    async fn in_the_background_tokens_are_dropped_first(rt: with_blocking_threads) {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let options = Background::new(2).open_traces(1).overflow(overflow);
            let (callbacks, mut run, log, grip) = stuck(&rt, options).await;
            tokens(&mut run, &["a", "b", "c"]).await;
            for attempt in 1..=4 {
                run.on_retry(retry(attempt)).await.unwrap();
            }
            run.end("").await.unwrap();
            drop(grip);
            callbacks.flush().await.unwrap();
            let rest = [
                "retry: 1 after 3 and 0 runs", "retry: 2", "llm_end:  after 2 and 0 runs",
            ];
            assert_eq!(log.lines()[1..], rest);
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.handled, stats.dropped, stats.coalesced), (4, 5, 0));
        }
    }
}
