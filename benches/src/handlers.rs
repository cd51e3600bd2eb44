//! Handlers that do next to nothing, so that rows measure what it takes to call them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rappel_core::{
    AsyncCallbackHandler, Awaited, Background, CallbackHandler, CallbackManager, EventContext,
    EventGroup, HandlerResult, Interest, LlmEnd, LlmNewToken, LlmStart, Pipelined, RunInfo,
};

/// The queue length of pipelined and background handlers, and of the channels that they are
/// compared with.
pub const CAPACITY: usize = 256;

/// Looks at a run's start, tokens and end, and does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl AsyncCallbackHandler for Nothing {
    async fn on_llm_start(&self, start: &LlmStart, _: &EventContext) -> HandlerResult {
        black_box(start);
        Ok(())
    }

    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        black_box(token);
        Ok(())
    }

    async fn on_llm_end(&self, end: &LlmEnd, _: &EventContext) -> HandlerResult {
        black_box(end);
        Ok(())
    }
}

impl CallbackHandler for Nothing {
    fn on_llm_start(&mut self, start: &LlmStart, _: &EventContext) -> HandlerResult {
        black_box(start);
        Ok(())
    }

    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        black_box(token);
        Ok(())
    }

    fn on_llm_end(&mut self, end: &LlmEnd, _: &EventContext) -> HandlerResult {
        black_box(end);
        Ok(())
    }
}

/// Does nothing, but blocks in a token while it is held: so that its queue can be filled.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<AtomicBool>);

impl Held {
    /// Blocks from the next token on.
    pub fn hold(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Stops blocking.
    pub fn release(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl CallbackHandler for Held {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        while self.0.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        black_box(token);
        Ok(())
    }
}

/// Yields once in each token.
#[derive(Debug, Clone, Copy)]
pub struct Yields;

impl AsyncCallbackHandler for Yields {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        futures_lite::future::yield_now().await;
        black_box(token);
        Ok(())
    }
}

/// Counts its tokens.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<AtomicU64>);

impl Counts {
    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl AsyncCallbackHandler for Counts {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        black_box(token);
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Is interested in chains only.
#[derive(Debug, Clone, Copy)]
pub struct ChainsOnly;

impl AsyncCallbackHandler for ChainsOnly {
    fn interest(&self) -> Interest {
        Interest::none().with_group(EventGroup::Chain)
    }
}

/// Blocks its thread for this long in each token.
#[derive(Debug, Clone, Copy)]
pub struct Sleeps(pub Duration);

impl CallbackHandler for Sleeps {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
        thread::sleep(self.0);
        Ok(())
    }
}

/// A handler without this library: a trait object with a boxed future per call.
#[async_trait]
pub trait DynHandler: Send + Sync {
    /// Handles a token.
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

/// A sync handler without this library.
pub trait PlainHandler {
    /// Handles a token.
    ///
    /// # Errors
    /// If the handler fails.
    fn on_llm_new_token(&mut self, token: &LlmNewToken, run: &RunInfo) -> HandlerResult;
}

impl PlainHandler for Nothing {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        black_box(token);
        Ok(())
    }
}

/// How a row's handlers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Async, awaited.
    Async,
    /// Async, awaited, and each call yields once.
    Yielding,
    /// Sync, on the emitter's thread.
    Inline,
    /// Sync, awaited.
    Awaited,
    /// Sync, and the emitter waits for room in its queue only.
    Pipelined,
    /// Sync, and the emitter never waits.
    Background,
}

impl Kind {
    /// Its name.
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

    /// Adds a number of handlers of this kind.
    #[must_use]
    pub fn register(self, handlers: usize, callbacks: CallbackManager) -> CallbackManager {
        (0..handlers).fold(callbacks, |callbacks, _| self.register_one(callbacks))
    }

    fn register_one(self, callbacks: CallbackManager) -> CallbackManager {
        match self {
            Self::Async => callbacks.with_async_handler(Nothing),
            Self::Yielding => callbacks.with_async_handler(Yields),
            Self::Inline | Self::Awaited | Self::Pipelined | Self::Background => {
                self.register_sync(Nothing, callbacks)
            }
        }
    }

    /// Adds a sync handler with this kind's delivery. The async kinds count as awaited.
    #[must_use]
    pub fn register_sync(
        self,
        handler: impl CallbackHandler + Send,
        callbacks: CallbackManager,
    ) -> CallbackManager {
        self.register_sync_with(CAPACITY, handler, callbacks)
    }

    /// The same, with a queue of this length if the delivery has one.
    #[must_use]
    pub fn register_sync_with(
        self,
        capacity: usize,
        handler: impl CallbackHandler + Send,
        callbacks: CallbackManager,
    ) -> CallbackManager {
        match self {
            Self::Inline => callbacks.with_handler_options(handler, Awaited::new().inline()),
            Self::Async | Self::Yielding | Self::Awaited => callbacks.with_handler(handler),
            Self::Pipelined => callbacks.with_handler_options(handler, Pipelined::new(capacity)),
            Self::Background => {
                let delivery = Background::new(capacity).open_traces(1 << 16);
                callbacks.with_handler_options(handler, delivery)
            }
        }
    }
}
