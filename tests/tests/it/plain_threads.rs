//! `Threads` by itself, without a manager, and a runtime that is made of two closures.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use rappel_core::prelude::*;
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer, blocking_fn, spawn_fn};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Watchdog;
use rappel_threads::Threads;

fn threads(polling: usize, blocking: usize) -> Threads {
    Threads::with_limits(NonZeroUsize::new(polling).unwrap(), NonZeroUsize::new(blocking).unwrap())
}

/// Sends a message when it is dropped.
struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// Each job waits for all the others, so that all of them run at the same time.
#[test]
fn blocking_jobs_have_a_thread_each_up_to_the_limit() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(1, 8);
    for _ in 0..2 {
        let (all, (done, ended)) = (Arc::new(Barrier::new(9)), channel());
        for _ in 0..8 {
            let (all, done) = (all.clone(), done.clone());
            let job = move || {
                all.wait();
                done.send(thread::current().id()).unwrap();
            };
            threads.spawn_blocking(job).unwrap();
        }
        all.wait();
        drop(done);
        let mut ids: Vec<_> = ended.iter().map(|id| format!("{id:?}")).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8);
    }
}

/// One thread is idle. It may be about to take the first job when the second one comes.
#[test]
fn no_job_waits_behind_one_that_blocks_below_the_limit() {
    let _watchdog = Watchdog::start("plain threads");
    for _ in 0..200 {
        let threads = threads(1, 2);
        let (began, beginning) = channel();
        threads.spawn_blocking(move || began.send(()).unwrap()).unwrap();
        beginning.recv().unwrap();
        let both = Arc::new(Barrier::new(2));
        let (done, ended) = channel();
        for _ in 0..2 {
            let (both, done) = (both.clone(), done.clone());
            let job = move || {
                both.wait();
                done.send(()).unwrap();
            };
            threads.spawn_blocking(job).unwrap();
        }
        drop(done);
        assert_eq!(ended.iter().count(), 2);
    }
}

#[test]
fn no_more_jobs_run_at_a_time_than_the_limit() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(1, 2);
    let (running, most, (done, ended)) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), channel());
    for _ in 0..200 {
        let (running, most, done) = (running.clone(), most.clone(), done.clone());
        let job = move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            done.send(()).unwrap();
        };
        threads.spawn_blocking(job).unwrap();
    }
    drop(done);
    assert_eq!(ended.iter().count(), 200);
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
}

/// Other threads wake a task while it is polled and while it is not.
#[test]
fn no_wake_up_of_a_task_is_lost() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(4, 1);
    let tasks = (0..32).map(|task| {
        let (send, mut receive) = futures_channel::mpsc::unbounded();
        let (done, sum) = futures_channel::oneshot::channel();
        let receives = async move {
            let mut sum = 0;
            while let Some(number) = futures_util::StreamExt::next(&mut receive).await {
                sum += number;
            }
            done.send(sum).unwrap();
        };
        let sends = async move {
            for number in 0..500 {
                send.unbounded_send(number + task).unwrap();
                if number % 7 == 0 {
                    futures_lite::future::yield_now().await;
                }
            }
        };
        threads.spawn(receives).unwrap();
        threads.spawn(sends).unwrap();
        sum
    });
    let sums = threads.block_on(futures_util::future::try_join_all(tasks)).unwrap();
    assert_eq!(sums, (0..32).map(|task| (0..500).sum::<usize>() + 500 * task).collect::<Vec<_>>());
}

#[test]
fn a_panic_in_a_task_or_a_job_harms_no_other() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(1, 1);
    threads.spawn(async { panic!("a task's") }).unwrap();
    threads.spawn_blocking(|| panic!("a job's")).unwrap();
    let (done, ended) = channel();
    let also = done.clone();
    threads.spawn(async move { done.send(()).unwrap() }).unwrap();
    threads.spawn_blocking(move || also.send(()).unwrap()).unwrap();
    assert_eq!(ended.iter().count(), 2);
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(1, 1);
    let log = Log::new();
    let before = threads.now();
    let never = threads.sleep(Duration::MAX);
    let sleepers = [30, 10, 20, 0].map(|millis| {
        let (sleep, log) = (threads.sleep(Duration::from_millis(millis)), log.clone());
        async move {
            sleep.await;
            log.write(millis.to_string());
        }
    });
    threads.block_on(futures_util::future::join_all(sleepers));
    assert_eq!(log.lines(), ["0", "10", "20", "30"]);
    assert!(threads.now() - before >= Duration::from_millis(30));
    assert!(threads.block_on(futures_lite::future::poll_once(never)).is_none());
}

