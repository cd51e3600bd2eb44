//! How costs grow with what exists around an event.

use rappel_core::{
    CallbackManager, ChainRun, ChainStart, ChatModelStart, LlmResult, LlmRun, Message, Value,
};

use super::{Panel, emit, start};
use crate::handlers::{Kind, Nothing};
use crate::host::Host;
use crate::measure::Row;

const MEASURED: u64 = 1_000;
/// The first depth of a line that is fitted: a single run has no parent, so it is less work.
const FIRST_WITH_PARENTS: f64 = 10.0;
/// Depths of a run tree.
const DEPTHS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

pub(super) fn panels() -> Vec<Panel> {
    let host = Host::tokio_current_thread();
    let runs = [1, 100, 10_000, 100_000];
    let history = [0, 1 << 10, 1 << 14, 1 << 17, 1 << 20];
    let events = [1_000, 10_000, 100_000, 1_000_000];
    let siblings = [1, 10, 100, 1_000, 10_000];
    let registered = [16, 64, 256, 1_024, 4_096, 16_384];
    vec![
        Panel::new(
            "growth with handlers",
            "One token for a number of async handlers.",
            [0, 1, 4, 16, 64, 256, 1_024].map(|handlers| with_handlers(handlers, &host)).into(),
        )
        .along("async handlers", 16.0),
        Panel::new(
            "growth with runs in flight",
            "Tokens of one run while a number of runs are open. One async handler.",
            runs.map(|runs| among_runs(runs, Turns::Last, &host)).into(),
        )
        .along("open runs", 1.0),
        Panel::new(
            "growth with runs in flight, each token of another run",
            "Each token belongs to the next run. Beyond the processor's caches, each touches memory \
             that is far away.",
            runs.map(|runs| among_runs(runs, Turns::Each, &host)).into(),
        )
        .along("open runs", 1.0),
        Panel::new(
            "growth with siblings in flight",
            "Tokens of one run while its parent has a number of open children. One async handler.",
            siblings.map(|runs| among_runs(runs, Turns::LastOfSiblings, &host)).into(),
        )
        .along("open children of one parent", 1.0),
        Panel::new(
            "growth with the depth of the run tree",
            "Tokens of a run under a number of runs in a line. One async handler.",
            DEPTHS.map(|depth| at_depth(depth, &host)).into(),
        )
        .along("runs above", 1.0),
        Panel::new(
            "growth with the depth of the run tree: starts and ends",
            "A number of runs start, each under the one before, and end, the last one first. Time \
             per run. One async handler.",
            DEPTHS.map(|depth| nested(depth, Ending::EachRun, &host)).into(),
        )
        .along("runs in a line", FIRST_WITH_PARENTS),
        Panel::new(
            "growth with the depth of the run tree: closing",
            "A number of runs start, each under the one before, and the first one ends, which \
             closes the others. Time per run. One async handler.",
            DEPTHS.map(|depth| nested(depth, Ending::FirstRun, &host)).into(),
        )
        .along("runs in a line", FIRST_WITH_PARENTS),
        Panel::new(
            "growth with the history",
            "Tokens of a run that started with messages of a number of bytes. One async handler.",
            history.map(|bytes| after_history(bytes, &host)).into(),
        )
        .along("bytes of history", 1.0),
        Panel::new(
            "growth with events so far",
            "Tokens of a run after a number of tokens. One async handler.",
            events.map(|events| after_events(events, &host)).into(),
        )
        .along("events so far", 1.0),
        Panel::new(
            "growth with registrations",
            "A number of handlers are added to a manager: time per handler.",
            registered.map(|handlers| registered_in_place(handlers, &host)).into(),
        )
        .along("handlers", 1.0),
        Panel::new(
            "growth with registrations, by value",
            "The same with the methods that return the manager.",
            registered.map(|handlers| registered_by_value(handlers, &host)).into(),
        )
        .along("handlers", 1.0),
    ]
}

fn with_handlers(handlers: usize, host: &Host) -> Row {
    let callbacks = Kind::Async.register(handlers, host.callbacks());
    let measured = MEASURED / (1 + handlers as u64 / 16);
    let name = format!("among {}", Kind::Async.of(handlers));
    fresh_run(name, host, measured, measured / 4, callbacks, "").at(handlers as f64)
}

fn after_history(bytes: usize, host: &Host) -> Row {
    let callbacks = Kind::Async.register(1, host.callbacks());
    let name = format!("after {bytes} bytes of history");
    fresh_run(name, host, MEASURED, MEASURED, callbacks, &"x".repeat(bytes)).at(bytes as f64)
}

fn after_events(events: u64, host: &Host) -> Row {
    let callbacks = Kind::Async.register(1, host.callbacks());
    let name = format!("after {events} tokens");
    fresh_run(name, host, MEASURED, events, callbacks, "").at(events as f64)
}

/// Tokens of a run that is new at each call, after some tokens.
fn fresh_run(
    name: String,
    host: &Host,
    measured: u64,
    before: u64,
    callbacks: CallbackManager,
    history: &str,
) -> Row {
    let host = host.clone();
    let history: Vec<Message> = history
        .as_bytes()
        .chunks(1 << 10)
        .map(|text| Message::human(String::from_utf8_lossy(text).into_owned()))
        .collect();
    Row::new(name, measured, move |meter| {
        let start = ChatModelStart::new("model", history.clone());
        let mut run = host.block_on(async {
            let mut run = callbacks.on_chat_model_start(start).await.expect("no handler fails");
            emit(&mut run, before).await;
            run
        });
        meter.around(|| host.block_on(emit(&mut run, measured)));
        host.block_on(end(run));
    })
}

