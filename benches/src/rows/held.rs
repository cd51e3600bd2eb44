//! The bytes that stay allocated for idle things. They are counted and never timed.

use std::any::Any;
use std::thread;
use std::time::Duration;

use rappel_core::{CallbackManager, LlmResult, LlmRun};

use super::tokens::emit_text;
use super::{emit, start};
use crate::handlers::{self, CAPACITY, Kind};
use crate::host::Host;

/// How long a handler's thread is given to become idle.
const IDLE: Duration = Duration::from_millis(100);

/// An idle thing that a program can have many of.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is.
    pub name: String,
    thing: Thing,
}

#[derive(Debug, Clone, Copy)]
enum Thing {
    /// A run with a number of handlers of a kind, after a number of tokens.
    Run(Kind, usize, u64),
    /// A run with one handler of a kind, after a burst.
    AfterBurst(Kind, Burst),
    /// A handler that is registered with one manager.
    Handler(Kind),
}

/// More tokens than the handler handles in that time.
#[derive(Debug, Clone, Copy)]
struct Burst {
    /// The handler's queue length.
    capacity: usize,
    text: &'static str,
}

/// A text that is too long for a mailbox entry.
const LONG: &str = "a token that is a good deal longer than the twenty-four bytes that go by value";

/// All that are counted.
#[must_use]
pub fn all() -> Vec<Held> {
    let held = |name: String, thing| Held { name, thing };
    let run = |kind: Kind, handlers| {
        let name = format!("an idle run with {}", kind.of(handlers));
        held(name, Thing::Run(kind, handlers, 0))
    };
    let after_a_token = |kind: Kind| {
        let name = format!("an idle run with {}, after a token", kind.of(1));
        held(name, Thing::Run(kind, 1, 1))
    };
    let after_a_burst = |kind: Kind, capacity: usize, text: &'static str| {
        let length = text.len();
        let name =
            format!("an idle run with {}, after {capacity} tokens of {length} bytes", kind.of(1));
        held(name, Thing::AfterBurst(kind, Burst { capacity, text }))
    };
    let handler =
        |kind: Kind| held(format!("an idle handler, {}", kind.name()), Thing::Handler(kind));
    let mut all = vec![run(Kind::Async, 0)];
    for kind in KINDS {
        all.extend([run(kind, 1), run(kind, 16), after_a_token(kind)]);
    }
    all.extend([
        after_a_burst(Kind::Async, CAPACITY, "token"),
        after_a_burst(Kind::Yielding, CAPACITY, "token"),
        after_a_burst(Kind::Awaited, CAPACITY, "token"),
        after_a_burst(Kind::Pipelined, 1_024, "token"),
        after_a_burst(Kind::Pipelined, 8_192, LONG),
        after_a_burst(Kind::Background, 1_024, "token"),
        after_a_burst(Kind::Background, 8_192, LONG),
    ]);
    all.extend(KINDS.map(handler));
    all
}

/// The kinds whose runs and handlers are counted.
pub const KINDS: [Kind; 4] = [Kind::Async, Kind::Awaited, Kind::Pipelined, Kind::Background];

impl Held {
    /// The numbers of things that are counted.
    #[must_use]
    pub fn numbers(&self) -> [u64; 3] {
        match self.thing {
            Thing::AfterBurst(..) => [16, 64, 256],
            Thing::Run(..) | Thing::Handler(_) => [256, 1_024, 4_096],
        }
    }

    /// Creates a number of things, which last as long as the returned value. Calls
    /// `count_from_here` when everything exists that the things share, and the room to keep them.
    #[must_use]
    pub fn make(&self, number: u64, count_from_here: impl FnOnce()) -> Box<dyn Any> {
        let host = Host::tokio_current_thread();
        match self.thing {
            Thing::Run(kind, handlers, tokens) => {
                let callbacks = kind.register(handlers, host.callbacks());
                let mut kept = Runs::new(host, callbacks, number);
                // The dispatcher learns from the first run, and starts threads.
                kept.start(1, tokens);
                count_from_here();
                kept.start(number, tokens);
                Box::new(kept)
            }
            Thing::AfterBurst(kind, burst) => {
                let handler = handlers::Held::default();
                // The answer so far is the run's own: it is bounded by this limit.
                let callbacks = host.callbacks().partial_limit(0);
                let callbacks = match kind {
                    Kind::Async | Kind::Yielding => kind.register(1, callbacks),
                    _ => kind.register_sync_with(burst.capacity, handler.clone(), callbacks),
                };
                let mut kept = Runs::new(host, callbacks, number);
                kept.burst(1, kind, &handler, burst);
                count_from_here();
                kept.burst(number, kind, &handler, burst);
                // The handler's thread gives memory back when it has been idle for a moment.
                thread::sleep(IDLE);
                Box::new(kept)
            }
            Thing::Handler(kind) => {
                let callbacks = host.callbacks();
                count_from_here();
                Box::new((kind.register(number as usize, callbacks), host))
            }
        }
    }
}

struct Runs {
    runs: Vec<LlmRun>,
    callbacks: CallbackManager,
    host: Host,
}

impl Runs {
    fn new(host: Host, callbacks: CallbackManager, number: u64) -> Self {
        let runs = Vec::with_capacity(number as usize + 1);
        Self { runs, callbacks, host }
    }

    fn start(&mut self, number: u64, tokens: u64) {
        self.host.block_on(async {
            for _ in 0..number {
                let mut run = start(&self.callbacks).await;
                emit(&mut run, tokens).await;
                self.runs.push(run);
            }
            self.callbacks.flush().await.expect("a flush outside of handlers");
        });
    }

    /// Starts runs that each fill the handler's queue once.
    fn burst(&mut self, number: u64, kind: Kind, handler: &handlers::Held, burst: Burst) {
        let queued = matches!(kind, Kind::Pipelined | Kind::Background);
        self.host.block_on(async {
            for _ in 0..number {
                let mut run = start(&self.callbacks).await;
                if queued {
                    handler.hold();
                }
                emit_text(&mut run, burst.text, burst.capacity as u64).await;
                handler.release();
                self.callbacks.flush().await.expect("a flush outside of handlers");
                self.runs.push(run);
            }
        });
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.host.block_on(async {
            for run in self.runs.drain(..) {
                run.end(LlmResult::new()).await.expect("an open run ends");
            }
            self.callbacks.flush().await.expect("a flush outside of handlers");
        });
    }
}
