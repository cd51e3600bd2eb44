//! How late a ticker is on an event loop of one thread, beside a sync handler that sleeps, and
//! beside an emitter that is always ready.

use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use rappel_core::{Background, CallbackManager, LlmResult};

use super::start;
use crate::handlers::{Counts, Kind, Sleeps};
use crate::host::Host;
use crate::measure::quotients;
use crate::report::{Spread, StallResult, quantile};

const TICK: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_millis(50);
/// Tokens in a row.
const ROW: u64 = 20_000;

/// The name of the row with a sync handler that sleeps.
pub const SLEEPING: &str = "loop stall: a sync handler that sleeps 50 ms an event";
/// The name of the row with an emitter that is always ready.
pub const READY: &str = "loop stall: 20,000 ready tokens in a row";

const SLEEPING_INLINE: &str = "loop stall: the same handler, inline";
const NO_HANDLER: &str = "loop stall: no handler";

/// What the ticker measured beside something.
struct Beside {
    name: &'static str,
    work: Work,
    /// Milliseconds from tick to tick, one list per slice.
    slices: Vec<Vec<f64>>,
    /// Tokens in a row without a call of the background handler, one figure per slice.
    rows: Vec<f64>,
}

enum Work {
    /// An emitter with this manager.
    Emitter(CallbackManager),
    /// An emitter that is always ready.
    Ready,
}

/// Measures a loop without a handler, with one that sleeps, with the same one inline, and with an
/// emitter that is always ready, in turn.
///
/// Returns nothing if `only` selects none of them.
#[must_use]
pub fn measure(only: Option<&str>, slices: usize, slice: Duration) -> Vec<StallResult> {
    let host = Host::tokio_current_thread();
    let beside = |name, work| Beside { name, work, slices: Vec::new(), rows: Vec::new() };
    let inline = Kind::Inline.register_sync(Sleeps(NAP), host.callbacks());
    let mut all = [
        beside(NO_HANDLER, Work::Emitter(host.callbacks())),
        beside(SLEEPING, Work::Emitter(host.callbacks().with_handler(Sleeps(NAP)))),
        beside(SLEEPING_INLINE, Work::Emitter(inline)),
        beside(READY, Work::Ready),
    ];
    if only.is_some_and(|only| !all.iter().any(|beside| beside.name.contains(only))) {
        return Vec::new();
    }
    for _ in 0..slices {
        for beside in &mut all {
            beside.measure(&host, slice);
        }
    }
    let bare = p99_of_each(&all[0].slices);
    all.iter().map(|beside| beside.result(&bare)).collect()
}

impl Beside {
    fn measure(&mut self, host: &Host, slice: Duration) {
        match &self.work {
            Work::Emitter(callbacks) => {
                self.slices.push(host.block_on(ticks_beside(callbacks, slice)));
            }
            Work::Ready => {
                let (gaps, row) = ticks_beside_ready_tokens(host);
                self.slices.push(gaps);
                self.rows.push(row);
            }
        }
    }

    fn result(&self, bare: &[f64]) -> StallResult {
        let all = sorted(self.slices.concat());
        let p99 = p99_of_each(&self.slices);
        StallResult {
            name: self.name.to_owned(),
            p50: quantile(&all, 0.5),
            p99: quantile(&all, 0.99),
            p999: quantile(&all, 0.999),
            ratio: Spread::of(&quotients(&p99, bare)),
            p99_of_slices: Spread::of(&p99),
            row_without_turn: (!self.rows.is_empty()).then(|| Spread::of(&self.rows)),
        }
    }
}

/// Ticks for a time, while another future of the same task emits.
async fn ticks_beside(callbacks: &CallbackManager, slice: Duration) -> Vec<f64> {
    let until = Instant::now() + slice;
    let ticker = ticks(move || Instant::now() < until);
    let emitter = async {
        let mut run = start(callbacks).await;
        while Instant::now() < until {
            run.on_llm_new_token("token").await.expect("an open run takes tokens");
            if callbacks.has_handlers() {
                // With an inline handler the emitter never waits, and the ticker would get no turn.
                futures_lite::future::yield_now().await;
            } else {
                tokio::time::sleep(NAP).await;
            }
        }
        run
    };
    let (gaps, run) = match select(Box::pin(ticker), Box::pin(emitter)).await {
        Either::Left((gaps, emitter)) => (gaps, emitter.await),
        Either::Right((run, ticker)) => (ticker.await, run),
    };
    run.end(LlmResult::new()).await.expect("an open run ends");
    gaps
}

/// Ticks while another task emits tokens that one handler handles at once, and another one in the
/// background. Returns the gaps, and the most tokens in a row without a call of the latter.
fn ticks_beside_ready_tokens(host: &Host) -> (Vec<f64>, f64) {
    let background = Counts::default();
    let callbacks = Kind::Async
        .register(1, host.callbacks())
        .with_async_handler_options(background.clone(), Background::new(1_024));
    let (done, emitting) = tokio::sync::watch::channel(true);
    let ticker = host.spawn(ticks(move || *emitting.borrow()));
    let emitter = host.spawn(async move {
        let mut run = start(&callbacks).await;
        // The ticker's first tick is due when the emitter is in the middle of its row.
        futures_lite::future::yield_now().await;
        let (mut longest, mut row, mut calls) = (0_u64, 0_u64, background.calls());
        for _ in 0..ROW {
            run.on_llm_new_token("token").await.expect("an open run takes tokens");
            row = if calls == background.calls() { row + 1 } else { 0 };
            calls = background.calls();
            longest = longest.max(row);
        }
        let _ = done.send(false);
        run.end(LlmResult::new()).await.expect("an open run ends");
        callbacks.flush().await.expect("a flush outside of handlers");
        longest
    });
    host.block_on(async { (ticker.await, emitter.await as f64) })
}

/// Sleeps for a tick again and again, while `goes_on` says so. Returns milliseconds from tick to
/// tick.
async fn ticks(goes_on: impl Fn() -> bool) -> Vec<f64> {
    let mut gaps = Vec::with_capacity(1_024);
    let mut last = Instant::now();
    while goes_on() {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        gaps.push((now - last).as_secs_f64() * 1e3);
        last = now;
    }
    gaps
}

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn p99_of_each(slices: &[Vec<f64>]) -> Vec<f64> {
    slices.iter().map(|slice| quantile(&sorted(slice.clone()), 0.99)).collect()
}
