//! What the `Drop` of a cancelled future sees. (Fault 7.)

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use futures_util::{Stream, StreamExt, TryFutureExt, stream};

use super::*;

/// Writes the current run when it is dropped.
struct Guard(Log, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        let manager = CallbackManager::current().is_some();
        self.0.write(format!("{} in {}, manager: {manager}", self.1, here()));
    }
}

/// Waits for ever, with a guard.
async fn guarded(log: Log, name: &'static str) -> Result<(), RunError> {
    let _guard = Guard(log, name);
    pending().await
}

/// A future that is a run, for each kind of run that futures can be.
fn runs_with_guards(
    callbacks: &CallbackManager,
    log: &Log,
) -> [BoxFuture<Result<(), RunError>>; 3] {
    let guarded = |name| guarded(log.clone(), name);
    let pages = guarded("pages").map_ok(|()| vec![Document::new("page")]);
    [
        boxed(guarded("chain").in_chain(callbacks, "a chain", 0)),
        boxed(guarded("tool").in_tool(callbacks, "a tool", "input")),
        boxed(pages.in_retriever(callbacks, "a retriever", "query").map_ok(drop)),
    ]
}

/// What their guards write.
const EACH_IN_ITS_OWN: [&str; 3] = [
    "chain in a chain, manager: true",
    "tool in a tool, manager: true",
    "pages in a retriever, manager: true",
];

