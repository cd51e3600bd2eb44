//! How late a ticker is on an event loop of one thread, while a sync handler sleeps beside it.

use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use rappel_core::{CallbackManager, HandlerOptions, LlmResult};

use super::start;
use crate::handlers::Sleeps;
use crate::host::Host;
use crate::report::{Spread, StallResult, quantile};

const TICK: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_millis(50);

/// Something that runs beside the ticker.
struct Beside {
    name: &'static str,
    callbacks: CallbackManager,
    /// From tick to tick, in milliseconds, a list a slice.
    slices: Vec<Vec<f64>>,
}

/// Measures a loop without a handler, with one that sleeps, and with the same one inline, in turn.
///
/// Nothing is left where `only` names none of them.
#[must_use]
pub fn measure(only: Option<&str>, slices: usize, slice: Duration) -> Vec<StallResult> {
    let host = Host::tokio_current_thread();
    let inline = HandlerOptions::new().run_inline(true);
    let beside = |name, callbacks| Beside {
        name,
        callbacks,
        slices: Vec::new(),
    };
    let mut all = [
        beside("loop stall: no handler", host.callbacks()),
        beside(
            "loop stall: a sync handler that sleeps 50 ms an event",
            host.callbacks().with_handler(Sleeps(NAP)),
        ),
        beside(
            "loop stall: the same handler, inline",
            host.callbacks().with_handler_options(Sleeps(NAP), inline),
        ),
    ];
    if only.is_some_and(|only| !all.iter().any(|beside| beside.name.contains(only))) {
        return Vec::new();
    }
    for _ in 0..slices {
        for beside in &mut all {
            let ticks = host.block_on(ticks_beside(&beside.callbacks, slice));
            beside.slices.push(ticks);
        }
    }
    let bare = p99_of_each(&all[0].slices);
    all.iter().map(|beside| result(beside, &bare)).collect()
}

/// Ticks for that long, while another future of the same task emits.
async fn ticks_beside(callbacks: &CallbackManager, slice: Duration) -> Vec<f64> {
    let until = Instant::now() + slice;
    let ticker = async {
        let mut gaps = Vec::with_capacity(slice.as_millis() as usize + 1);
        let mut last = Instant::now();
        while last < until {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            gaps.push((now - last).as_secs_f64() * 1e3);
            last = now;
        }
        gaps
    };
    let emitter = async {
        let run = start(callbacks).await;
        while Instant::now() < until {
            run.on_llm_new_token("token").await.expect("an open run takes tokens");
            if callbacks.has_handlers() {
                // An inline handler leaves the emitter nothing to wait for, and then the ticker would get no turn at all.
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

fn sorted(mut numbers: Vec<f64>) -> Vec<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers
}

fn p99_of_each(slices: &[Vec<f64>]) -> Vec<f64> {
    slices.iter().map(|slice| quantile(&sorted(slice.clone()), 0.99)).collect()
}

fn result(beside: &Beside, bare: &[f64]) -> StallResult {
    let all = sorted(beside.slices.concat());
    let p99 = p99_of_each(&beside.slices);
    StallResult {
        name: beside.name.to_owned(),
        p50: quantile(&all, 0.5),
        p99: quantile(&all, 0.99),
        p999: quantile(&all, 0.999),
        ratio: Spread::of(&crate::measure::quotients(&p99, bare)),
        p99_of_slices: Spread::of(&p99),
    }
}
