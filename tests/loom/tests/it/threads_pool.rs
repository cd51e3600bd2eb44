//! The pool of threads and the timer thread of `rappel-threads`, in every order that loom finds.
//!
//! The two files are the crate's own. What they take from the rest of their crate is replaced
//! here: locks, threads and the clock by loom's and by a clock that stands still.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

#[allow(dead_code, reason = "the crate uses more of it than the tests do")]
#[path = "../../../../adapters/threads/src/pool.rs"]
mod pool;
#[allow(dead_code, reason = "the crate uses more of it than the tests do")]
#[path = "../../../../adapters/threads/src/timer.rs"]
mod timer;

#[path = "threads_catch_unwind.rs"]
mod catch_unwind;
#[path = "threads_sync.rs"]
mod sync;

#[path = "threads_timer.rs"]
mod timer_thread;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool::{Caller, ThreadPool, Work};
use sync::{Condvar, Mutex, Script};

/// A thread waits as long as this only until it is notified, unless a script says otherwise.
const LONG: Duration = Duration::from_secs(60 * 60);

/// Runs `test` in every order in which a thread is interrupted at most `interruptions` times,
/// apart from the places where it waits.
fn model(interruptions: usize, script: Script, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        sync::start(script.clone());
        test();
    });
}

/// Runs `test` with every choice of which of the first `waits` waits for work time out. All later
/// ones last until a thread is notified.
fn model_time_outs(waits: u32, test: impl Fn() + Send + Sync + Clone + 'static) {
    for choice in 0..1 << waits {
        let script = Script {
            time_outs: (0..waits).map(|wait| choice >> wait & 1 == 1).collect(),
            failed_spawns: VecDeque::new(),
        };
        model(3, script, test.clone());
    }
}

/// Counts what has been done, and lets a test wait for it.
#[derive(Clone)]
struct Done(Arc<(Mutex<usize>, Condvar)>);

impl Done {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(0), Condvar::new())))
    }

    fn add(&self) {
        *self.0.0.lock() += 1;
        self.0.1.notify_all();
    }

    /// Loom reports a deadlock if this number is never reached.
    fn wait_for(&self, number: usize) {
        let mut done = self.0.0.lock();
        while *done < number {
            done = self.0.1.wait(done);
        }
    }
}

struct Job {
    id: usize,
    done: Done,
}

impl Work for Job {
    fn run(self) -> Option<Self> {
        self.done.add();
        None
    }
}

fn submit(pool: &Arc<ThreadPool<Job>>, id: usize, done: &Done) -> bool {
    let done = done.clone();
    pool.submit(Job { id, done }).map_err(|refused| assert_eq!(refused.id, id)).is_ok()
}

fn end(pool: &ThreadPool<Job>) {
    pool.close();
    pool.wait_until_left(Caller::Outside);
    assert_eq!(pool.thread_count(), 0);
}

#[test]
fn a_job_is_done_although_the_last_thread_was_about_to_end() {
    model_time_outs(3, || {
        let (pool, done) = (ThreadPool::new("job", 1, LONG), Done::new());
        for number in 1..=3 {
            assert!(submit(&pool, number, &done));
            // Nothing else is submitted until this job is done.
            done.wait_for(number);
        }
        end(&pool);
    });
}

#[test]
fn the_jobs_of_two_submitters_are_done_by_one_thread() {
    model_time_outs(3, || jobs_of_two_submitters(1));
}

#[test]
fn the_jobs_of_two_submitters_are_done_by_two_threads() {
    model_time_outs(2, || jobs_of_two_submitters(2));
}

fn jobs_of_two_submitters(max_threads: usize) {
    let (pool, done) = (ThreadPool::new("job", max_threads, LONG), Done::new());
    let (other_pool, other_done) = (pool.clone(), done.clone());
    let other = loom::thread::spawn(move || assert!(submit(&other_pool, 1, &other_done)));
    assert!(submit(&pool, 2, &done));
    done.wait_for(2);
    other.join().unwrap();
    end(&pool);
}

