//! The cost of a token event on an open run: the hot path, beside what it is compared with.

use std::hint::black_box;
use std::pin::pin;

use futures_lite::future::poll_once;
use rappel_core::{CallbackManager, LlmResult, LlmRun, LlmStart};

use super::Panel;
use super::references as reference;
use crate::budget;
use crate::handlers::{CAPACITY, ChainsOnly, Held, Kind};
use crate::host::Host;
use crate::measure::Row;

/// Tokens of a run before the measured ones. With this many and the measured ones, the run's text
/// does not outgrow its buffer during the measured part.
const BEFORE: u64 = 7_000;
const MEASURED: u64 = 6_000;
/// Both, if each event is waited for across threads.
const FEW: u64 = 300;
/// The longest text that goes into a mailbox by value, in bytes.
const BY_VALUE: &str = "twenty-four bytes token.";

/// Starts a run of a model.
///
/// # Panics
/// If the start fails: no handler here fails.
pub async fn start(callbacks: &CallbackManager) -> LlmRun {
    let started = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await;
    started.expect("no handler fails")
}

/// Emits a number of tokens.
///
/// # Panics
/// If a token is not accepted: the row would measure something else.
pub async fn emit(run: &mut LlmRun, tokens: u64) {
    emit_text(run, "token", tokens).await;
}

/// Emits a number of tokens with this text.
///
/// # Panics
/// As [`emit`] does.
pub(super) async fn emit_text(run: &mut LlmRun, text: &'static str, tokens: u64) {
    for _ in 0..tokens {
        run.on_llm_new_token(black_box(text)).await.expect("an open run takes tokens");
    }
}

pub(super) fn panels() -> Vec<Panel> {
    let host = Host::tokio_current_thread();
    vec![unheard(&host), asynchronous(&host), inline(&host), queued(&host), awaited(&host)]
}

fn unheard(host: &Host) -> Panel {
    let branch = reference::branch().in_place(host, MEASURED);
    let name = branch.name.clone();
    let none = tokens(budget::NO_HANDLER, host, host.callbacks(), Wait::No);
    let declined = host.callbacks().with_async_handler(ChainsOnly);
    let declined = tokens("a handler listens, but not to tokens", host, declined, Wait::No);
    let rows = vec![branch, none.against(&name), declined.against(&name)];
    Panel::new(budget::UNHEARD, "One thread, one open run, tokens only.", rows)
}

fn asynchronous(host: &Host) -> Panel {
    let mut rows = Vec::new();
    for handlers in [1, 4, 16] {
        let calls = reference::dyn_calls(handlers).in_place(host, MEASURED / 4);
        let joined =
            reference::joined_dyn_calls(handlers).in_place(host, MEASURED / 4).against(&calls.name);
        let ours = of_kind(Kind::Async, handlers, host, Wait::No).against(&calls.name);
        rows.extend([calls, joined, ours]);
    }
    for other in [reference::tracing_event(), reference::broadcast(1), reference::broadcast(4)] {
        let row = other.in_place(host, MEASURED / 4);
        rows.push(row.against("1 dyn async_trait call in a loop"));
    }
    Panel::new(
        "a token for async handlers",
        "No-op handlers, awaited, on one thread. Tokens of an open run only.",
        rows,
    )
}

fn inline(host: &Host) -> Panel {
    let calls = reference::dyn_calls(1).in_place(host, MEASURED / 4);
    let ours = of_kind(Kind::Inline, 1, host, Wait::No).against(&calls.name);
    Panel::new(
        "a token for an inline handler",
        "A no-op sync handler on the emitter's thread.",
        vec![calls, ours],
    )
}

fn queued(host: &Host) -> Panel {
    let channel = reference::channels(1).in_place(host, MEASURED);
    let name = channel.name.clone();
    let pipelined = of_queued(Kind::Pipelined, "token", host).against(&name);
    let mut longer = of_queued(Kind::Pipelined, BY_VALUE, host).against(&name);
    longer.name += ", tokens of 24 bytes";
    let background = of_queued(Kind::Background, "token", host).against(&name);
    Panel::new(
        "a token for a sync handler, queued",
        "A no-op handler on another thread, until the last event is handled. Up to 256 events are \
         queued. In the background, more tokens are coalesced.",
        vec![channel, pipelined, longer, background],
    )
}

fn awaited(host: &Host) -> Panel {
    let thread = reference::acknowledged(1).in_place(host, FEW);
    let spawned = reference::spawned_blocking().in_place(host, FEW).against(&thread.name);
    let ours = of_kind(Kind::Awaited, 1, host, Wait::Each).against(&thread.name);
    Panel::new(
        "a token for a sync handler, awaited",
        "A no-op handler on another thread. Each event is waited for.",
        vec![thread, spawned, ours],
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    No,
    Each,
}

fn of_kind(kind: Kind, handlers: usize, host: &Host, wait: Wait) -> Row {
    tokens(kind.of(handlers), host, kind.register(handlers, host.callbacks()), wait)
}

/// Measures tokens of an open run, without its start and end.
fn tokens(name: impl Into<String>, host: &Host, callbacks: CallbackManager, wait: Wait) -> Row {
    let host = host.clone();
    let (before, measured) = if wait == Wait::Each { (FEW, FEW) } else { (BEFORE, MEASURED) };
    Row::new(name, measured, move |meter| {
        let mut run = host.block_on(start(&callbacks));
        host.block_on(emit(&mut run, before));
        meter.around(|| host.block_on(emit(&mut run, measured)));
        host.block_on(run.end(LlmResult::new())).expect("an open run ends");
    })
}

/// Measures tokens of an open run until all of them are handled. The run's queue has been full
/// before: how full it gets in the measured part depends on the machine, so its buffer must have
/// its size already.
fn of_queued(kind: Kind, text: &'static str, host: &Host) -> Row {
    let (handler, host) = (Held::default(), host.clone());
    let callbacks = kind.register_sync(handler.clone(), host.callbacks());
    Row::new(kind.of(1), MEASURED, move |meter| {
        let phase = async |run: &mut LlmRun, tokens| {
            emit_text(run, text, tokens).await;
            callbacks.flush().await.expect("a flush outside of handlers");
        };
        let mut run = host.block_on(start(&callbacks));
        handler.hold();
        host.block_on(async {
            // One event is being handled, the others fill the queue. The last one waits for room.
            emit_text(&mut run, text, CAPACITY as u64 + 1).await;
            let mut last = pin!(emit_text(&mut run, text, 1));
            let done = poll_once(&mut last).await.is_some();
            handler.release();
            if !done {
                last.await;
            }
        });
        host.block_on(phase(&mut run, BEFORE));
        meter.around(|| host.block_on(phase(&mut run, MEASURED)));
        host.block_on(run.end(LlmResult::new())).expect("an open run ends");
    })
}
