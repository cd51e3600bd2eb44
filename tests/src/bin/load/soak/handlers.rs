//! The handlers of a round. They fail, panic, take too long, and emit events in their calls.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use rappel_core::{
    AsyncCallbackHandler, Awaited, Background, CallbackHandler, CallbackManager, ChainRun,
    ChainStart, CustomEvent, Event, EventContext, HandlerError, HandlerFuture, HandlerOptions,
    HandlerResult, Overflow, Pipelined, Timer, Value,
};

use super::books::{Book, Books, Problems, lock};
use super::random::Random;

/// The name of runs that are started inside a handler's call. No run is started inside the calls
/// for their events.
pub(super) const NESTED: &str = "nested";

/// The time-out of handlers that have one.
const TIMEOUT: Duration = Duration::from_millis(5);
/// What such a handler takes if it takes too long.
const TOO_LONG: Duration = Duration::from_millis(12);

/// The message of every panic of the soak. The panic hook does not print it.
pub(crate) const PANIC: &str = "soak: a panic on purpose";

/// What a handler does apart from handling events. Each number is how rarely: once in so many
/// calls.
#[derive(Clone, Copy, Default)]
struct Habits {
    fails: Option<u64>,
    panics: Option<u64>,
    /// Its error panics when it is dropped.
    drop_panics: Option<u64>,
    /// Yields, or sleeps for a moment.
    waits: Option<u64>,
    takes_too_long: Option<u64>,
    nests: Option<u64>,
}

/// Adds the handlers to a manager, and makes their books.
pub(crate) fn register(
    callbacks: CallbackManager,
    timer: &Arc<dyn Timer>,
    seed: u64,
) -> (CallbackManager, Arc<Books>) {
    let problems = Arc::new(Problems::default());
    let ledger = Book::new("ledger", &problems);
    let mut others = Vec::new();
    let mut part = |name, habits| {
        let book = Book::new(name, &problems);
        others.push(book.clone());
        let number = others.len() as u64;
        let random = Mutex::new(Random::new(seed, number << 32));
        Part { book, habits, random, timer: timer.clone() }
    };
    let no = Habits::default();
    let fails = Habits { fails: Some(200), panics: Some(300), waits: Some(20), ..no };
    let slow = Habits { takes_too_long: Some(400), ..fails };
    let nests = Habits { nests: Some(40), ..fails };
    let timed = |options: HandlerOptions| options.timeout(TIMEOUT);
    let options = HandlerOptions::new;

    let mut callbacks = callbacks.with_async_handler(Async(Part {
        book: ledger.clone(),
        habits: no,
        random: Mutex::new(Random::new(seed, 0)),
        timer: timer.clone(),
    }));
    let drops = Habits { drop_panics: Some(300), ..fails };
    let raises = Habits { fails: Some(500), ..no };
    for (name, habits, options) in [
        ("async-awaited", fails, options()),
        ("async-drops", drops, options()),
        ("async-timeout", slow, timed(options())),
        ("async-nests", nests, options()),
        ("async-raises", raises, Awaited::new().raise_error().into()),
        ("async-pipelined", nests, Pipelined::new(8).into()),
        ("async-pipelined-timeout", slow, timed(Pipelined::new(8).into())),
        ("async-background", fails, Background::new(8).open_traces(6).into()),
    ] {
        callbacks = callbacks.with_async_handler_options(Async(part(name, habits)), options);
    }
    let inline = Habits { waits: None, ..fails };
    for (name, habits, options) in [
        ("sync-inline", inline, HandlerOptions::from(Awaited::new().inline())),
        ("sync-awaited", drops, options()),
        ("sync-timeout", slow, timed(options())),
        ("sync-nests-1", nests, options()),
        ("sync-nests-2", nests, options()),
        ("sync-raises", raises, Awaited::new().raise_error().into()),
        ("sync-pipelined", nests, Pipelined::new(16).into()),
        (
            "sync-pipelined-timeout",
            slow,
            timed(Pipelined::new(16).overflow(Overflow::Coalesce).into()),
        ),
        ("sync-background", fails, Background::new(8).open_traces(6).into()),
        (
            "sync-background-oldest",
            slow,
            timed(Background::new(4).open_traces(64).overflow(Overflow::DropOldest).into()),
        ),
        (
            "sync-background-newest",
            fails,
            Background::new(4).open_traces(64).overflow(Overflow::DropNewest).into(),
        ),
    ] {
        callbacks = callbacks.with_handler_options(Sync(part(name, habits)), options);
    }
    let books = Arc::new(Books::new(problems, ledger, others));
    let reported = books.clone();
    (callbacks.on_handler_failure(move |failure| reported.failed(failure)), books)
}

