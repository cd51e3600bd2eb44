//! 9. Memory is bounded by what is open: queues have limits, whatever has to go is counted and told, and nothing grows with the number of finished runs.

use futures_lite::future::poll_once;
use rappel_core::LlmChunk;
use rappel_tests::held::{Grip, held};
use rappel_tests::on_every_runtime;

use super::*;

/// A handler that writes the tokens that it gets, and what it is told to have missed, once it is let go of its first event.
struct Counts {
    first: Option<rappel_tests::held::Held>,
    log: Log,
}

impl CallbackHandler for Counts {
    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        if let Some(mut held) = self.first.take() {
            held.on_event(event, run)?;
        }
        let losses = event.losses();
        let missed = if losses.is_none() {
            String::new()
        } else {
            format!(" after {} and {} runs", losses.dropped, losses.refused_runs)
        };
        self.log.write(format!("{}{missed}", line(event)));
        Ok(())
    }
}

/// A run whose handler is in its start, and takes nothing more before it is let go.
async fn stuck<D>(rt: &Rt, options: HandlerOptions<D>) -> (CallbackManager, rappel_core::LlmRun, Log, Grip) {
    let ((first, mut grip), log) = (held(), Log::new());
    let handler = Counts {
        first: Some(first),
        log: log.clone(),
    };
    let callbacks = rt.callbacks().with_handler_options(handler, options);
    let run = callbacks.on_llm_start(LlmStart::new("run", "")).await.unwrap();
    assert_eq!(grip.entered().await, "run llm_start: ");
    (callbacks, run, log, grip)
}

fn pipelined(overflow: Overflow) -> HandlerOptions<Pipelined> {
    HandlerOptions::new().delivery(Pipelined { capacity: 2 }).overflow(overflow)
}

async fn tokens(run: &rappel_core::LlmRun, tokens: &[&str]) {
    for token in tokens {
        run.on_llm_new_token(*token).await.unwrap();
    }
}

fn retry(attempt: u32) -> Retry {
    Retry::new(attempt, "slow", std::time::Duration::ZERO)
}

