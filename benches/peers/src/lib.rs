//! The same work by other libraries, a file a library, with what is called of it and how that differs.

use std::hint::black_box;

use rappel_benches::host::Host;
use rappel_benches::measure::Row;

mod cognis;
mod dyn_calls;
mod lc_callbacks;
mod rappel;
mod rig;

const HANDLERS: [usize; 3] = [1, 4, 16];

/// What the rows of a group share, as the report calls it.
const TOKEN: &str = "a token";
const TOKEN_AFTER_HISTORY: &str = "a token of a run with 25 kB of history";
const SYNC: &str = "a token, sync handlers";
const SYNC_AFTER_HISTORY: &str = "a token of a run with 25 kB of history, sync handlers";

/// Whose a row is.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// The library's.
    pub peer: &'static str,
    /// To how many handlers.
    pub handlers: usize,
}

/// Rows that are measured in turn, since they do the same.
#[allow(missing_debug_implementations, reason = "rows are closures")]
pub struct Group {
    /// What they do.
    pub name: &'static str,
    /// Each library with each number of handlers; no two have the same name.
    pub rows: Vec<Row>,
    /// Whose each of the rows is.
    pub whose: Vec<Whose>,
}

impl Group {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: Vec::new(),
            whose: Vec::new(),
        }
    }

    fn add(&mut self, peer: &'static str, handlers: usize, mut row: Row) {
        row.name = format!("{peer}, {handlers}");
        self.rows.push(row);
        self.whose.push(Whose { peer, handlers });
    }
}

/// How the same work differs nevertheless.
pub const NOTES: [&str; 5] = [
    "rappel: async handlers are awaited, or sync ones called inline where that is said; it also collects the answer so far, isolates panics, and orders events",
    "rig: its hook stack is called as its engine calls it at a text delta; its engine collects the answer so far outside of that",
    "lc-callbacks: each handler's call is a task of its own that is waited for; the run that it copies for each holds the messages",
    "cognis-core: its handlers are always sync, so rappel's sync ones stand beside them once more; its events own their text",
    "dyn: boxed futures in a loop, and no library at all",
];

/// All of them, made anew: in a run that began with a word, and in one that began with 25 kB.
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

/// Every library with the handlers that it awaits; with its sync ones, if there are no others.
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

/// What has sync handlers that are called inline.
fn sync(name: &'static str, messages: &[String], host: &Host) -> Group {
    let mut group = Group::new(name);
    for handlers in HANDLERS {
        group.add("rappel", handlers, rappel::inline(handlers, messages, host));
        group.add("cognis-core", handlers, cognis::row(handlers, messages));
    }
    group
}

/// Every token is the same; the compiler is not to know.
fn token() -> &'static str {
    black_box("token")
}