/// Once one thread is idle, two jobs are submitted, and the first waits for the second.
#[test]
fn a_job_does_not_wait_for_a_busy_thread_while_the_limit_allows_another_one() {
    struct Waits {
        until: Option<Done>,
        done: Done,
    }

    impl Work for Waits {
        fn run(self) -> Option<Self> {
            if let Some(other) = self.until {
                other.wait_for(1);
            }
            self.done.add();
            None
        }
    }

    model_time_outs(2, || {
        let pool = ThreadPool::new("job", 2, LONG);
        let [warm, first, second] = [(); 3].map(|()| Done::new());
        let job = |until, done: &Done| Waits { until, done: done.clone() };
        assert!(pool.submit(job(None, &warm)).is_ok());
        warm.wait_for(1);
        assert!(pool.submit(job(Some(second.clone()), &first)).is_ok());
        assert!(pool.submit(job(None, &second)).is_ok());
        first.wait_for(1);
        pool.close();
        pool.wait_until_left(Caller::Outside);
    });
}

/// A job that is queued again, while another one is submitted and threads are about to end.
#[test]
fn a_job_that_is_queued_again_and_another_one_are_done() {
    struct Repeats(usize, Done);

    impl Work for Repeats {
        fn run(self) -> Option<Self> {
            self.1.add();
            (self.0 > 0).then(|| Repeats(self.0 - 1, self.1))
        }
    }

    model_time_outs(2, || {
        let (pool, done) = (ThreadPool::new("job", 2, LONG), Done::new());
        assert!(pool.submit(Repeats(1, done.clone())).is_ok());
        assert!(pool.submit(Repeats(0, done.clone())).is_ok());
        done.wait_for(3);
        pool.close();
        pool.wait_until_left(Caller::Outside);
    });
}

/// A job whose submit says that it was accepted is not lost when another submit finds that there
/// is no thread.
#[test]
fn each_submit_without_a_thread_returns_its_own_job() {
    for failed in [[true, false], [true, true], [false, true]] {
        let script = Script { time_outs: [true].into(), failed_spawns: failed.into() };
        model(3, script, || {
            let (pool, done) = (ThreadPool::new("job", 2, LONG), Done::new());
            let (other_pool, other_done) = (pool.clone(), done.clone());
            let other = loom::thread::spawn(move || submit(&other_pool, 1, &other_done));
            let accepted = usize::from(submit(&pool, 2, &done));
            let accepted = accepted + usize::from(other.join().unwrap());
            done.wait_for(accepted);
            end(&pool);
        });
    }
}

/// Counts jobs that are dropped, with or without having run.
struct Counted(Arc<AtomicUsize>);

impl Work for Counted {
    fn run(self) -> Option<Self> {
        None
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn each_job_is_run_or_dropped_when_the_pool_closes_at_the_same_time() {
    model_time_outs(1, || {
        let pool = ThreadPool::new("job", 1, LONG);
        let gone = Arc::new(AtomicUsize::new(0));
        assert!(pool.submit(Counted(gone.clone())).is_ok());
        let (other_pool, other_gone) = (pool.clone(), gone.clone());
        let other = loom::thread::spawn(move || drop(other_pool.submit(Counted(other_gone))));
        pool.close();
        pool.wait_until_left(Caller::Outside);
        other.join().unwrap();
        assert_eq!(pool.thread_count(), 0);
        assert_eq!(gone.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn two_threads_of_the_pool_that_wait_for_its_end_do_not_wait_for_each_other() {
    struct Ends(Arc<ThreadPool<Ends>>, Done);

    impl Work for Ends {
        fn run(self) -> Option<Self> {
            assert!(self.0.set_waits_for_others(true));
            self.1.add();
            // Both have begun: a pool that is closed drops what has not.
            self.1.wait_for(2);
            self.0.close();
            self.0.wait_until_left(Caller::Inside);
            self.0.set_waits_for_others(false);
            None
        }
    }

    model(2, Script::default(), || {
        let (pool, done) = (ThreadPool::new("job", 2, LONG), Done::new());
        for _ in 0..2 {
            assert!(pool.submit(Ends(pool.clone(), done.clone())).is_ok());
        }
        done.wait_for(2);
        pool.wait_until_left(Caller::Outside);
    });
}
