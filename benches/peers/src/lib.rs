//! The same work with other libraries. Each has its own file, which says what is called and how it
//! differs.

use std::hint::black_box;

use rappel_benches::host::Host;
use rappel_benches::measure::Row;

mod cognis;
mod dyn_calls;
mod lc_callbacks;
mod rappel;
mod rig;

const HANDLERS: [usize; 3] = [1, 4, 16];

/// The name of a group of rows, as the report shows it.
const TOKEN: &str = "a token";
const TOKEN_AFTER_HISTORY: &str = "a token of a run with 25 kB of history";
const SYNC: &str = "a token, sync handlers";
const SYNC_AFTER_HISTORY: &str = "a token of a run with 25 kB of history, sync handlers";

/// Where a row belongs.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// The library.
    pub peer: &'static str,
    /// The number of handlers.
    pub handlers: usize,
}

/// Rows that do the same work, and are measured in turn.
#[allow(missing_debug_implementations, reason = "rows are closures")]
pub struct Group {
    /// What they do.
    pub name: &'static str,
    /// Each library with each number of handlers. No two have the same name.
    pub rows: Vec<Row>,
    /// Where each of the rows belongs.
    pub whose: Vec<Whose>,
}

impl Group {
    fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new(), whose: Vec::new() }
    }

    fn add(&mut self, peer: &'static str, handlers: usize, mut row: Row) {
        row.name = format!("{peer}, {handlers}");
        self.rows.push(row);
        self.whose.push(Whose { peer, handlers });
    }
}

/// How the work differs nevertheless.
pub const NOTES: [&str; 5] = [
    "rappel: async handlers are awaited; in the rows with sync handlers, those are called inline; it also collects the answer so far, isolates panics, and orders events",
    "rig: its hook stack is called as its engine calls it at a text delta; the engine collects the answer so far outside of that call",
    "lc-callbacks: each handler's call is its own task, which is waited for; the run that it copies for each call holds the messages",
    "cognis-core: its handlers are always sync, so they are compared with rappel's sync ones too; its events own their text",
    "dyn: boxed futures in a loop, without a library",
];

/// All groups, created anew: in a run that started with one word, and in one that started with 25
/// kB of messages.
#[must_use]
pub fn groups() -> Vec<Group> {
    let host = Host::tokio_current_thread();
    let word = vec!["prompt".to_owned()];
    let history: Vec<String> = (0..25).map(|_| "x".repeat(1_000)).collect();
    vec![
        all(TOKEN, &word, &host),
        all(TOKEN_AFTER_HISTORY, &history, &host),
        sync(SYNC, &word, &host),
        sync(SYNC_AFTER_HISTORY, &history, &host),
    ]
}

/// Every library with handlers that it awaits, or with sync ones if it has no others.
fn all(name: &'static str, messages: &[String], host: &Host) -> Group {
    let mut group = Group::new(name);
    for handlers in HANDLERS {
        group.add("dyn", handlers, dyn_calls::row(handlers, messages, host));
        group.add("rappel", handlers, rappel::asynchronous(handlers, messages, host));
        group.add("rig", handlers, rig::row(handlers, messages, host));
        group.add("lc-callbacks", handlers, lc_callbacks::row(handlers, messages, host));
        group.add("cognis-core", handlers, cognis::row(handlers, messages));
    }
    group
}

/// Libraries with sync handlers that are called inline.
fn sync(name: &'static str, messages: &[String], host: &Host) -> Group {
    let mut group = Group::new(name);
    for handlers in HANDLERS {
        group.add("rappel", handlers, rappel::inline(handlers, messages, host));
        group.add("cognis-core", handlers, cognis::row(handlers, messages));
    }
    group
}

/// Every token is the same, which the compiler must not use.
fn token() -> &'static str {
    black_box("token")
}
