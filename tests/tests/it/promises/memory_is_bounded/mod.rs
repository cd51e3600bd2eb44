//! Promise 10: memory is bounded by what is open. Queues have limits, everything that does not fit
//! is counted and reported to its handler, and nothing grows with the number of finished runs.

mod counted;
mod ended_runs;
mod growth;
mod idle_runs;
mod mailboxes;
mod partial_results;
mod traces;

use rappel_tests::held::{Grip, Held, held};
use rappel_tests::on_every_runtime;

use super::*;

/// Writes the events that it gets, and what it is told to have missed. It is held in its first
/// call.
struct Counts {
    first: Option<Held>,
    log: Log,
}

impl CallbackHandler for Counts {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        if let Some(mut held) = self.first.take() {
            held.on_event(event, cx)?;
        }
        let losses = cx.losses();
        let missed = if losses.dropped + losses.refused_runs == 0 {
            String::new()
        } else {
            format!(" after {} and {} runs", losses.dropped, losses.refused_runs)
        };
        self.log.write(format!("{}{missed}", line(event)));
        Ok(())
    }
}

/// A manager with a handler that is in the start of this run, and takes nothing more before it is
/// let go.
async fn stuck(
    rt: &Rt,
    options: impl Into<HandlerOptions>,
) -> (CallbackManager, LlmRun, Log, Grip) {
    let ((first, mut grip), log) = (held(), Log::new());
    let handler = Counts { first: Some(first), log: log.clone() };
    let callbacks = rt.callbacks().with_handler_options(handler, options);
    let run = model(&callbacks, "run").await;
    assert_eq!(grip.entered().await, "run llm_start: prompt");
    (callbacks, run, log, grip)
}

fn pipelined(overflow: Overflow) -> Pipelined {
    Pipelined::new(2).overflow(overflow)
}

async fn tokens(run: &mut LlmRun, tokens: &[&str]) {
    for token in tokens {
        run.on_llm_new_token(*token).await.unwrap();
    }
}

fn retry(attempt: u32) -> Retry {
    Retry::new(attempt, "slow", Duration::ZERO)
}
