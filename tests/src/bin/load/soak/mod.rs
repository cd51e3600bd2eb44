//! A soak: rounds of runs with aborts, time-outs, panics, nested emits and shutdowns, until the
//! time is over. After each round the books of all handlers must be exact.

mod books;
mod emit;
mod handlers;
mod random;

use std::future::poll_fn;
use std::io::{self, Write};
use std::panic;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_channel::mpsc;
use futures_util::StreamExt;
use rappel_core::{
    BlockingExecutor, CallbackManager, ChainStart, EmitError, HandlerStats, Shutdown,
    ShutdownReport, Spawner, Timer, Value,
};

use self::books::{Books, lock};
use self::emit::{Env, is_on_purpose};
use self::handlers::register;
use self::random::Random;

/// Concurrent emitters.
const EMITTERS: u64 = 24;
/// The longest time that emitters run in a round.
const ROUND: Duration = Duration::from_millis(1_500);
/// The deadline of a shutdown that is meant to wait for all runs.
const PATIENT: Duration = Duration::from_secs(20);
/// The deadline of a shutdown that is meant to close runs.
const SHORT: Duration = Duration::from_millis(30);
/// How long calls may be out after a shutdown.
const SETTLES: Duration = Duration::from_secs(10);
/// A round that takes longer than this hangs.
const HUNG: Duration = Duration::from_secs(90);

/// The outcome of a soak.
#[derive(Default)]
pub(crate) struct Soaked {
    pub(crate) rounds: u64,
    pub(crate) runs: usize,
    pub(crate) events: usize,
    /// Runs that shutdowns closed.
    pub(crate) closed: usize,
    pub(crate) took: Duration,
    pub(crate) problems: Vec<String>,
}

/// Soaks a runtime for a time. It ends after the first round with a problem.
pub(crate) async fn soak<R>(runtime: R, time: Duration, seed: u64) -> Soaked
where
    R: Spawner + BlockingExecutor + Timer,
{
    hide_panics();
    let runtime = Arc::new(runtime);
    let mut soaked = Soaked::default();
    let began = Instant::now();
    while began.elapsed() < time && soaked.problems.is_empty() {
        let left = time.saturating_sub(began.elapsed());
        let seed_of_round = Random::new(seed, soaked.rounds).next();
        round(&runtime, seed_of_round, left.min(ROUND), &mut soaked).await;
        soaked.rounds += 1;
    }
    soaked.took = began.elapsed();
    if !soaked.problems.is_empty() {
        let round = soaked.rounds;
        soaked.problems.push(format!("this was round {round} of seed {seed}"));
    }
    soaked
}

/// How a round ends.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// The emitters finish, then the callbacks are shut down.
    Calm,
    /// The callbacks are shut down while the emitters finish.
    Waiting,
    /// The callbacks are shut down while the emitters go on, and their runs are closed.
    Closing,
}

async fn round<R>(runtime: &Arc<R>, seed: u64, most: Duration, soaked: &mut Soaked)
where
    R: Spawner + BlockingExecutor + Timer,
{
    let mut random = Random::new(seed, 0);
    let timer: Arc<dyn Timer> = runtime.clone();
    let (callbacks, books) = register(CallbackManager::new(runtime.clone()), &timer, seed);
    let watch = Watch::start(&books, &callbacks);
    let env = Arc::new(Env {
        callbacks: callbacks.clone(),
        timer: timer.clone(),
        books: books.clone(),
        seed,
        stop: AtomicBool::new(false),
        started: Mutex::default(),
    });
    let mut emitters = spawn(runtime, &env);
    timer.sleep(most / 4 + random.time(most * 3 / 4)).await;

    let ending = [Ending::Calm, Ending::Waiting, Ending::Closing][random.below(3) as usize];
    if ending != Ending::Closing {
        env.stop.store(true, Ordering::Release);
    }
    if ending == Ending::Calm {
        finished(&mut emitters).await;
        if let Err(error) = callbacks.flush().await {
            books.problems.add(format!("the last flush returned: {error}"));
        }
    }
    let deadline = if ending == Ending::Closing { SHORT } else { PATIENT };
    let report = shut_down(callbacks.shutdown(deadline), &books).await;
    env.stop.store(true, Ordering::Release);
    finished(&mut emitters).await;

    settle(&timer, &callbacks, &books).await;
    // A call on an emitter's task is counted when its event is done, soon after it has returned.
    if let Err(error) = callbacks.flush().await {
        books.problems.add(format!("the flush after the shutdown returned: {error}"));
    }
    if let Some(report) = report {
        books.check(&callbacks.stats(), &report);
        books.problems.expect(ending == Ending::Closing || report.closed_runs == 0, || {
            format!("a patient shutdown closed {} runs", report.closed_runs)
        });
        soaked.closed += report.closed_runs;
    }
    check_started(&env);
    check_shut_down(&callbacks, &books).await;
    let (runs, events) = books.ledger.sums();
    soaked.runs += runs;
    soaked.events += events;
    soaked.problems = books.problems.take();
    drop((env, callbacks, watch));
    soaked.problems.extend(leaked(&timer, books).await);
}

