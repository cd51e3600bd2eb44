//! How the cost of a token grows with what is around it.

use rappel_core::{CallbackManager, ChatModelStart, LlmResult, LlmRun, Message};

use super::{Panel, emit, start};
use crate::handlers::Kind;
use crate::host::Host;
use crate::measure::Row;

const MEASURED: u64 = 1_000;

pub(super) fn panels() -> Vec<Panel> {
    let host = Host::tokio_current_thread();
    let panel = |name: &str, about, rows| Panel::new(name, about, rows);
    vec![
        panel(
            "growth with handlers",
            "One token for so many async handlers.",
            [0, 1, 4, 16, 64, 256, 1_024].map(|handlers| with_handlers(handlers, &host)).into(),
        )
        .along("async handlers", 16.0),
        panel(
            "growth with runs in flight",
            "Tokens of one run, while so many are open; one async handler.",
            [1, 100, 10_000, 100_000].map(|runs| among_runs(runs, false, &host)).into(),
        )
        .along("open runs", 1.0),
        panel(
            "growth with runs in flight, each token of another run",
            "Each token is of the next run: beyond the processor's caches, each touches memory that is far away.",
            [1, 100, 10_000, 100_000].map(|runs| among_runs(runs, true, &host)).into(),
        )
        .along("open runs", 1.0),
        panel(
            "growth with the history",
            "Tokens of a run that started with so many bytes of messages; one async handler.",
            [0, 1 << 10, 1 << 14, 1 << 17, 1 << 20]
                .map(|bytes| after_history(bytes, &host))
                .into(),
        )
        .along("bytes of history", 1.0),
        panel(
            "growth with events so far",
            "Tokens of a run that has seen so many; one async handler.",
            [1_000, 10_000, 100_000, 1_000_000].map(|events| after_events(events, &host)).into(),
        )
        .along("events so far", 1.0),
    ]
}

fn with_handlers(handlers: usize, host: &Host) -> Row {
    let callbacks = Kind::Async.register(handlers, host.callbacks());
    let measured = MEASURED / (1 + handlers as u64 / 16);
    fresh_run(
        format!("among {}", Kind::Async.of(handlers)),
        host,
        measured,
        measured / 4,
        move || callbacks.clone(),
        "",
    )
    .at(handlers as f64)
}

fn after_history(bytes: usize, host: &Host) -> Row {
    let callbacks = Kind::Async.register(1, host.callbacks());
    let history = "x".repeat(bytes);
    fresh_run(
        format!("after {bytes} bytes of history"),
        host,
        MEASURED,
        MEASURED,
        move || callbacks.clone(),
        &history,
    )
    .at(bytes as f64)
}

fn after_events(events: u64, host: &Host) -> Row {
    let callbacks = Kind::Async.register(1, host.callbacks());
    fresh_run(
        format!("after {events} tokens"),
        host,
        MEASURED,
        events,
        move || callbacks.clone(),
        "",
    )
    .at(events as f64)
}

/// Tokens of a run that is new at each call, and has seen some before.
fn fresh_run(
    name: String,
    host: &Host,
    measured: u64,
    before: u64,
    callbacks: impl Fn() -> CallbackManager + 'static,
    history: &str,
) -> Row {
    let host = host.clone();
    let history: Vec<Message> = history
        .as_bytes()
        .chunks(1 << 10)
        .map(|text| Message::human(String::from_utf8_lossy(text).into_owned()))
        .collect();
    Row::new(name, measured, move |meter| {
        let messages = history.clone();
        let run = host.block_on(async {
            let started = callbacks().on_chat_model_start(ChatModelStart::new("model", messages)).await;
            let run = started.unwrap_or_else(|error| error.into_run());
            emit(&run, before).await;
            run
        });
        meter.around(|| host.block_on(emit(&run, measured)));
        host.block_on(run.end(LlmResult::new())).expect("an open run ends");
    })
}

/// Tokens while so many runs are open: of one of them, or of each in turn.
fn among_runs(runs: usize, in_turn: bool, host: &Host) -> Row {
    let host = host.clone();
    let (mut open, mut next) = (None, 0);
    Row::new(format!("among {runs} runs"), MEASURED, move |meter| {
        let open = open.get_or_insert_with(|| OpenRuns::new(runs, host.clone()));
        if in_turn {
            meter.around(|| {
                host.block_on(async {
                    for _ in 0..MEASURED {
                        emit(&open.runs[next], 1).await;
                        next = (next + 1) % open.runs.len();
                    }
                });
            });
        } else {
            open.renew_the_last();
            let last = &open.runs[runs - 1];
            meter.around(|| host.block_on(emit(last, MEASURED)));
        }
    })
    .at(runs as f64)
}

/// Runs that end when they are dropped.
struct OpenRuns {
    runs: Vec<LlmRun>,
    callbacks: CallbackManager,
    host: Host,
}

impl OpenRuns {
    fn new(runs: usize, host: Host) -> Self {
        let callbacks = Kind::Async.register(1, host.callbacks());
        let runs = host.block_on(async {
            let mut open = Vec::with_capacity(runs);
            for _ in 0..runs {
                open.push(start(&callbacks).await);
            }
            open
        });
        Self { runs, callbacks, host }
    }

    /// So that the text of the one that is measured does not grow from call to call.
    fn renew_the_last(&mut self) {
        if let Some(run) = self.runs.pop() {
            self.runs.push(self.host.block_on(async {
                let new = start(&self.callbacks).await;
                run.end(LlmResult::new()).await.expect("an open run ends");
                emit(&new, MEASURED).await;
                new
            }));
        }
    }
}

impl Drop for OpenRuns {
    fn drop(&mut self) {
        self.host.block_on(async {
            for run in self.runs.drain(..) {
                run.end(LlmResult::new()).await.expect("an open run ends");
            }
        });
    }
}
