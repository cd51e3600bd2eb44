//! The trace context of runs, in and out.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use rappel_core::{ChainRun, LlmRun, RetrieverRun, RunInfo, ToolRun, TraceParent};

use crate::handler::Shared;

/// The handlers of the process.
static HANDLERS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

pub(crate) fn remember(handler: &Arc<Shared>) {
    let mut handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
    handlers.retain(|handler| handler.strong_count() > 0);
    handlers.push(Arc::downgrade(handler));
}

/// The trace context of a run that its requests carry, so that the trace goes on in another process.
///
/// Send it as the HTTP header `traceparent`, or in the field `_meta` of an MCP request. The other
/// process gives it to the start of its run:
///
/// ```
/// use rappel_core::{CallbackManager, ChainStart, ToolRun, TraceParent};
/// use rappel_opentelemetry::RunTraceParent;
///
/// // The client's process.
/// fn header(run: &ToolRun) -> Option<String> {
///     Some(run.traceparent()?.to_string())
/// }
///
/// // The server's process. A header that is broken is as good as none.
/// fn start(header: Option<&str>) -> ChainStart {
///     let start = ChainStart::agent("answer");
///     match header.and_then(|header| header.parse::<TraceParent>().ok()) {
///         Some(caller) => start.with_traceparent(caller),
///         None => start,
///     }
/// }
/// ```
pub trait RunTraceParent {
    /// Returns the trace context of the run's span, from the first handler of the process that has
    /// one: see [`OpenTelemetry::traceparent`](crate::OpenTelemetry::traceparent).
    ///
    /// `None` if the run has no open span.
    fn traceparent(&self) -> Option<TraceParent>;
}

fn find(run: &RunInfo) -> Option<TraceParent> {
    let handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut open = handlers.iter().filter_map(Weak::upgrade).filter(|shared| shared.has(run));
    open.find_map(|shared| shared.traceparent(run))
}

macro_rules! runs {
    ($($run:ty),+) => {$(
        impl RunTraceParent for $run {
            fn traceparent(&self) -> Option<TraceParent> {
                find(self.info())
            }
        }
    )+};
}
runs!(LlmRun, ChainRun, ToolRun, RetrieverRun);

pub(crate) fn span_context(caller: &TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(caller.trace_id()),
        SpanId::from_bytes(caller.span_id()),
        TraceFlags::new(caller.flags()),
        true,
        TraceState::default(),
    )
}
