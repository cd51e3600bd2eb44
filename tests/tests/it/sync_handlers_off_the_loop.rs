//! Sync handlers are called off the event loop, one call at a time, in order; unless they asked to be inline.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use futures_util::future::join_all;
use rappel_core::prelude::*;
use rappel_tests::on_every_runtime;

async fn tokens(callbacks: CallbackManager, name: String, tokens: usize) {
    let run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await.unwrap();
    for number in 0..tokens {
        run.on_llm_new_token(number.to_string()).await.unwrap();
    }
    run.end(LlmResult::new()).await.unwrap();
}

/// Blocks its thread on every token until the test says go.
struct Blocking(Receiver<()>);

impl CallbackHandler for Blocking {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        self.0.recv()?;
        Ok(())
    }
}

on_every_runtime! {
    async fn on_another_thread_than_the_emitter(rt: with_blocking_threads) {
        let threads = Arc::new(Mutex::new(Vec::<ThreadId>::new()));
        let (off_loop, inline) = (threads.clone(), Arc::new(Mutex::new(Vec::new())));
        let on_loop = inline.clone();
        let callbacks = rt.callbacks()
            .with_handler(handler_fn(move |_, _| { off_loop.lock().unwrap().push(thread::current().id()); Ok(()) }))
            .with_handler_options(
                handler_fn(move |_, _| { on_loop.lock().unwrap().push(thread::current().id()); Ok(()) }),
                HandlerOptions::new().run_inline(true),
            );
        let here = thread::current().id();
        // Not on a task of its own: the body itself never moves to another thread.
        tokens(callbacks, "llm".into(), 3).await;
        assert_eq!(threads.lock().unwrap().len(), 5);
        assert!(threads.lock().unwrap().iter().all(|thread| *thread != here));
        assert_eq!(*inline.lock().unwrap(), [here; 5]);
    }

    /// The handler blocks until a task on the same loop has made progress: were it on the loop, nothing would ever move again.
    async fn a_handler_that_blocks_does_not_stall_the_loop(rt: with_blocking_threads) {
        let (go, blocked) = channel();
        let callbacks = rt.callbacks().with_handler(Blocking(blocked));
        let ticks = Arc::new(AtomicUsize::new(0));
        let counted = ticks.clone();
        let ticker = rt.go(async move {
            for _ in 0..5 {
                for _ in 0..100 {
                    counted.fetch_add(1, Ordering::Relaxed);
                    futures_lite::future::yield_now().await;
                }
                go.send(()).unwrap();
            }
        });
        tokens(callbacks, "llm".into(), 5).await;
        ticker.await;
        assert_eq!(ticks.load(Ordering::Relaxed), 500);
    }

    /// Across many runs at once: never two calls at a time, nothing lost, each run in order.
    async fn one_call_at_a_time_in_order_also_across_runs(rt) {
        struct Alone {
            busy: Arc<AtomicBool>,
            seen: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
        }

        impl CallbackHandler for Alone {
            fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
                assert!(!self.busy.swap(true, Ordering::SeqCst), "two calls overlap");
                thread::yield_now();
                let line = match event {
                    Event::LlmNewToken(token) => token.token.to_string(),
                    other => other.kind().to_string(),
                };
                self.seen.lock().unwrap().entry(run.name().to_owned()).or_default().push(line);
                assert!(self.busy.swap(false, Ordering::SeqCst));
                Ok(())
            }
        }

        let failures = Arc::new(AtomicUsize::new(0));
        let counted = failures.clone();
        for inline in [false, true] {
            let seen = Arc::new(Mutex::new(BTreeMap::new()));
            let handler = Alone { busy: Arc::default(), seen: seen.clone() };
            let counted = counted.clone();
            let callbacks = rt.callbacks()
                .on_handler_failure(move |failure| { eprintln!("{failure}"); counted.fetch_add(1, Ordering::Relaxed); })
                .with_handler_options(handler, HandlerOptions::new().run_inline(inline));
            join_all((0..20).map(|run| rt.go(tokens(callbacks.clone(), format!("run {run}"), 50)))).await;
            let seen = seen.lock().unwrap();
            let mut expected = vec!["on_llm_start".to_owned()];
            expected.extend((0..50).map(|number| number.to_string()));
            expected.push("on_llm_end".to_owned());
            assert_eq!(seen.len(), 20);
            assert!(seen.values().all(|lines| *lines == expected));
        }
        assert_eq!(failures.load(Ordering::Relaxed), 0);
    }

    /// One that waits does not hold up another's current event.
    async fn a_slow_handler_holds_up_no_other_handler(rt: with_blocking_threads) {
        let (go, blocked) = channel();
        let (seen, sees) = futures_channel::mpsc::unbounded();
        let callbacks = rt.callbacks()
            .with_handler(Blocking(blocked))
            .with_handler(handler_fn({ let seen = seen.clone(); move |event, _| { let _ = seen.unbounded_send(("sync", event.kind())); Ok(()) } }))
            .with_async_handler(async_handler_fn(move |event, _| {
                // The test stops listening before the run ends.
                let _ = seen.unbounded_send(("async", event.kind()));
                async { Ok(()) }
            }));
        let run = rt.go(tokens(callbacks, "llm".into(), 1));
        // The token reaches both while the first handler is still blocked in it.
        let before: Vec<_> = futures_util::StreamExt::collect(futures_util::StreamExt::take(sees, 4)).await;
        assert_eq!(before.iter().filter(|(_, kind)| *kind == EventKind::LlmNewToken).count(), 2);
        go.send(()).unwrap();
        run.await;
    }

    /// Async handlers wait side by side: each waits here until the other has been called too.
    async fn async_handlers_are_polled_side_by_side(rt) {
        struct Meets(futures_channel::mpsc::UnboundedSender<()>, Mutex<Option<futures_channel::mpsc::UnboundedReceiver<()>>>);

        impl AsyncCallbackHandler for Meets {
            async fn on_llm_new_token(&self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
                self.0.unbounded_send(())?;
                let mut other = self.1.lock().unwrap().take().unwrap();
                futures_util::StreamExt::next(&mut other).await;
                *self.1.lock().unwrap() = Some(other);
                Ok(())
            }
        }

        let (to_first, first) = futures_channel::mpsc::unbounded();
        let (to_second, second) = futures_channel::mpsc::unbounded();
        let callbacks = rt.callbacks()
            .with_async_handler(Meets(to_second, Mutex::new(Some(first))))
            .with_async_handler(Meets(to_first, Mutex::new(Some(second))));
        tokens(callbacks, "llm".into(), 3).await;
    }
}
