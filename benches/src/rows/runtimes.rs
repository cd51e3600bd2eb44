//! Whole runs on each runtime: start, 1,000 tokens, end, in a task.

use rappel_core::{CallbackManager, LlmResult};

use super::references as reference;
use super::work::Work;
use super::{Panel, emit, start};
use crate::handlers::Kind;
use crate::host::Host;
use crate::measure::Row;

const TOKENS: u64 = 1_000;
/// The start and the end are events too.
const EVENTS: u64 = TOKENS + 2;
/// The tokens of each of many runs.
const TOKENS_OF_MANY: u64 = 20;

pub(super) fn panels(hosts: &[Host]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (kind, handlers) in [
        (Kind::Async, 0),
        (Kind::Async, 1),
        (Kind::Async, 4),
        (Kind::Async, 16),
        (Kind::Yielding, 1),
        (Kind::Awaited, 1),
        (Kind::Awaited, 4),
        (Kind::Pipelined, 1),
        (Kind::Pipelined, 4),
        (Kind::Background, 1),
        (Kind::Background, 4),
    ] {
        panels.push(runs(kind, handlers, hosts));
    }
    panels.push(concurrent(hosts));
    panels
}

fn runs(kind: Kind, handlers: usize, hosts: &[Host]) -> Panel {
    let mut rows = Vec::new();
    for host in hosts {
        let compared = compared_with(kind, handlers).on(host, EVENTS);
        rows.push(run_of(kind, handlers, host).on(host, EVENTS).against(&compared.name));
        rows.insert(rows.len() - 1, compared);
    }
    Panel::new(
        format!("a run of {TOKENS} tokens with {}", kind.of(handlers)),
        "Start, tokens, end, in a task of the runtime: time per event. The reference runs on the \
         same runtime.",
        rows,
    )
}

fn compared_with(kind: Kind, handlers: usize) -> Work {
    match (kind, handlers) {
        (_, 0) => reference::branch(),
        (Kind::Async | Kind::Inline, _) => reference::dyn_calls(handlers),
        (Kind::Yielding, _) => reference::yielding_dyn_calls(handlers),
        (Kind::Awaited, _) => reference::acknowledged(handlers),
        (Kind::Pipelined | Kind::Background, _) => reference::channels(handlers),
    }
}

fn run_of(kind: Kind, handlers: usize, host: &Host) -> Work {
    let callbacks = kind.register(handlers, host.callbacks());
    Work::new(kind.of(handlers), move |events| {
        let callbacks = callbacks.clone();
        async move {
            whole_run(&callbacks, events - 2).await;
            if kind == Kind::Background {
                callbacks.flush().await.expect("a flush outside of handlers");
            }
        }
    })
}

async fn whole_run(callbacks: &CallbackManager, tokens: u64) {
    let mut run = start(callbacks).await;
    emit(&mut run, tokens).await;
    run.end(LlmResult::new()).await.expect("an open run ends");
}

fn concurrent(hosts: &[Host]) -> Panel {
    let mut rows: Vec<Row> = Vec::new();
    for host in hosts {
        let one = concurrent_runs(1, host);
        let name = one.name.clone();
        rows.push(one);
        rows.extend([100, 10_000].map(|runs| concurrent_runs(runs, host).against(&name)));
    }
    Panel::new(
        "runs side by side",
        "Each run is a task: start, 20 tokens, end. One async handler for all. Time per event.",
        rows,
    )
}

fn concurrent_runs(runs: u64, host: &Host) -> Row {
    let callbacks = Kind::Async.register(1, host.callbacks());
    let spawner = host.clone();
    let plural = if runs == 1 { "" } else { "s at a time" };
    let work = Work::new(format!("{runs} run{plural}"), move |_| {
        let (callbacks, spawner) = (callbacks.clone(), spawner.clone());
        async move {
            let run = |_| {
                let callbacks = callbacks.clone();
                spawner.spawn(async move { whole_run(&callbacks, TOKENS_OF_MANY).await })
            };
            let tasks: Vec<_> = (0..runs).map(run).collect();
            for task in tasks {
                task.await;
            }
        }
    });
    work.on(host, runs * (TOKENS_OF_MANY + 2))
}
