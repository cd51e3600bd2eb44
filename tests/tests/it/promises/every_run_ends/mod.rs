//! Promise 7: a handler that saw a run's start sees its end, whatever happens between. A handler
//! that did not get a run's start gets nothing of that run, nor of any run under it.

mod dropped_emitters;
mod kept_ends;
mod leaked_emitters;
mod operations;
mod panics;
mod sweep;
mod unseen_starts;

use rappel_tests::on_every_runtime;

use super::*;
