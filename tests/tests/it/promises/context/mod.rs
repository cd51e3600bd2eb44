//! Promise 13: every event has run, parent, root and tags. Nested calls find their parent by
//! themselves, in sync handlers on other threads, in the `Drop` of a cancelled future, across tasks
//! and closures. Nothing leaks to a neighbour.

mod drops;
mod handlers;
mod ids;
mod scopes;

use rappel_core::RunInfo;
use rappel_tests::on_every_runtime;

use super::*;

/// The name of the current run.
fn here() -> String {
    RunInfo::current().map_or("nowhere".to_owned(), |run| run.name().to_owned())
}

fn current() -> CallbackManager {
    CallbackManager::current().unwrap()
}
