//! Work on many things that exist at once. If looking after one of them takes a look at all others,
//! the instructions for each grow with their number.

use std::mem;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::{
    AsyncCallbackHandler, CallbackManager, ChainRun, ChainStart, Event, EventContext, Text, Value,
    async_handler_fn,
};

use crate::host::Host;

/// What there are many of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Many {
    /// Open runs without a parent. Each emits, is dropped, and so ends.
    Runs,
    /// Open runs, each under the one before. Each emits, and ends, the last one first.
    RunsInLine,
    /// The same. The first one ends, which closes the others.
    ClosedInLine,
    /// Open children of one run. Each emits. A half ends by itself, the parent closes the others.
    Children,
    /// Runs whose event is in flight when its emitter is leaked. Each is dropped, and so ends.
    LeakedEmits,
    /// Handlers of one manager.
    Handlers,
}

impl Many {
    /// Works on so many of them.
    ///
    /// # Panics
    /// If a handler has not received what it should.
    pub(crate) fn work_on(self, number: usize) {
        let host = Host::tokio_current_thread();
        let mut callbacks = host.callbacks();
        if let Self::Handlers = self {
            (0..number).for_each(|_| {
                callbacks.add_async_handler(ready());
            });
            assert_eq!(callbacks.stats().len(), number);
            return;
        }
        callbacks.add_async_handler(ready());
        if let Self::LeakedEmits = self {
            callbacks.add_async_handler(slow());
        }
        host.block_on(async {
            self.run(&callbacks, number).await;
            callbacks.flush().await.expect("this is no handler's call");
        });
        let above = usize::from(matches!(self, Self::Children));
        assert_eq!(callbacks.stats()[0].handled, 3 * number + 2 * above);
    }

    async fn run(self, callbacks: &CallbackManager, number: usize) {
        match self {
            Self::Runs | Self::LeakedEmits => {
                let mut runs = Vec::new();
                for _ in 0..number {
                    runs.push(start(callbacks).await);
                }
                for run in &mut runs {
                    let mut emit = run.on_text("a");
                    match self {
                        Self::LeakedEmits => {
                            // Twice, as an emitter yields before now and then.
                            for _ in 0..2 {
                                assert!(poll_once(&mut emit).await.is_none(), "a handler yields");
                            }
                            mem::forget(emit);
                        }
                        _ => emit.await.expect("no handler fails"),
                    }
                }
                drop(runs);
            }
            Self::RunsInLine | Self::ClosedInLine => {
                let mut runs = vec![start(callbacks).await];
                for above in 1..number {
                    let inside = runs[above - 1].child();
                    runs.push(start(&inside).await);
                }
                emit(&mut runs).await;
                if let Self::ClosedInLine = self {
                    end(runs.swap_remove(0)).await;
                }
                while let Some(run) = runs.pop() {
                    match self {
                        Self::RunsInLine => end(run).await,
                        _ => drop(run),
                    }
                }
            }
            Self::Children => {
                let parent = start(callbacks).await;
                let inside = parent.child();
                let mut children = Vec::new();
                for _ in 0..number {
                    children.push(start(&inside).await);
                }
                emit(&mut children).await;
                for child in children.drain(..number / 2) {
                    end(child).await;
                }
                end(parent).await;
                drop(children);
            }
            Self::Handlers => {}
        }
    }
}

fn ready() -> impl AsyncCallbackHandler {
    async_handler_fn(async |_: &Event, _: &EventContext| Ok(()))
}

/// Takes three polls for a text.
fn slow() -> impl AsyncCallbackHandler {
    async_handler_fn(async |event: &Event, _: &EventContext| {
        if let Event::Text(_) = event {
            yield_now().await;
            yield_now().await;
        }
        Ok(())
    })
}

async fn start(callbacks: &CallbackManager) -> ChainRun {
    let started = callbacks.on_chain_start(ChainStart::new("chain", Value::Null));
    started.await.expect("no handler fails")
}

async fn emit(runs: &mut [ChainRun]) {
    for run in runs {
        run.on_text(Text::new("a")).await.expect("no handler fails");
    }
}

async fn end(run: ChainRun) {
    run.end(Value::Null).await.expect("an open run ends");
}