struct Part {
    book: Arc<Book>,
    habits: Habits,
    random: Mutex<Random>,
    timer: Arc<dyn Timer>,
}

/// What a call does.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Nothing,
    Fail,
    Panic,
    DropPanic,
    Wait(Duration),
    TakeTooLong,
    Nest(u64),
}

impl Part {
    fn act(&self, cx: &EventContext) -> Act {
        let habits = self.habits;
        let mut random = lock(&self.random);
        let mut now = |times: Option<u64>| times.is_some_and(|times| random.once_in(times));
        if now(habits.panics) {
            Act::Panic
        } else if now(habits.drop_panics) {
            Act::DropPanic
        } else if now(habits.fails) {
            Act::Fail
        } else if now(habits.takes_too_long) {
            Act::TakeTooLong
        } else if now(habits.waits) {
            Act::Wait(random.time(Duration::from_micros(300)))
        } else if cx.name() != NESTED && now(habits.nests) {
            Act::Nest(random.below(3))
        } else {
            Act::Nothing
        }
    }

    fn name(&self) -> &str {
        self.book.name
    }
}

/// Fails, if that is what the call does.
fn fail(act: Act) -> HandlerResult {
    match act {
        Act::Fail => Err(HandlerError::new("soak: an error on purpose")),
        Act::DropPanic => Err(HandlerError::new(PanicsInDrop)),
        Act::Panic => panic!("{PANIC}"),
        _ => Ok(()),
    }
}

struct Async(Part);

impl AsyncCallbackHandler for Async {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            let _call = self.0.book.begin(event, cx);
            let act = self.0.act(cx);
            match act {
                Act::Wait(time) if time.as_micros() % 2 == 0 => self.0.timer.sleep(time).await,
                Act::Wait(_) => super::yield_now().await,
                Act::TakeTooLong => self.0.timer.sleep(TOO_LONG).await,
                Act::Nest(tokens) => nest(tokens).await?,
                _ => {}
            }
            fail(act)
        })
    }
}

/// Emits events inside an async handler's call, and ends some of its runs by dropping them.
async fn nest(events: u64) -> HandlerResult {
    let Some(callbacks) = CallbackManager::current() else {
        return Ok(());
    };
    let start = callbacks.on_chain_start(ChainStart::new(NESTED, Value::Null));
    // Other handlers may raise, and the callbacks may be shut down: this handler goes on.
    let Ok(mut run) = start.await else {
        return Ok(());
    };
    for _ in 0..events {
        let _ = run.on_custom_event(CustomEvent::new("nested", Value::Null)).await;
    }
    if events > 0 {
        let _ = run.end(Value::Null).await;
    }
    Ok(())
}

struct Sync(Part);

impl CallbackHandler for Sync {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let _call = self.0.book.begin(event, cx);
        let act = self.0.act(cx);
        match act {
            Act::Wait(time) => thread::sleep(time),
            Act::TakeTooLong => thread::sleep(TOO_LONG),
            Act::Nest(events) => nest_sync(events),
            _ => {}
        }
        fail(act)
    }
}

/// Emits events inside a sync handler's call: waited for, or queued only.
fn nest_sync(events: u64) {
    let Some(callbacks) = CallbackManager::current() else {
        return;
    };
    let start = callbacks.on_chain_start(ChainStart::new(NESTED, Value::Null));
    let Ok(mut run) = start.wait() else { return };
    for _ in 0..events {
        emit_sync(&mut run);
    }
    match events {
        // Dropped.
        0 => drop(run),
        // Its end is handed over, and not waited for.
        1 => drop(run.end(Value::Null).now_or_never()),
        _ => drop(run.end(Value::Null).wait()),
    }
}

fn emit_sync(run: &mut ChainRun) {
    let _ = run.on_custom_event(CustomEvent::new("nested", Value::Null)).wait();
}

/// An error that panics when it is dropped.
#[derive(Debug)]
struct PanicsInDrop;

impl fmt::Display for PanicsInDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("soak: an error whose drop panics")
    }
}

impl Error for PanicsInDrop {}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("{PANIC}");
        }
    }
}
