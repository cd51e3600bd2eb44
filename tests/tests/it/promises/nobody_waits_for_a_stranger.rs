//! Promise 5: a slow handler delays its emitter if it is awaited, and no other handler's current
//! event. Requests with handlers of their own never delay each other.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::lock;
use rappel_tests::held::{Grip, held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// A handler of every delivery, and beside them an awaited one of each kind that is held in its
/// calls.
fn with_held(rt: &Rt) -> (Watched, [Grip; 2]) {
    let mut watched = Watched::new(rt);
    let ((sync, sync_grip), (asynchronous, async_grip)) = (held(), held_async());
    watched.callbacks = watched.callbacks.with_handler(sync).with_async_handler(asynchronous);
    (watched, [sync_grip, async_grip])
}

/// Meets another handler in each call: it waits until that one is called too.
struct Meets(UnboundedSender<()>, lock::Mutex<UnboundedReceiver<()>>);

impl AsyncCallbackHandler for Meets {
    async fn on_llm_new_token(&self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
        self.0.unbounded_send(())?;
        self.1.lock().await.next().await.ok_or("the other one has gone")?;
        Ok(())
    }
}

/// A future that counts how often it is polled.
struct Polls<F>(Pin<Box<F>>, Arc<AtomicUsize>);

impl<F: Future> Future for Polls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

/// How often the emitters are polled when so many children of one run emit side by side.
async fn polls_of_siblings(rt: &Rt, siblings: usize) -> usize {
    let yields = async_handler_fn(async |_: &Event, _: &EventContext| {
        yield_now().await;
        Ok(())
    });
    let callbacks = rt.callbacks().with_async_handler(yields);
    let parent = chain(&callbacks, "parent").await;
    let polls = Arc::new(AtomicUsize::new(0));
    let emitters = (0..siblings).map(|_| {
        let sibling = streamed(parent.child(), "sibling".into(), 3);
        rt.go(Polls(Box::pin(sibling), polls.clone()))
    });
    join_all(emitters).await.into_iter().for_each(Result::unwrap);
    parent.end(json!(1)).await.unwrap();
    polls.load(Ordering::Relaxed)
}

on_every_runtime! {
    async fn other_handlers_get_the_event_while_one_is_still_in_it(rt: with_blocking_threads) {
        let (watched, grips) = with_held(&rt);
        let run = rt.go(streamed(watched.callbacks.clone(), "run".into(), 0));
        for mut grip in grips {
            assert_eq!(grip.entered().await, "run llm_start: prompt");
            // Both are in their calls, or one of them still is.
            for (_, log) in &watched.logs {
                while log.lines().is_empty() {
                    yield_now().await;
                }
            }
        }
        run.await.unwrap();
    }

    /// One request's handler hangs; another request with a handler of its own comes to its end.
    async fn requests_with_handlers_of_their_own_do_not_delay_each_other(
        rt: with_blocking_threads
    ) {
        let ((slow, mut grip), log) = (held(), Log::new());
        let callbacks = rt.callbacks();
        let hangs = callbacks.clone().with_handler(slow);
        let hangs = rt.go(streamed(hangs, "hangs".into(), 1));
        assert_eq!(grip.entered().await, "hangs llm_start: prompt");
        for number in 0..20 {
            let own = callbacks.clone().with_handler(sync(log.clone()));
            streamed(own, format!("run {number}"), 3).await.unwrap();
        }
        assert_eq!(log.lines().len(), 100);
        drop(grip);
        hangs.await.unwrap();
    }

    async fn handlers_in_the_background_delay_no_emitter(rt) {
        let ((sync, sync_grip), (asynchronous, async_grip)) = (held(), held_async());
        let background = || Background::new(2).open_traces(2);
        let callbacks = rt.callbacks()
            .with_handler_options(sync, background())
            .with_async_handler_options(asynchronous, background());
        for run in 0..5 {
            streamed(callbacks.clone(), format!("run {run}"), 10).await.unwrap();
        }
        drop((sync_grip, async_grip));
        callbacks.flush().await.unwrap();
    }

    /// Capacity counts for each run: one that is full stops its own emitter, and no other.
    async fn a_full_run_stops_its_own_emitter_only(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(1));
        let mut full = model(&callbacks, "full").await;
        assert_eq!(grip.entered().await, "full llm_start: prompt");
        full.on_llm_new_token("a").await.unwrap();
        let mut waits = full.on_llm_new_token("b");
        assert!(poll_once(&mut waits).await.is_none());
        let mut other = model(&callbacks, "other").await;
        other.on_llm_new_token("a").await.unwrap();
        drop(grip);
        waits.await.unwrap();
        drop((full, other));
        callbacks.flush().await.unwrap();
    }

    /// The same for two runs of one trace, whose events wait in one queue.
    async fn a_full_sibling_stops_its_own_emitter_only(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(1));
        let parent = chain(&callbacks, "parent").await;
        assert_eq!(grip.entered().await, "parent chain_start: 0");
        let (mut full, mut other) =
            (model(&parent.child(), "full").await, model(&parent.child(), "other").await);
        full.on_llm_new_token("a").await.unwrap();
        let mut waits = full.on_llm_new_token("b");
        assert!(poll_once(&mut waits).await.is_none());
        other.on_llm_new_token("a").await.unwrap();
        let rest = grip.open();
        waits.await.unwrap();
        drop((full, other, parent));
        callbacks.flush().await.unwrap();
        drop(callbacks);
        let mut seen = rest.await;
        seen.retain(|line| line.contains("token"));
        assert_eq!(seen, ["full token: a", "full token: b", "other token: a"]);
    }

    /// A blocked handler holds up neither a sync nor an async handler beside it.
    async fn a_slow_handler_holds_up_no_other_handlers_token(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let (seen, mut sees) = unbounded();
        let (of_sync, of_async) = (seen.clone(), seen);
        let callbacks = rt.callbacks()
            .with_handler(handler)
            .with_handler(handler_fn(move |event, _| {
                // The test stops listening before the run ends.
                let _ = of_sync.unbounded_send(("sync", event.kind()));
                Ok(())
            }))
            .with_async_handler(async_handler_fn(async move |event: &Event, _: &EventContext| {
                let _ = of_async.unbounded_send(("async", event.kind()));
                Ok(())
            }));
        grip.let_go();
        let run = rt.go(streamed(callbacks, "run".into(), 1));
        let mut tokens = 0;
        while tokens < 2 {
            let (_, kind) = sees.next().await.unwrap();
            tokens += usize::from(kind == EventKind::LlmNewToken);
        }
        // The first handler has not come back from the token.
        assert_eq!(grip.entered().await, "run llm_start: prompt");
        assert_eq!(grip.entered().await, "run token: 0 ");
        drop(grip);
        run.await.unwrap();
    }

    async fn async_handlers_are_polled_side_by_side(rt) {
        let ((to_first, first), (to_second, second)) = (unbounded(), unbounded());
        let callbacks = rt.callbacks()
            .with_async_handler(Meets(to_second, lock::Mutex::new(first)))
            .with_async_handler(Meets(to_first, lock::Mutex::new(second)));
        streamed(callbacks, "run".into(), 3).await.unwrap();
    }

    /// Each emitter is woken for its own events only, however many siblings it has.
    async fn an_emitter_is_not_polled_for_its_siblings_events(rt) {
        let few = polls_of_siblings(&rt, 50).await;
        let many = polls_of_siblings(&rt, 800).await;
        assert!(many <= few * 16 * 2, "{few} polls of 50 siblings, {many} of 800");
    }
}
