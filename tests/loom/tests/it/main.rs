//! Core's own files, with loom's locks and atomics instead of the standard library's: loom runs each test once for every order of its threads.
//!
//! Nothing of core is copied. The modules below are its files; what they take from the rest of the crate is supplied here.

// Everything below is switched off until these models are written for the engine of version 2: the
// files of core that they include are gone. `threads_pool.rs` is a binary of its own.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

// extern crate alloc;
// `std::time::Instant` in a file of core is `time::Instant` here: a real clock would make two runs of one order differ.
// extern crate self as std;
// The real one, for what a test only notes down: loom need not try the orders of that.
// extern crate std as system;

// #[allow(dead_code, reason = "core uses more of it than the tests do")]
// #[path = "../../../../core/src/latch.rs"]
// mod latch;
// #[allow(dead_code, reason = "core uses more of it than the tests do")]
// #[path = "../../../../core/src/ledger.rs"]
// mod ledger;
// #[allow(dead_code, reason = "core uses more of it than the tests do")]
// #[path = "../../../../core/src/lane/mailboxes.rs"]
// mod mailboxes;
// #[allow(dead_code, reason = "core uses more of it than the tests do")]
// #[path = "../../../../core/src/lane/workers.rs"]
// mod workers;

// mod contain;
// mod model;
// mod runtime;
// mod sync;
// mod time;

// mod emitters_are_let_go;
// mod flushes_end;
// mod lanes_are_served;
// mod waiters_are_woken;
