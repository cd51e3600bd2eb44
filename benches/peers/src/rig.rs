//! rig (rig-agent 0.44 over rig-core 0.44): `HookStack::on_text_delta`, which its engine calls and
//! awaits at each text delta of a streamed answer.
//!
//! The context of that call exists only inside a run, so a first hook of a streamed run emits the
//! tokens from `on_run_start`. The model is never called. The engine collects the answer so far
//! outside of that call, so here it costs rig nothing. A hook may stop the run. Its panic is not
//! caught.

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
    AgentBuilder, AgentHook, HookContext, HookStack, ObservationAction, RunStart, RunStartAction,
    StreamingResult, TextDelta,
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

/// Emits the wanted number of tokens whenever the run is polled. The context that hooks are called
/// with exists only inside a run.
struct Emits {
    hooks: HookStack,
    wanted: Arc<AtomicU64>,
}

impl AgentHook for Emits {
    async fn on_run_start(&self, context: &HookContext, _: RunStart<'_>) -> RunStartAction {
        loop {
            for _ in 0..self.wanted.swap(0, Ordering::Relaxed) {
                let delta = TextDelta { delta: token(), aggregated: black_box("the text so far") };
                if let ObservationAction::Stop(reason) =
                    self.hooks.on_text_delta(context, delta).await
                {
                    return RunStartAction::Stop(reason);
                }
            }
            yield_now().await;
        }
    }
}

/// A streamed run that emits tokens on demand and never ends.
struct Run {
    stream: StreamingResult,
    wanted: Arc<AtomicU64>,
}

impl Run {
    fn start(handlers: usize, messages: &[String]) -> Self {
        let mut hooks = HookStack::new();
        (0..handlers).for_each(|_| hooks.push(Nothing));
        let wanted = Arc::new(AtomicU64::new(0));
        let emits = Emits { hooks, wanted: wanted.clone() };
        // The model is never called.
        let agent = AgentBuilder::new(MockCompletionModel::text("answer")).add_hook(emits).build();
        let stream = agent.prompt("prompt").history(messages.iter().map(Message::user)).stream();
        Self { stream, wanted }
    }

    /// Emits the tokens of one call. The run may poll its hook more than once for that.
    fn poll_emit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wanted.store(EVENTS, Ordering::Relaxed);
        let ended = Pin::new(&mut self.stream).poll_next(cx).is_ready();
        assert!(!ended, "the run of the emitting hook has ended");
        match self.wanted.load(Ordering::Relaxed) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
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