fn boxed<T>(future: impl Future<Output = T> + Send + 'static) -> BoxFuture<T> {
    Box::pin(future)
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Polls until the first wait that is not for a handler.
async fn poll_often<T>(future: &mut BoxFuture<T>) {
    for _ in 0..50 {
        assert!(poll_once(&mut *future).await.is_none());
        yield_now().await;
    }
}

on_every_runtime! {
    async fn a_guard_in_a_cancelled_future_sees_the_run_of_that_future(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        for mut future in runs_with_guards(&callbacks, &log) {
            poll_often(&mut future).await;
            drop(future);
            assert_eq!(here(), "nowhere");
        }
        assert_eq!(log.lines(), EACH_IN_ITS_OWN);
        callbacks.flush().await.unwrap();
    }

    /// The future is dropped inside another run, which must not be mistaken for its own.
    async fn a_guard_does_not_see_the_run_that_its_future_is_dropped_in(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        for mut own in runs_with_guards(&callbacks, &log) {
            poll_often(&mut own).await;
            let neighbour = async {
                assert_eq!(here(), "neighbour");
                drop(own);
                assert_eq!(here(), "neighbour");
                Ok::<_, RunError>(())
            };
            neighbour.in_chain(&callbacks, "neighbour", 0).await.unwrap();
        }
        assert_eq!(log.lines(), EACH_IN_ITS_OWN);
        callbacks.flush().await.unwrap();
    }

    /// The run is closed by its parent, and the future that resolves is polled inside another run.
    async fn a_guard_in_a_future_whose_run_is_closed_sees_that_run(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        let parent = chain(&callbacks, "parent").await;
        let mut futures = runs_with_guards(&parent.child(), &log);
        for future in &mut futures {
            poll_often(future).await;
        }
        parent.end(json!(1)).await.unwrap();
        for future in &mut futures {
            let neighbour = async {
                let closed = future.await;
                assert!(matches!(closed, Err(RunError::Cancelled)), "{closed:?}");
                assert_eq!(here(), "neighbour");
                Ok::<_, RunError>(())
            };
            neighbour.in_tool(&callbacks, "neighbour", "input").await.unwrap();
        }
        assert_eq!(log.lines(), EACH_IN_ITS_OWN);
        callbacks.flush().await.unwrap();
    }

    /// Each guard of nested futures sees the run around it.
    async fn guards_in_nested_futures_see_each_its_own_run(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        let outer_log = log.clone();
        let body = async move {
            let _guard = Guard(outer_log.clone(), "outer guard");
            guarded(outer_log, "inner guard").in_tool(&current(), "inner", "input").await
        };
        let mut chain = boxed(body.in_chain(&callbacks, "outer", 0));
        poll_often(&mut chain).await;
        drop(chain);
        assert_eq!(log.lines(), [
            "inner guard in inner, manager: true", "outer guard in outer, manager: true",
        ]);
        callbacks.flush().await.unwrap();
    }

    async fn a_guard_under_in_run_sees_that_run(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let (log, run) = (Log::new(), chain(&callbacks, "run").await);
        let mut inside = boxed(guarded(log.clone(), "in_run").in_run(&run));
        poll_often(&mut inside).await;
        drop(inside);
        let carries = async { Some(boxed(guarded(log.clone(), "in_current_run").in_current_run())) };
        let mut carried = carries.in_run(&run).await.unwrap();
        poll_often(&mut carried).await;
        drop(carried);
        assert_eq!(log.lines(), [
            "in_run in run, manager: true", "in_current_run in run, manager: true",
        ]);
        run.end(json!(1)).await.unwrap();
    }

    async fn a_guard_under_in_scope_sees_that_manager(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        let mut inside = boxed(guarded(log.clone(), "guard").in_scope(&callbacks));
        poll_often(&mut inside).await;
        drop(inside);
        assert_eq!(log.lines(), ["guard in nowhere, manager: true"]);
        assert!(CallbackManager::current().is_none());
    }

    /// A future that was never polled has no run yet, and sees none.
    async fn a_guard_in_a_future_that_was_never_polled_leaks_nothing(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let guard = Guard(Log::new(), "guard");
        let never = async move {
            drop(guard);
            Ok::<_, RunError>(())
        };
        drop(never.in_chain(&callbacks, "never", 0));
        assert_eq!(here(), "nowhere");
        callbacks.flush().await.unwrap();
        assert_eq!(callbacks.stats()[0].handled, 0);
    }

    async fn a_guard_in_a_cancelled_stream_sees_the_chain_of_that_stream(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let log = Log::new();
        let guard = Guard(log.clone(), "guard");
        let items = stream::iter(["a", "b"]).map(move |item| {
            let _ = &guard;
            Ok::<_, std::io::Error>(item)
        });
        let run = chain(&callbacks, "chain").await;
        let mut items: Pin<Box<dyn Stream<Item = _> + Send>> =
            Box::pin(items.with_chain_callbacks(run));
        assert!(items.next().await.is_some());
        drop(items);
        assert_eq!(log.lines(), ["guard in chain, manager: true"]);
        callbacks.flush().await.unwrap();
    }

    /// A panic in such a `Drop` leaves the context as it was, and the run has its end.
    async fn a_panic_in_a_cancelled_futures_drop_restores_the_context(rt) {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }

        let watched = Watched::new(&rt);
        let (begins, mut has_begun) = futures_channel::oneshot::channel();
        let body = async {
            let _bomb = Bomb;
            begins.send(()).unwrap();
            pending::<Result<(), RunError>>().await
        };
        let mut chain = boxed(body.in_chain(&watched.callbacks, "chain", 0));
        while has_begun.try_recv().unwrap().is_none() {
            assert!(poll_once(&mut chain).await.is_none());
            yield_now().await;
        }
        let neighbour = async {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(chain)));
            assert_eq!(here(), "neighbour");
            dropped
        };
        let neighbour_run = super::super::chain(&watched.callbacks, "neighbour").await;
        assert!(neighbour.in_run(&neighbour_run).await.is_err());
        assert_eq!(here(), "nowhere");
        watched.callbacks.flush().await.unwrap();
        for (handler, lines) in watched.of("chain") {
            assert_eq!(lines.len(), 2, "{handler}: {lines:?}");
            assert!(lines[1].starts_with("chain_error: "), "{handler}: {lines:?}");
        }
        neighbour_run.end(json!(1)).await.unwrap();
    }

    /// An async handler's call that is dropped at its time-out sees the emitter's run.
    async fn a_guard_in_a_handlers_call_that_times_out_sees_the_emitters_run(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let writes = log.clone();
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::LlmStart(_)) {
                let _guard = Guard(writes.clone(), "guard");
                pending::<()>().await;
            }
            Ok(())
        });
        let (callbacks, _failures) = reporting(stage.callbacks());
        let options = HandlerOptions::new().timeout(Duration::from_millis(50));
        let callbacks = callbacks.with_async_handler_options(handler, options);
        let body = async { streamed(current(), "model".into(), 0).await };
        stage.flying(body.in_chain(&callbacks, "chain", 0)).await.unwrap();
        assert_eq!(log.lines(), ["guard in chain, manager: true"]);
    }
}
