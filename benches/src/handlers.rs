//! Handlers that do next to nothing, so that what is measured is what it takes to call them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rappel_core::{
    AsyncCallbackHandler, Background, CallbackHandler, CallbackManager, EventGroup, HandlerOptions, HandlerResult, Interest, LlmEnd,
    LlmNewToken, LlmStart, Pipelined, RunInfo,
};

/// How many events wait for a handler that is not awaited, and in a channel that does the same work.
pub const CAPACITY: usize = 256;

/// Looks at a run's start, tokens and end, and does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl AsyncCallbackHandler for Nothing {
    async fn on_llm_start(&self, start: &LlmStart, _: &RunInfo) -> HandlerResult {
        black_box(start);
        Ok(())
    }

    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        black_box(token);
        Ok(())
    }

    async fn on_llm_end(&self, end: &LlmEnd, _: &RunInfo) -> HandlerResult {
        black_box(end);
        Ok(())
    }
}

impl CallbackHandler for Nothing {
    fn on_llm_start(&mut self, start: &LlmStart, _: &RunInfo) -> HandlerResult {
        black_box(start);
        Ok(())
    }

    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        black_box(token);
        Ok(())
    }

    fn on_llm_end(&mut self, end: &LlmEnd, _: &RunInfo) -> HandlerResult {
        black_box(end);
        Ok(())
    }
}

/// Does nothing, once nobody holds it: so that a mailbox can be filled.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<AtomicBool>);

impl Held {
    /// From the next token on, waits.
    pub fn hold(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Goes on.
    pub fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl CallbackHandler for Held {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        while self.0.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        black_box(token);
        Ok(())
    }
}

/// Gives way once at each token.
#[derive(Debug, Clone, Copy)]
pub struct Yields;

impl AsyncCallbackHandler for Yields {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        futures_lite::future::yield_now().await;
        black_box(token);
        Ok(())
    }
}

/// Wants to hear of chains only.
#[derive(Debug, Clone, Copy)]
pub struct ChainsOnly;

impl AsyncCallbackHandler for ChainsOnly {
    fn interest(&self) -> Interest {
        Interest::none().with_group(EventGroup::Chain)
    }
}

/// Keeps its thread for that long at each token.
#[derive(Debug, Clone, Copy)]
pub struct Sleeps(pub Duration);

impl CallbackHandler for Sleeps {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        thread::sleep(self.0);
        Ok(())
    }
}

/// What a handler is without this library: a trait object with a boxed future a call.
#[async_trait]
pub trait DynHandler: Send + Sync {
    /// A token came.
    async fn on_llm_new_token(&self, token: &LlmNewToken, run: &RunInfo) -> HandlerResult;
}

#[async_trait]
impl DynHandler for Nothing {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        black_box(token);
        Ok(())
    }
}

#[async_trait]
impl DynHandler for Yields {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        futures_lite::future::yield_now().await;
        black_box(token);
        Ok(())
    }
}

/// How a row's handlers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Async ones.
    Async,
    /// Async ones that give way once.
    Yielding,
    /// Sync ones on the emitter's thread.
    Inline,
    /// Sync ones that emitting waits for.
    Awaited,
    /// Sync ones whose mailbox emitting waits for.
    Pipelined,
    /// Sync ones that nobody waits for.
    Background,
}

impl Kind {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Yielding => "yielding async",
            Self::Inline => "inline sync",
            Self::Awaited => "awaited sync",
            Self::Pipelined => "pipelined sync",
            Self::Background => "background sync",
        }
    }

    /// "4 async handlers".
    #[must_use]
    pub fn of(self, handlers: usize) -> String {
        let plural = if handlers == 1 { "" } else { "s" };
        format!("{handlers} {} handler{plural}", self.name())
    }

    /// That manager with so many handlers of this kind.
    #[must_use]
    pub fn register(self, handlers: usize, callbacks: CallbackManager) -> CallbackManager {
        (0..handlers).fold(callbacks, |callbacks, _| self.register_one(callbacks))
    }

    fn register_one(self, callbacks: CallbackManager) -> CallbackManager {
        match self {
            Self::Async => callbacks.with_async_handler(Nothing),
            Self::Yielding => callbacks.with_async_handler(Yields),
            Self::Inline | Self::Awaited | Self::Pipelined | Self::Background => self.register_sync(Nothing, callbacks),
        }
    }

    /// That manager with a sync handler, called as the kind says; an async kind is as good as awaited.
    #[must_use]
    pub fn register_sync(self, handler: impl CallbackHandler, callbacks: CallbackManager) -> CallbackManager {
        let options = HandlerOptions::new();
        match self {
            Self::Inline => callbacks.with_handler_options(handler, options.run_inline(true)),
            Self::Async | Self::Yielding | Self::Awaited => callbacks.with_handler(handler),
            Self::Pipelined => callbacks.with_handler_options(handler, options.delivery(Pipelined { capacity: CAPACITY })),
            Self::Background => {
                let delivery = Background {
                    capacity: CAPACITY,
                    open_runs: 1 << 16,
                };
                callbacks.with_handler_options(handler, options.delivery(delivery))
            }
        }
    }
}