/// Which of the open runs emits.
#[derive(Clone, Copy, PartialEq)]
enum Turns {
    Last,
    LastOfSiblings,
    Each,
}

/// Tokens while a number of runs are open.
fn among_runs(runs: usize, turns: Turns, host: &Host) -> Row {
    let host = host.clone();
    let (mut open, mut next) = (None, 0);
    let kind = if turns == Turns::LastOfSiblings { "siblings" } else { "runs" };
    Row::new(format!("among {runs} {kind}"), MEASURED, move |meter| {
        let open = open.get_or_insert_with(|| OpenRuns::new(runs, turns, host.clone()));
        if turns == Turns::Each {
            meter.around(|| {
                host.block_on(async {
                    for _ in 0..MEASURED {
                        emit(&mut open.runs[next], 1).await;
                        next = (next + 1) % open.runs.len();
                    }
                });
            });
        } else {
            open.renew_the_last();
            let last = &mut open.runs[runs - 1];
            meter.around(|| host.block_on(emit(last, MEASURED)));
        }
    })
    .at(runs as f64)
}

/// Tokens of a run with a number of runs above it.
fn at_depth(depth: usize, host: &Host) -> Row {
    let host = host.clone();
    let mut open = None;
    Row::new(format!("under {depth} runs"), MEASURED, move |meter| {
        let open = open.get_or_insert_with(|| OpenRuns::under(depth, host.clone()));
        open.renew_the_last();
        let last = &mut open.runs[0];
        meter.around(|| host.block_on(emit(last, MEASURED)));
    })
    .at(depth as f64)
}

/// Open model runs, and the runs above them.
struct OpenRuns {
    runs: Vec<LlmRun>,
    above: Vec<ChainRun>,
    callbacks: CallbackManager,
    host: Host,
}

impl OpenRuns {
    fn new(runs: usize, turns: Turns, host: Host) -> Self {
        let depth = usize::from(turns == Turns::LastOfSiblings);
        let mut open = Self::without_runs(depth, host);
        open.start(runs);
        open
    }

    fn under(depth: usize, host: Host) -> Self {
        let mut open = Self::without_runs(depth, host);
        open.start(1);
        open
    }

    fn without_runs(depth: usize, host: Host) -> Self {
        let callbacks = Kind::Async.register(1, host.callbacks());
        let above = host.block_on(start_in_line(&callbacks, depth));
        let callbacks = above.last().map_or(callbacks, ChainRun::child);
        Self { runs: Vec::new(), above, callbacks, host }
    }

    fn start(&mut self, runs: usize) {
        self.host.block_on(async {
            for _ in 0..runs {
                self.runs.push(start(&self.callbacks).await);
            }
        });
    }

    /// Replaces the measured run, so that its text does not grow from call to call.
    fn renew_the_last(&mut self) {
        let Some(run) = self.runs.pop() else { return };
        let new = self.host.block_on(async {
            let mut new = start(&self.callbacks).await;
            end(run).await;
            emit(&mut new, MEASURED).await;
            new
        });
        self.runs.push(new);
    }
}

impl Drop for OpenRuns {
    fn drop(&mut self) {
        self.host.block_on(async {
            for run in self.runs.drain(..) {
                end(run).await;
            }
            end_in_line(&mut self.above).await;
        });
    }
}

/// How runs in a line end.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    EachRun,
    FirstRun,
}

/// Starts and ends of a number of runs in a line.
fn nested(depth: usize, ending: Ending, host: &Host) -> Row {
    let (host, callbacks) = (host.clone(), Kind::Async.register(1, host.callbacks()));
    let lines = MEASURED.div_ceil(depth as u64);
    Row::new(format!("{depth} runs in a line"), lines * depth as u64, move |meter| {
        meter.around(|| {
            host.block_on(async {
                for _ in 0..lines {
                    let mut line = start_in_line(&callbacks, depth).await;
                    if ending == Ending::FirstRun {
                        let first = line.remove(0);
                        first.end(Value::Null).await.expect("an open run ends");
                    } else {
                        end_in_line(&mut line).await;
                    }
                }
            });
        });
    })
    .at(depth as f64)
}

/// Starts a number of runs, each under the one before.
async fn start_in_line(callbacks: &CallbackManager, depth: usize) -> Vec<ChainRun> {
    let mut line: Vec<ChainRun> = Vec::with_capacity(depth);
    for _ in 0..depth {
        let above = line.last().map_or_else(|| callbacks.clone(), ChainRun::child);
        let started = above.on_chain_start(ChainStart::new("chain", Value::Null)).await;
        line.push(started.expect("no handler fails"));
    }
    line
}

/// Ends runs that are in a line, the last one first.
async fn end_in_line(line: &mut Vec<ChainRun>) {
    while let Some(run) = line.pop() {
        run.end(Value::Null).await.expect("an open run ends");
    }
}

async fn end(run: LlmRun) {
    run.end(LlmResult::new()).await.expect("an open run ends");
}

fn registered_in_place(handlers: usize, host: &Host) -> Row {
    let host = host.clone();
    Row::new(format!("{handlers} handlers added"), handlers as u64, move |meter| {
        let mut callbacks = host.callbacks();
        meter.around(|| {
            (0..handlers).for_each(|_| {
                callbacks.add_async_handler(Nothing);
            });
        });
    })
    .at(handlers as f64)
}

fn registered_by_value(handlers: usize, host: &Host) -> Row {
    let host = host.clone();
    Row::new(format!("{handlers} handlers added by value"), handlers as u64, move |meter| {
        let callbacks = host.callbacks();
        let callbacks = meter.around(|| Kind::Async.register(handlers, callbacks));
        drop(callbacks);
    })
    .at(handlers as f64)
}
