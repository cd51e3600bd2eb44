//! What stays allocated for things that are idle: counted, never timed.

use std::any::Any;

use rappel_core::{CallbackManager, LlmRun};

use super::start;
use crate::handlers::Kind;
use crate::host::Host;

/// Something idle, of which one can have many.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is.
    pub name: String,
    thing: Thing,
}

#[derive(Debug, Clone, Copy)]
enum Thing {
    /// A run with so many handlers of that kind, after so many tokens.
    Run(Kind, usize, u64),
    /// A handler that is registered with one manager.
    Handler(Kind),
}

/// All that are counted.
#[must_use]
pub fn all() -> Vec<Held> {
    let run = |kind: Kind, handlers| {
        let name = format!("an idle run with {}", kind.of(handlers));
        Held {
            name,
            thing: Thing::Run(kind, handlers, 0),
        }
    };
    let after_a_token = |kind: Kind| {
        let name = format!("an idle run with {}, after a token", kind.of(1));
        Held {
            name,
            thing: Thing::Run(kind, 1, 1),
        }
    };
    let handler = |kind: Kind| {
        let name = format!("an idle handler, {}", kind.name());
        Held {
            name,
            thing: Thing::Handler(kind),
        }
    };
    vec![
        run(Kind::Async, 0),
        run(Kind::Async, 1),
        after_a_token(Kind::Async),
        run(Kind::Async, 4),
        run(Kind::Async, 16),
        run(Kind::Awaited, 1),
        after_a_token(Kind::Awaited),
        run(Kind::Pipelined, 1),
        after_a_token(Kind::Pipelined),
        handler(Kind::Async),
        handler(Kind::Awaited),
        handler(Kind::Pipelined),
        handler(Kind::Background),
    ]
}

/// What each of them is counted with.
pub const NUMBERS: [u64; 3] = [256, 1_024, 4_096];

impl Held {
    /// Keeps a manager that the things are made of, and makes so many of them. They last as long as what comes back.
    ///
    /// What the runs or handlers share is made before `count_from_here` is called, and the room for keeping them too: it is not theirs.
    pub fn make(&self, number: u64, count_from_here: impl FnOnce()) -> Box<dyn Any> {
        let host = Host::tokio_current_thread();
        match self.thing {
            Thing::Run(kind, handlers, tokens) => {
                let callbacks = kind.register(handlers, host.callbacks());
                let mut kept = Runs::new(host, callbacks, number);
                // The first run teaches the dispatcher, and starts threads.
                kept.start(1, tokens);
                count_from_here();
                kept.start(number, tokens);
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
                let run = start(&self.callbacks).await;
                super::emit(&run, tokens).await;
                self.runs.push(run);
            }
            self.callbacks.flush().await;
        });
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.host.block_on(async {
            for run in self.runs.drain(..) {
                run.end(rappel_core::LlmResult::new()).await.expect("an open run ends");
            }
        });
    }
}