#[test]
fn a_sleeper_does_not_wait_for_a_later_one() {
    let _watchdog = Watchdog::start("plain threads");
    let threads = threads(1, 1);
    let mut long = threads.sleep(Duration::from_secs(24 * 60 * 60));
    assert!(threads.block_on(futures_lite::future::poll_once(&mut long)).is_none());
    // From the second one on, the timer already waits for the long one.
    for _ in 0..10 {
        threads.block_on(threads.sleep(Duration::from_millis(1)));
    }
}

/// One task could still be woken, the other one could not.
#[test]
fn the_drop_of_the_last_clone_drops_the_tasks_that_wait() {
    let _watchdog = Watchdog::start("plain threads");
    let (dropped, drops) = channel();
    let threads = threads(2, 1);
    let clone = threads.clone();
    let (started, start) = channel();
    let (_kept, word) = futures_channel::oneshot::channel::<()>();
    for waits in [word.map(drop).boxed(), pending().boxed()] {
        let (started, guard) = (started.clone(), Dropped(dropped.clone()));
        let task = async move {
            let _guard = guard;
            started.send(()).unwrap();
            waits.await;
        };
        threads.spawn(task).unwrap();
    }
    drop(started);
    assert_eq!(start.iter().take(2).count(), 2);
    drop(threads);
    assert!(drops.try_recv().is_err());
    drop((clone, dropped));
    assert_eq!(drops.iter().count(), 2);
}

#[test]
fn a_shutdown_drops_what_has_not_begun_and_waits_for_what_has() {
    let _watchdog = Watchdog::start("plain threads");
    let (dropped, drops) = channel();
    let log = Log::new();
    let threads = threads(1, 1);
    let (started, start) = channel();
    let (go, gate) = channel();
    let wrote = log.clone();
    let job = move || {
        started.send(()).unwrap();
        gate.recv().unwrap();
        wrote.write("done");
    };
    threads.spawn_blocking(job).unwrap();
    start.recv().unwrap();
    let waits = Dropped(dropped.clone());
    threads.spawn_blocking(move || drop(waits)).unwrap();
    let opens = thread::spawn(move || {
        // The job that has not begun is dropped before the other one has ended.
        drops.recv().unwrap();
        go.send(()).unwrap();
    });
    threads.shut_down();
    assert_eq!(log.lines(), ["done"]);
    opens.join().unwrap();
    assert_eq!(threads.spawn_blocking(|| ()), Err(SpawnError::shutdown()));
    assert_eq!(threads.spawn(async {}), Err(SpawnError::shutdown()));
}

/// The last handle may be in a handler, so that one of the runtime's own threads drops it.
#[test]
fn threads_may_be_shut_down_on_a_thread_of_their_own() {
    let _watchdog = Watchdog::start("plain threads");
    for end in [Threads::shut_down as fn(&Threads), |_| ()] {
        let threads = threads(1, 1);
        let (ended, end_of) = channel();
        let own = threads.clone();
        let (go, gate) = channel();
        let job = move || {
            gate.recv().unwrap();
            end(&own);
            drop(own);
            ended.send(()).unwrap();
        };
        threads.spawn_blocking(job).unwrap();
        drop(threads);
        go.send(()).unwrap();
        end_of.recv().unwrap();
    }
}

#[test]
fn two_closures_are_a_runtime() {
    let _watchdog = Watchdog::start("plain threads");
    let (tasks, jobs) = (Threads::new(), Threads::new());
    let spawner = spawn_fn(move |task| tasks.spawn_boxed(task));
    let executor = blocking_fn(move |job| jobs.spawn_blocking_boxed(job));
    let (sync, asynchronous) = (Log::new(), Log::new());
    let callbacks = CallbackManager::without_timer((spawner, executor))
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    Threads::new().block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        run.on_llm_new_token("a").await.unwrap();
        drop(run);
        callbacks.flush().await.unwrap();
    });
    let expected = ["llm_start: prompt", "token: a", "llm_error: cancelled: a"];
    assert_eq!(sync.lines(), expected);
    assert_eq!(asynchronous.lines(), expected);
}

/// `Threads` does not know the threads of other runtimes, so such a wait is not refused. It ends,
/// because the handlers need nothing of the runtime whose only thread is blocked.
#[test]
fn a_wait_in_a_task_of_another_runtime_blocks_that_thread_and_ends() {
    let _watchdog = Watchdog::start("plain threads");
    let (sync, asynchronous) = (Log::new(), Log::new());
    let threads = threads(1, 1);
    let callbacks = CallbackManager::new(threads.clone())
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio.block_on(async {
        assert!(threads.may_block());
        let mut run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).wait().unwrap();
        run.on_llm_new_token("a").wait().unwrap();
        run.end("a").wait().unwrap();
    });
    let expected = ["llm_start: prompt", "token: a", "llm_end: a"];
    assert_eq!(
        (sync.lines(), asynchronous.lines()),
        (expected.map(String::from).to_vec(), expected.map(String::from).to_vec())
    );
}
