//! What a flush waits for, and what it does not wait for.

use futures_util::future::join_all;
use rappel_tests::held::held_async;

use super::*;

on_every_runtime! {
    async fn a_flush_waits_for_handlers_that_no_emitter_waits_for(rt) {
        for _ in 0..50 {
            let (log, async_log) = (Log::new(), Log::new());
            let callbacks = rt.callbacks()
                .with_handler_options(sync(log.clone()), queued())
                .with_async_handler_options(asynchronous(async_log.clone()), queued());
            streamed(callbacks.clone(), "run".into(), 10).await.unwrap();
            callbacks.flush().await.unwrap();
            assert_eq!((log.lines().len(), async_log.lines().len()), (12, 12));
            assert_eq!(callbacks.stats()[0].pending, 0);
        }
    }

    /// It returns while others go on emitting and there is always an event that is not handled.
    async fn a_flush_does_not_wait_for_later_events(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, queued());
        let first = chain(&callbacks, "first").await;
        assert_eq!(grip.entered().await, "first chain_start: 0");
        let mut flush = callbacks.flush();
        let second = chain(&callbacks, "second").await;
        assert!(poll_once(&mut flush).await.is_none());
        grip.let_go();
        // The second start is in its call, and stays there.
        assert_eq!(grip.entered().await, "second chain_start: 0");
        flush.await.unwrap();
        let mut late = callbacks.flush();
        assert!(poll_once(&mut late).await.is_none());
        drop(grip);
        late.await.unwrap();
        drop((first, second));
        callbacks.flush().await.unwrap();
    }

    async fn flushes_beside_flushes_wait_each_for_the_events_before_it(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler_options(sync(log.clone()), queued());
        let tasks = (0..20).map(|run| {
            let (callbacks, log) = (callbacks.clone(), log.clone());
            rt.go(async move {
                let name = format!("run {run}");
                streamed(callbacks.clone(), name.clone(), 10).await.unwrap();
                callbacks.flush().await.unwrap();
                let prefix = format!("{name}: ");
                let lines = log.lines();
                assert_eq!(lines.iter().filter(|line| line.starts_with(&prefix)).count(), 12);
            })
        });
        join_all(tasks).await;
    }

    /// The end of a run that was dropped right before the flush is emitted before it.
    async fn a_flush_waits_for_the_end_of_a_run_that_was_dropped(rt) {
        for _ in 0..20 {
            let watched = Watched::new(&rt);
            drop(chain(&watched.callbacks, "run").await);
            watched.callbacks.flush().await.unwrap();
            watched.assert_all_saw(&["run: chain_start: 0", "run: chain_error: cancelled"]);
        }
    }

    /// A call on the emitter's task is waited for, and so are the handlers that come after it.
    async fn a_flush_waits_for_calls_on_the_emitters_task(rt) {
        let ((inline, mut inline_grip), (own, mut grip)) = (held_async(), held_async());
        let log = Log::new();
        let callbacks = rt.callbacks()
            .with_async_handler_options(inline, Awaited::new().inline())
            .with_async_handler(own)
            .with_handler(sync(log.clone()));
        let emitter = rt.go({
            let callbacks = callbacks.clone();
            async move { chain(&callbacks, "run").await }
        });
        assert_eq!(inline_grip.entered().await, "run chain_start: 0");
        // The poll of the emit may go on, on another thread. The event is emitted when it ends.
        while callbacks.stats()[0].pending == 0 {
            yield_now().await;
        }
        let mut flush = callbacks.flush();
        assert!(poll_once(&mut flush).await.is_none());
        inline_grip.let_go();
        assert_eq!(grip.entered().await, "run chain_start: 0");
        assert!(poll_once(&mut flush).await.is_none());
        grip.let_go();
        flush.await.unwrap();
        assert_eq!(log.lines().len(), 1);
        drop((inline_grip, grip));
        drop(emitter.await);
        callbacks.flush().await.unwrap();
    }

    /// A flush on one manager covers every manager that came of the same `new`.
    async fn a_flush_covers_all_managers_of_one_origin(rt) {
        let (log, callbacks) = (Log::new(), rt.callbacks());
        let other = callbacks.clone().with_handler_options(sync(log.clone()), queued());
        let parent = chain(&other, "parent").await;
        drop(chain(&parent.child(), "child").await);
        parent.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines().len(), 4);
    }

    /// So does a flush of a manager that got its handler from another one. Its shutdown waits for
    /// that handler, too, and reports it.
    async fn a_flush_covers_the_handlers_of_merged_managers(rt: with_blocking_threads) {
        for merge in [
            |own: CallbackManager, other: &CallbackManager| own.merge(other),
            |own: CallbackManager, other: &CallbackManager| {
                CallbackManager::configure(Some(&own), Some(other))
            },
        ] {
            let ((first, mut grip), log) = (held(), Log::new());
            let other = rt.callbacks().with_handler_options(first, queued());
            let other = other.with_handler_options(sync(log.clone()), queued());
            let callbacks = merge(rt.callbacks(), &other);
            let run = chain(&callbacks, "run").await;
            grip.entered().await;
            let mut flush = Box::pin(callbacks.flush());
            assert!(poll_once(&mut flush).await.is_none(), "the first handler is in its call");
            grip.let_go();
            drop(grip);
            flush.await.unwrap();
            assert_eq!(log.lines(), ["run: chain_start: 0"]);
            run.end(json!(1)).await.unwrap();
            let report = callbacks.shutdown(Duration::from_secs(60)).await.unwrap();
            assert_eq!(log.lines().len(), 2);
            assert_eq!(report.handlers.iter().map(|handler| handler.handled).collect::<Vec<_>>(), [2, 2]);
        }
    }

    /// The wait of an emit, an end and a flush blocks this thread, while the runtime goes on.
    async fn what_is_waited_for_on_a_thread_is_handled(rt) {
        let watched = Watched::new(&rt);
        let callbacks = watched.callbacks.clone();
        let (done, is_done) = futures_channel::oneshot::channel();
        std::thread::spawn(move || {
            let start = callbacks.on_llm_start(LlmStart::new("run", "prompt"));
            let mut run = start.wait().unwrap();
            run.on_llm_new_token("0 ").wait().unwrap();
            run.end("all").wait().unwrap();
            callbacks.flush().wait().unwrap();
            done.send(()).unwrap();
        });
        is_done.await.unwrap();
        for (handler, lines) in watched.of("run") {
            assert_eq!(lines, whole(1), "{handler}");
        }
    }
}
