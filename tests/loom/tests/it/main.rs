//! Core's own files with loom's locks and atomics in place of the standard library's. Loom runs each
//! test in every order of its threads.
//!
//! Nothing of core is copied: the modules with a `#[path]` are its files. The other modules hold
//! what these files import from the rest of core.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

extern crate alloc;
// `std::sync` and `std::time` in core's files are the modules `sync` and `time` of this crate.
extern crate self as std;
// The real one, for what has no other order in loom's eyes.
extern crate std as system;

#[path = "std_sync.rs"]
mod sync;
#[path = "std_time.rs"]
mod time;

mod util;

#[allow(dead_code, unused_imports, reason = "core uses more of it than the tests do")]
#[path = "../../../../core/src/queue/mod.rs"]
mod queue;
#[allow(dead_code, reason = "core uses more of it than the tests do")]
#[path = "../../../../core/src/dispatch/workers.rs"]
mod workers;

mod dispatch;
#[allow(dead_code, reason = "core's queues use more of it than the tests do")]
mod handler;
#[allow(dead_code, reason = "core uses more of its cell than the tests do")]
mod run;
mod runtime;

mod model;

mod emitters_are_let_go;
mod flushes_end;
mod lanes_are_served;
mod requests_are_attended_to;
mod turns_are_taken;
mod waiters_are_woken;
