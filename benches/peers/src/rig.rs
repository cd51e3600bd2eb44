//! rig (rig-agent 0.44 over rig-core 0.44): `HookStack::on_text_delta`, which is what its engine calls, and awaits, at each text delta of a streamed answer.
//!
//! A context to call it with exists only inside a run, so a first hook of a streamed run emits the tokens from `on_run_start`; the model is never asked.
//! The engine collects the answer so far outside of that call, so here it costs rig nothing. A hook may stop the run, and its panic is not caught.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_lite::Stream;
use futures_lite::future::yield_now;
use rappel_benches::host::Host;
use rappel_benches::measure::Row;
use rig_agent::agent::{
    AgentBuilder, AgentHook, HookContext, HookStack, ObservationAction, RunStart, RunStartAction, StreamingResult, TextDelta,
};
use rig_core::completion::Message;
use rig_core::test_utils::MockCompletionModel;

use crate::token;

const EVENTS: u64 = 1_000;

struct Nothing;

impl AgentHook for Nothing {
    async fn on_text_delta(&self, _: &HookContext, event: TextDelta<'_>) -> ObservationAction {
        black_box(event.delta);
        ObservationAction::Continue
    }
}

/// Emits tokens to the handlers for as long as the run is polled: only inside a run is there a context to call hooks with.
struct Emits {
    hooks: HookStack,
    emitted: Arc<AtomicU64>,
}

impl AgentHook for Emits {
    async fn on_run_start(&self, context: &HookContext, _: RunStart<'_>) -> RunStartAction {
        loop {
            for _ in 0..EVENTS {
                let delta = TextDelta {
                    delta: token(),
                    aggregated: black_box("the text so far"),
                };
                if let ObservationAction::Stop(reason) = self.hooks.on_text_delta(context, delta).await {
                    return RunStartAction::Stop(reason);
                }
            }
            self.emitted.fetch_add(EVENTS, Ordering::Relaxed);
            yield_now().await;
        }
    }
}

/// A streamed run that emits so many tokens whenever it is polled, and never ends.
struct Run {
    stream: StreamingResult,
    emitted: Arc<AtomicU64>,
}

impl Run {
    fn start(handlers: usize, messages: &[String]) -> Self {
        let mut hooks = HookStack::new();
        (0..handlers).for_each(|_| hooks.push(Nothing));
        let emitted = Arc::new(AtomicU64::new(0));
        let emits = Emits {
            hooks,
            emitted: emitted.clone(),
        };
        // The model is never asked.
        let agent = AgentBuilder::new(MockCompletionModel::text("answer")).add_hook(emits).build();
        let stream = agent.prompt("prompt").history(messages.iter().map(Message::user)).stream();
        Self { stream, emitted }
    }

    /// Emits so many tokens once.
    fn poll_emit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.emitted.load(Ordering::Relaxed);
        let ended = Pin::new(&mut self.stream).poll_next(cx).is_ready();
        assert!(!ended, "a run that never ends has ended");
        match self.emitted.load(Ordering::Relaxed) - before {
            0 => Poll::Pending,
            EVENTS => Poll::Ready(()),
            emitted => panic!("{emitted} tokens at a poll"),
        }
    }
}

pub(crate) fn row(handlers: usize, messages: &[String], host: &Host) -> Row {
    let host = host.clone();
    let mut run = Run::start(handlers, messages);
    Row::new("rig", EVENTS, move |meter| {
        meter.around(|| host.block_on(poll_fn(|cx| run.poll_emit(cx))));
    })
}