/// A problem if the handlers of a round stay in memory. They hold the books.
async fn leaked(timer: &Arc<dyn Timer>, books: Arc<Books>) -> Option<String> {
    let until = Instant::now() + SETTLES;
    while Arc::strong_count(&books.ledger) > 1 || Arc::strong_count(&books) > 1 {
        if Instant::now() > until {
            return Some("the round's handlers are still in memory".to_owned());
        }
        timer.sleep(Duration::from_millis(2)).await;
    }
    None
}

async fn shut_down(shutdown: Shutdown, books: &Books) -> Option<ShutdownReport> {
    match shutdown.await {
        Ok(report) => Some(report),
        Err(error) => {
            books.problems.add(format!("the shutdown returned: {error}"));
            None
        }
    }
}

/// Spawns the emitters. The returned stream ends when all of them have ended.
fn spawn<R: Spawner>(runtime: &Arc<R>, env: &Arc<Env>) -> mpsc::Receiver<()> {
    let (alive, emitters) = mpsc::channel::<()>(0);
    for task in 0..EMITTERS {
        let (emitting, alive) = (env.clone().emit(task), alive.clone());
        let task = async move {
            emitting.await;
            drop(alive);
        };
        if let Err(error) = runtime.spawn_boxed(Box::pin(task)) {
            env.books.problems.add(format!("an emitter was not spawned: {error}"));
        }
    }
    emitters
}

async fn finished(emitters: &mut mpsc::Receiver<()>) {
    while emitters.next().await.is_some() {}
}

/// Waits until all calls are back: one that timed out before the shutdown may still be out, and the
/// ends that it keeps waiting come after it.
async fn settle(timer: &Arc<dyn Timer>, callbacks: &CallbackManager, books: &Books) {
    let is_open = |stats: &HandlerStats| stats.pending > 0 || stats.open_runs > 0;
    let until = Instant::now() + SETTLES;
    while Instant::now() < until {
        if books.out() == 0 && !callbacks.stats().iter().any(is_open) {
            return;
        }
        timer.sleep(Duration::from_millis(2)).await;
    }
}

/// Each run whose start returned `Ok` is in the ledger.
fn check_started(env: &Env) {
    let started = lock(&env.started);
    let missing = started.iter().filter(|run| !env.books.ledger.has(**run)).count();
    env.books.problems.expect(missing == 0, || {
        format!("{missing} starts returned `Ok`, and the ledger does not have them")
    });
}

/// After a shutdown no run starts.
async fn check_shut_down(callbacks: &CallbackManager, books: &Books) {
    let started = callbacks.on_chain_start(ChainStart::new("late", Value::Null)).await;
    let refused = matches!(started, Err(EmitError::ShutDown));
    books.problems.expect(refused, || "a run started after the shutdown".to_owned());
}

/// Panics of the soak are not printed: there are thousands of them.
fn hide_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !is_on_purpose(info.payload()) {
            print(info);
        }
    }));
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Ends the process if a round hangs.
struct Watch(#[allow(dead_code, reason = "its drop is the signal")] Sender<()>);

impl Watch {
    fn start(books: &Arc<Books>, callbacks: &CallbackManager) -> Self {
        let (alive, watched) = channel();
        let (books, callbacks) = (Arc::downgrade(books), callbacks.clone());
        thread::spawn(move || {
            if watched.recv_timeout(HUNG) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let mut error = io::stderr().lock();
            let _ = writeln!(error, "a round of the soak hangs: it takes more than {HUNG:?}");
            for stats in callbacks.stats() {
                let _ = writeln!(error, "{stats:?}");
            }
            for problem in books.upgrade().map(|books| books.problems.take()).unwrap_or_default() {
                let _ = writeln!(error, "{problem}");
            }
            process::exit(1);
        });
        Self(alive)
    }
}