on_every_runtime! {
    async fn a_full_mailbox_makes_its_emitter_wait(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::Wait)).await;
        tokens(&run, &["a", "b"]).await;
        let mut third = run.on_llm_new_token("c");
        assert!(poll_once(&mut third).await.is_none());
        assert_eq!(callbacks.stats()[0].pending, 4);
        grip.let_go();
        third.await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(log.lines(), ["llm_start: ", "token: a", "token: b", "token: c", "llm_end: "]);
    }

    /// An emitter that goes away while it waits for room takes nothing with it: its event was accepted.
    async fn an_emitter_that_is_dropped_while_it_waits_for_room(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::Wait)).await;
        tokens(&run, &["a", "b"]).await;
        let mut third = run.on_llm_new_token("c");
        assert!(poll_once(&mut third).await.is_none());
        drop(third);
        drop(run);
        drop(grip);
        callbacks.flush().await;
        assert_eq!(log.lines(), ["llm_start: ", "token: a", "token: b", "token: c", "llm_error: cancelled: abc"]);
    }

    async fn tokens_are_joined_and_no_text_is_lost(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::Coalesce)).await;
        tokens(&run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(log.lines(), ["llm_start: ", "token: a", "token: bcde", "llm_end: "]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.joined, stats.dropped), (4, 3, 0));
    }

    /// Tokens of several choices are texts of their own; chunks keep all that they bring.
    async fn chunks_are_joined_choice_by_choice(rt: with_blocking_threads) {
        let chunks = Arc::new(Mutex::new(LlmResult::new()));
        let joined = chunks.clone();
        let (first, mut grip) = held();
        let mut first = Some(first);
        let handler = handler_fn(move |event, run| {
            if let Some(mut held) = first.take() {
                held.on_event(event, run)?;
            }
            if let Event::LlmNewToken(token) = event {
                joined.lock().unwrap().push_chunk(token.chunk.as_ref().unwrap());
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler_options(handler, pipelined(Overflow::Coalesce));
        let run = callbacks.on_llm_start(LlmStart::new("run", "")).await.unwrap();
        grip.entered().await;
        let mut whole = LlmResult::new();
        for number in 0..10_u32 {
            let call = rappel_core::ToolCallChunk::new(0, format!("{number},"));
            let call = if number < 2 { call.with_id(format!("call {number}")).with_name("tool") } else { call };
            let chunk = LlmChunk::new(format!("{number} ")).with_index(number % 2).with_tool_calls([call]);
            let mut chunk = if number == 9 { chunk.with_finish_reason("stop") } else { chunk };
            chunk.reasoning = format!("thought {number} ").into();
            chunk.refusal = format!("no {number} ").into();
            chunk.logprobs.push(rappel_core::TokenLogprob::new(number.to_string(), -1.0));
            chunk.extra.insert("list".to_owned(), rappel_core::json!([number]));
            chunk.llm_output.insert("last".to_owned(), number.into());
            whole.push_chunk(&chunk);
            run.on_llm_new_token(chunk).await.unwrap();
        }
        drop(grip);
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(callbacks.stats()[0].joined, 8);
        assert_eq!(*chunks.lock().unwrap(), whole);
    }

    async fn the_oldest_tokens_go(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::DropOldest)).await;
        tokens(&run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(log.lines(), ["llm_start: ", "token: d after 3 and 0 runs", "token: e", "llm_end: "]);
        assert_eq!(callbacks.stats()[0].dropped, 3);
    }

    async fn the_newest_tokens_go(rt: with_blocking_threads) {
        let (callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::DropNewest)).await;
        tokens(&run, &["a", "b", "c", "d", "e"]).await;
        drop(grip);
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(log.lines(), ["llm_start: ", "token: a", "token: b", "llm_end:  after 3 and 0 runs"]);
        assert_eq!(callbacks.stats()[0].dropped, 3);
    }

    /// Only tokens are dropped: whatever the overflow, another event waits for room.
    async fn other_events_are_not_dropped(rt: with_blocking_threads) {
        for overflow in [Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest] {
            let (_callbacks, run, log, grip) = stuck(&rt, pipelined(overflow)).await;
            tokens(&run, &["a", "b"]).await;
            let mut retry = run.on_retry(retry(1));
            assert!(poll_once(&mut retry).await.is_none());
            drop(grip);
            retry.await.unwrap();
            run.end(LlmResult::new()).await.unwrap();
            assert_eq!(log.lines(), ["llm_start: ", "token: a", "token: b", "retry: 1", "llm_end: "]);
        }
    }

    /// Where tokens can be joined, they make room for other events too.
    async fn joined_tokens_make_room(rt: with_blocking_threads) {
        let (_callbacks, run, log, grip) = stuck(&rt, pipelined(Overflow::Coalesce)).await;
        tokens(&run, &["a", "b"]).await;
        run.on_retry(retry(1)).await.unwrap();
        let mut second = run.on_retry(retry(2));
        assert!(poll_once(&mut second).await.is_none());
        drop(grip);
        second.await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(log.lines(), ["llm_start: ", "token: ab", "retry: 1", "retry: 2", "llm_end: "]);
    }

    /// In the background nobody waits. Where tokens are joined, what cannot be is dropped, and never any text; starts and ends have their room.
    async fn in_the_background_no_text_has_to_go(rt: with_blocking_threads) {
        let options = HandlerOptions::new().delivery(Background { capacity: 2, open_runs: 1 });
        let (callbacks, run, log, grip) = stuck(&rt, options).await;
        tokens(&run, &["a", "b", "c"]).await;
        for attempt in 1..=4 {
            run.on_retry(retry(attempt)).await.unwrap();
        }
        tokens(&run, &["d", "e"]).await;
        run.on_retry(retry(5)).await.unwrap();
        tokens(&run, &["f"]).await;
        run.end(LlmResult::new()).await.unwrap();
        // It has taken as many runs as it may, until it has handled the end of this one.
        streamed(callbacks.clone(), "refused".into(), 3).await.unwrap();
        drop(grip);
        callbacks.flush().await;
        streamed(callbacks.clone(), "taken".into(), 0).await.unwrap();
        callbacks.flush().await;
        assert_eq!(log.lines(), [
            "llm_start: ", "token: abc after 0 and 1 runs", "retry: 1", "token: def after 3 and 0 runs", "llm_end:  after 1 and 0 runs",
            "llm_start: prompt", "llm_end: all",
        ]);
        let stats = &callbacks.stats()[0];
        assert_eq!((stats.handled, stats.dropped, stats.joined, stats.refused_runs, stats.open_runs), (7, 4, 4, 1, 0));
    }

    /// Where tokens are dropped, another event takes the place of one, or goes.
    async fn in_the_background_something_has_to_go(rt: with_blocking_threads) {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let options = HandlerOptions::new().delivery(Background { capacity: 2, open_runs: 1 }).overflow(overflow);
            let (callbacks, run, log, grip) = stuck(&rt, options).await;
            tokens(&run, &["a", "b", "c"]).await;
            for attempt in 1..=4 {
                run.on_retry(retry(attempt)).await.unwrap();
            }
            run.end(LlmResult::new()).await.unwrap();
            drop(grip);
            callbacks.flush().await;
            assert_eq!(log.lines()[1..], ["retry: 1 after 3 and 0 runs", "retry: 2", "llm_end:  after 2 and 0 runs"]);
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.handled, stats.dropped, stats.joined), (4, 5, 0));
        }
    }

    async fn nothing_is_kept_of_finished_runs(rt) {
        let watched = Watched::new(&rt);
        for run in 0..100 {
            streamed(watched.callbacks.clone(), format!("run {run}"), 1).await.unwrap();
        }
        let dropped = watched.callbacks.on_llm_start(LlmStart::new("dropped", "")).await.unwrap();
        drop(dropped);
        watched.callbacks.flush().await;
        for stats in watched.callbacks.stats() {
            assert_eq!((stats.open_runs, stats.pending), (0, 0), "{}", stats.name);
        }
    }

    /// A handler goes with the last manager or run that has it.
    async fn a_handler_is_dropped_with_its_managers(rt) {
        struct Gone(Option<futures_channel::oneshot::Sender<()>>);

        impl CallbackHandler for Gone {
            fn on_event(&mut self, _: &Event, _: &RunInfo) -> HandlerResult {
                Ok(())
            }
        }

        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.take().map(|gone| gone.send(()));
            }
        }

        let callbacks = CallbackManager::new(rt.clone());
        for run_inline in [false, true] {
            let (gone, is_gone) = futures_channel::oneshot::channel();
            let own = callbacks.clone();
            let own = match run_inline {
                true => own.with_handler_options(Gone(Some(gone)), HandlerOptions::new().run_inline(true)),
                false => own.with_handler_options(Gone(Some(gone)), HandlerOptions::new().timeout(std::time::Duration::from_secs(600))),
            };
            streamed(own.erase(), "run".into(), 3).await.unwrap();
            is_gone.await.unwrap();
        }
    }
}
