//! Promise 9: `flush` returns when everything that was emitted before it is handled. `shutdown`
//! waits for open runs, then closes the rest and the work under them, delivers, and reports.

mod closed_work;
mod flush;
mod shutdown;

use rappel_tests::held::held;
use rappel_tests::on_every_runtime;

use super::*;

/// A deadline that a test waits for in full.
const SHORT: Duration = Duration::from_millis(50);

fn queued() -> HandlerOptions {
    Background::new(100).open_traces(100).into()
}

/// The error of a start.
async fn refused(callbacks: &CallbackManager) -> EmitError {
    callbacks.on_chain_start(ChainStart::new("late", json!(0))).await.unwrap_err()
}
