//! The emitters of a round: trees of runs that end, fail, panic, are dropped and are aborted.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, join, select};
use rappel_core::{
    CallbackManager, ChainRun, ChainStart, CustomEvent, EmitError, InRun, LlmStart, RetrieverStart,
    RunError, RunId, Timer, ToolStart, Value,
};

use super::books::{Books, lock};
use super::handlers::PANIC;
use super::random::Random;

type Emitted = Result<(), EmitError>;

/// What the emitters of a round share.
pub(crate) struct Env {
    pub(crate) callbacks: CallbackManager,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) books: Arc<Books>,
    pub(crate) seed: u64,
    /// Whether the emitters finish.
    pub(crate) stop: AtomicBool,
    /// The runs whose start returned `Ok`.
    pub(crate) started: Mutex<Vec<RunId>>,
}

impl Env {
    /// Starts trees of runs until the round ends.
    pub(crate) async fn emit(self: Arc<Self>, task: u64) {
        let mut random = Random::new(self.seed, task << 48);
        while !self.stop.load(Ordering::Acquire) {
            let tree = self.tree(self.callbacks.clone(), random.next(), 0);
            let tree = AssertUnwindSafe(tree).catch_unwind();
            let outcome = if random.once_in(4) {
                self.aborted(tree, random.time(Duration::from_millis(6))).await
            } else {
                Some(tree.await)
            };
            match outcome {
                Some(Ok(Err(EmitError::ShutDown))) => return,
                Some(Ok(Err(error))) => self.check(&error),
                Some(Err(panic)) => self.check_panic(&*panic),
                Some(Ok(Ok(()))) | None => {}
            }
            if random.once_in(20) {
                if let Err(error) = self.callbacks.flush().await {
                    self.books.problems.add(format!("a flush returned: {error}"));
                }
            }
            super::yield_now().await;
        }
    }

    /// A chain with some steps.
    fn tree<'a>(
        &'a self,
        callbacks: CallbackManager,
        seed: u64,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Emitted> + Send + 'a>> {
        Box::pin(async move {
            let mut random = Random::new(seed, 0);
            let start = callbacks.on_chain_start(ChainStart::new("chain", Value::Null));
            let mut chain = start.await?;
            self.started(chain.id());
            let mut forgotten = Vec::new();
            for _ in 0..random.below(5) {
                self.step(&mut chain, &mut random, depth).await?;
                if random.once_in(10) {
                    // A child that is still open when the chain ends.
                    let start = chain.child().on_tool_start(ToolStart::new("open", "input"));
                    forgotten.push(start.await?);
                }
            }
            match random.below(8) {
                0 => drop(chain),
                1 => chain.fail("soak: a chain that fails").await?,
                2 => drop(chain.end(Value::Null).now_or_never()),
                3 => panic!("{PANIC}"),
                _ => chain.end(Value::Null).await?,
            }
            drop(forgotten);
            Ok(())
        })
    }

    /// A step of a chain.
    async fn step(&self, chain: &mut ChainRun, random: &mut Random, depth: usize) -> Emitted {
        let (child, seed) = (chain.child(), random.next());
        match random.below(12) {
            0..=2 => self.model(&child, seed).await?,
            3 => self.retriever(&child).await?,
            4 => {
                let (model, tool) = join(self.model(&child, seed), self.tool(&child, seed)).await;
                model?;
                tool?;
            }
            5 | 6 => {
                let model = self.model(&child, seed);
                let aborted = self.aborted(model, random.time(Duration::from_millis(3))).await;
                aborted.unwrap_or(Ok(()))?;
            }
            7 if depth < 3 => self.tree(child, seed, depth + 1).await?,
            8 => chain.on_text("text").await?,
            9 => {
                // Dropped after its first poll.
                let _ = chain.on_text("dropped").now_or_never();
            }
            10 => self.instrumented(&child, seed).await?,
            _ => chain.on_custom_event(CustomEvent::new("custom", Value::Null)).await?,
        }
        Ok(())
    }

    async fn model(&self, callbacks: &CallbackManager, seed: u64) -> Emitted {
        let mut random = Random::new(seed, 1);
        let mut run = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await?;
        self.started(run.id());
        for _ in 0..random.below(40) {
            if random.once_in(20) {
                let _ = run.on_llm_new_token("dropped").now_or_never();
            } else {
                run.on_llm_new_token("token").await?;
            }
        }
        if random.once_in(5) {
            let sleep = self.timer.sleep(random.time(Duration::from_millis(2)));
            let _ = run.until_closed(sleep).await;
        }
        match random.below(6) {
            0 => Ok(()),
            1 => run.fail("soak: a model that fails").await,
            2 => {
                let _ = run.end("dropped").now_or_never();
                Ok(())
            }
            _ => run.end("text").await,
        }
    }

    async fn tool(&self, callbacks: &CallbackManager, seed: u64) -> Emitted {
        let mut random = Random::new(seed, 2);
        let mut run = callbacks.on_tool_start(ToolStart::new("tool", "input")).await?;
        self.started(run.id());
        run.on_custom_event(CustomEvent::new("progress", Value::Null)).await?;
        self.timer.sleep(random.time(Duration::from_millis(1))).await;
        run.end("output").await
    }

    async fn retriever(&self, callbacks: &CallbackManager) -> Emitted {
        let run = callbacks.on_retriever_start(RetrieverStart::new("retriever", "query")).await?;
        self.started(run.id());
        run.end(Vec::new()).await
    }

    /// An instrumented future that starts a run, and may panic.
    async fn instrumented(&self, callbacks: &CallbackManager, seed: u64) -> Emitted {
        let mut random = Random::new(seed, 3);
        let inner = async {
            let current = CallbackManager::current();
            let current = current.ok_or_else(|| RunError::failed("soak: no current run"))?;
            self.model(&current, random.next()).await?;
            assert!(!random.once_in(8), "{PANIC}");
            Ok::<_, RunError>(())
        };
        match inner.in_chain(callbacks, "instrumented", Value::Null).await {
            // What the future failed with is in its run's error event.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Drops a future after a time, unless it is ready before.
    async fn aborted<F: Future>(&self, future: F, after: Duration) -> Option<F::Output> {
        match select(Box::pin(future), self.timer.sleep(after)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    fn started(&self, run: RunId) {
        lock(&self.started).push(run);
    }

    /// The errors that an emitter may get: a handler raised, or its run was closed.
    fn check(&self, error: &EmitError) {
        let expected =
            matches!(error, EmitError::Raised(_) | EmitError::RunClosed | EmitError::ShutDown);
        self.books.problems.expect(expected, || format!("an emitter got: {error}"));
    }

    fn check_panic(&self, panic: &(dyn Any + Send)) {
        self.books
            .problems
            .expect(is_on_purpose(panic), || "an emitter panicked, and not on purpose".to_owned());
    }
}

/// Whether a panic is one of the soak.
pub(crate) fn is_on_purpose(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()) == Some(PANIC)
}
