//! The handler.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanContext, Status, TraceContextExt, TraceFlags, Tracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use rappel_core::handler::HandlerFuture;
use rappel_core::{
    AsyncCallbackHandler, Event, EventContext, EventKind, Interest, RunError, RunId, RunInfo,
    TraceParent,
};

use crate::attributes::{begin, end, push};
use crate::content;
use crate::ids;
use crate::metrics::{Measured, Metrics};
use crate::names;
use crate::settings::Settings;
use crate::traceparent;

/// A handler that makes an OpenTelemetry span of each run, and metrics if it has a meter.
///
/// Register it with `with_async_handler`, without options: it is awaited and polled in place, where
/// the emitter's context is. It does not wait for anything. It is cheap to clone, and clones share
/// their spans.
///
/// ```
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use rappel_core::CallbackManager;
/// use rappel_opentelemetry::{OpenTelemetry, RunIds, Settings};
///
/// # fn example(callbacks: CallbackManager) {
/// let provider = SdkTracerProvider::builder().with_id_generator(RunIds::new()).build();
/// let telemetry = OpenTelemetry::new(&provider, Settings::from_env());
/// let callbacks = callbacks.with_async_handler(telemetry);
/// # let _ = callbacks;
/// # }
/// ```
///
/// # Spans
/// A run's span is under the span of its parent run, whatever context is current. The span of a root
/// run is under the `traceparent` that its start was given, else under the emitter's current
/// OpenTelemetry span, else it begins a trace. Times are those of emission. The page
/// `docs/opentelemetry.md` of the repository has a table of all attributes.
///
/// # Memory
/// One open span for each open run, with its contents if they are recorded. The trace contexts of up to
/// 1,024 root runs that have ended, if their ids are not those of [`RunIds`](crate::RunIds).
#[derive(Clone)]
pub struct OpenTelemetry {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    tracer: SdkTracer,
    settings: Settings,
    metrics: Option<Metrics>,
    /// Boxed, because a span is large and would be moved more than once.
    open: Mutex<HashMap<RunId, Box<Open>>>,
    ended: Mutex<Ended>,
    /// Whether the provider has the generator of this crate.
    ids: AtomicU8,
    /// Maximum number of events of a span, if it is known.
    events: u32,
}

const UNKNOWN: u8 = 0;
const OURS: u8 = 1;
const FOREIGN: u8 = 2;

/// The span of an open run.
struct Open {
    span: Span,
    context: SpanContext,
    started: Duration,
    first_token: Option<Duration>,
    /// The model that was asked for. Absent for a run that is no model's.
    model: Option<opentelemetry::Value>,
    measured: Option<Measured>,
    late: Vec<KeyValue>,
    /// The number of notes so far.
    notes: u32,
    /// The newest note for which there is no room if the run fails: the last event is then the error.
    newest: Option<Note>,
}

/// The spans of traces that began here and have ended, for runs that start later. Those whose ids
/// follow from the run's id are not here.
#[derive(Default)]
struct Ended {
    contexts: HashMap<RunId, SpanContext>,
    order: VecDeque<RunId>,
}

impl Ended {
    const MOST: usize = 1024;

    fn remember(&mut self, root: RunId, context: SpanContext) {
        if self.contexts.insert(root, context).is_none() {
            self.order.push_back(root);
        }
        if self.order.len() > Self::MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.contexts.remove(&oldest);
            }
        }
    }
}

/// An event of a span.
type Note = (String, SystemTime, Vec<KeyValue>);

impl OpenTelemetry {
    /// Makes a handler whose spans go to `provider`.
    #[must_use]
    pub fn new(provider: &SdkTracerProvider, settings: Settings) -> Self {
        Self::build(provider, settings, None, UNKNOWN, u32::MAX)
    }

    /// Makes a handler whose spans go to `provider`, and whose metrics go to `meters`: token usage,
    /// durations, and times to the first token.
    #[must_use]
    pub fn with_metrics(
        provider: &SdkTracerProvider,
        meters: &impl opentelemetry::metrics::MeterProvider,
        settings: Settings,
    ) -> Self {
        let metrics = Metrics::new(meters, settings.semconv);
        Self::build(provider, settings, Some(metrics), UNKNOWN, u32::MAX)
    }

    fn build(
        provider: &SdkTracerProvider,
        settings: Settings,
        metrics: Option<Metrics>,
        ids: u8,
        events: u32,
    ) -> Self {
        let shared = Arc::new(Shared {
            tracer: provider.tracer_with_scope(scope()),
            settings,
            metrics,
            open: Mutex::default(),
            ended: Mutex::default(),
            ids: AtomicU8::new(ids),
            events,
        });
        traceparent::remember(&shared);
        Self { shared }
    }

    /// As the other constructors, for a provider that is known to have the generator.
    #[cfg(feature = "otlp")]
    pub(crate) fn with_our_ids(
        provider: &SdkTracerProvider,
        settings: Settings,
        meters: Option<&opentelemetry_sdk::metrics::SdkMeterProvider>,
        events: u32,
    ) -> Self {
        let metrics = meters.map(|meters| Metrics::new(meters, settings.semconv));
        Self::build(provider, settings, metrics, OURS, events)
    }

    /// Returns the W3C trace context of a run: the header `traceparent` of its requests.
    ///
    /// `None` if the run has no open span here. If the provider generates ids with
    /// [`RunIds`](crate::RunIds), as that of `otlp()` does, there is an answer before this handler
    /// has got the start, too. Until then a root run counts as sampled. Of a provider of your own that
    /// is known after its first span.
    ///
    /// [`RunTraceParent`](crate::RunTraceParent) asks all handlers of the process.
    #[must_use]
    pub fn traceparent(&self, run: &RunInfo) -> Option<TraceParent> {
        self.shared.traceparent(run)
    }
}

/// The scope of spans and metrics.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

impl Shared {
    /// Has the open spans for the time of `look`, which calls no code of others.
    fn open<T>(&self, look: impl FnOnce(&mut HashMap<RunId, Box<Open>>) -> T) -> T {
        look(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn has(&self, run: &RunInfo) -> bool {
        self.open(|open| open.contains_key(&run.id()))
    }

    pub(crate) fn traceparent(&self, run: &RunInfo) -> Option<TraceParent> {
        let context = self.open(|open| open.get(&run.id()).map(|open| open.context.clone()));
        let context = match context {
            Some(context) => context,
            None if self.ids.load(Ordering::Relaxed) == OURS => {
                let parent = self.parent(run);
                let parent = parent.span().span_context().clone();
                let (trace, flags) = match parent.is_valid() {
                    true => (parent.trace_id(), parent.trace_flags()),
                    false => (ids::trace_id(run.root_id()), TraceFlags::SAMPLED),
                };
                SpanContext::new(trace, ids::span_id(run.id()), flags, false, Default::default())
            }
            None => return None,
        };
        let flags = context.trace_flags().to_u8();
        TraceParent::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), flags)
    }

    /// The context that a run's span starts in.
    fn parent(&self, run: &RunInfo) -> Context {
        let remote = |context: SpanContext| Context::new().with_remote_span_context(context);
        let Some(parent) = run.parent_id() else {
            return match run.traceparent() {
                Some(caller) => remote(traceparent::span_context(caller)),
                None => Context::current(),
            };
        };
        if let Some(context) = self.open(|open| Some(open.get(&parent)?.context.clone())) {
            return remote(context);
        }
        if let Some(caller) = run.traceparent() {
            return remote(traceparent::span_context(caller));
        }
        // The parent has ended, or runs in another process that computes the same ids.
        let root = run.root_id();
        let known = self.open(|open| Some(open.get(&root)?.context.clone()));
        let known = known.or_else(|| self.ended().contexts.get(&root).cloned());
        let is_ours = self.ids.load(Ordering::Relaxed) == OURS;
        let (trace, span, flags) = match known {
            Some(root) if is_ours => (root.trace_id(), ids::span_id(parent), root.trace_flags()),
            // The id of the parent's span is forgotten.
            Some(root) => (root.trace_id(), root.span_id(), root.trace_flags()),
            None if is_ours => (ids::trace_id(root), ids::span_id(parent), TraceFlags::SAMPLED),
            None => return Context::new(),
        };
        remote(SpanContext::new(trace, span, flags, true, Default::default()))
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the span of a run that began its trace here, if its ids do not follow from the run's.
    fn remember(&self, run: &RunInfo, context: SpanContext) {
        if run.parent_id().is_some() && !run.has_remote_parent() {
            return;
        }
        let follows = self.ids.load(Ordering::Relaxed) == OURS
            && context.is_sampled()
            && context.trace_id() == ids::trace_id(run.root_id());
        if !follows && context.is_valid() {
            self.ended().remember(run.root_id(), context);
        }
    }

    fn start(&self, event: &Event, cx: &EventContext) {
        let Some(begin) = begin(&self.settings, event, cx) else { return };
        let started = cx.time().unwrap_or_else(now);
        let parent = self.parent(cx);
        let measured = self.metrics.as_ref().and_then(|_| Measured::new(&begin));
        let is_model = matches!(event, Event::ChatModelStart(_) | Event::LlmStart(_));
        let mut attributes = begin.attributes.iter();
        let model = attributes.find(|attribute| attribute.key.as_str() == names::REQUEST_MODEL);
        let model = model.map(|model| model.value.clone()).filter(|_| is_model);
        let builder = self
            .tracer
            .span_builder(begin.name)
            .with_kind(begin.kind)
            .with_start_time(UNIX_EPOCH + started)
            .with_attributes(begin.attributes);
        let span = ids::with_ids(cx.root_id(), cx.id(), || {
            self.tracer.build_with_context(builder, &parent)
        });
        let context = span.span_context().clone();
        if self.ids.load(Ordering::Relaxed) == UNKNOWN && context.is_valid() {
            let ours = context.span_id() == ids::span_id(cx.id());
            self.ids.store(if ours { OURS } else { FOREIGN }, Ordering::Relaxed);
        }
        let late = begin.late;
        let open = Box::new(Open {
            span,
            context,
            started,
            first_token: None,
            model,
            measured,
            late,
            notes: 0,
            newest: None,
        });
        // One with the same id ends when it is dropped.
        let _replaced = self.open(|spans| spans.insert(cx.id(), open));
    }

    fn token(&self, cx: &EventContext) {
        let id = cx.id();
        let is_first = self.open(|open| open.get(&id).is_some_and(|o| o.first_token.is_none()));
        if !is_first {
            return;
        }
        // A replayed token without a time came at another time than now.
        let at = cx.time().or_else(|| (!cx.is_replayed()).then(now));
        self.open(|open| {
            if let Some(open) = open.get_mut(&id) {
                open.first_token = at;
            }
        });
    }

    fn end(&self, event: &Event, cx: &EventContext) {
        let Some(open) = self.open(|open| open.remove(&cx.id())) else { return };
        let Open { mut span, context, started, first_token, model, measured, late, notes, newest } =
            *open;
        self.remember(cx, context);
        let ended = cx.time().unwrap_or_else(now).max(started);
        let first_token = first_token.map(|at| at.saturating_sub(started));
        let error = event.error();
        let is_handed_over = matches!(error, Some(RunError::HandedOver));
        // A run that another process goes on with has not failed.
        let error = error.filter(|_| !is_handed_over).map(|error| (error, error.error_type()));
        let result = match event {
            Event::LlmEnd(end) => Some(&end.result),
            Event::LlmError(error) => Some(&error.partial),
            _ => None,
        };
        // The other process measures the whole run.
        let measured = measured.filter(|_| !is_handed_over);
        if let (Some(metrics), Some(measured)) = (&self.metrics, measured) {
            let error = error.map(|(_, error_type)| error_type);
            metrics.record(measured, ended - started, first_token, error, result);
        }
        if !span.is_recording() {
            return;
        }
        let mut attributes = Vec::with_capacity(24);
        if let Some(after) = first_token.filter(|_| model.is_some()) {
            push(&mut attributes, names::FIRST_CHUNK, after.as_secs_f64());
        }
        if let Some(asked) = model.filter(|_| self.settings.openinference) {
            let answered = result.and_then(|result| result.model_name.clone());
            push(&mut attributes, names::LLM_MODEL, answered.map_or(asked, Into::into));
        }
        end(&self.settings, event, &mut attributes);
        if let Some((error, error_type)) = error {
            let message = self.settings.text(&error.to_string()).into_owned();
            push(&mut attributes, names::ERROR_TYPE, error_type.to_owned());
            let exception = vec![
                KeyValue::new(names::EXCEPTION_TYPE, error_type.to_owned()),
                KeyValue::new(names::EXCEPTION_MESSAGE, message.clone()),
            ];
            span.add_event_with_timestamp("exception", UNIX_EPOCH + ended, exception);
            span.set_status(Status::error(message));
        }
        if let Some((name, at, attributes)) = newest {
            span.add_event_with_timestamp(name, at, attributes);
            // The span counts those that it has no room for.
            for _ in self.events..notes {
                span.add_event("", Vec::new());
            }
        }
        attributes.extend(late);
        span.set_attributes(attributes);
        span.end_with_timestamp(UNIX_EPOCH + ended);
    }

    /// Adds an event to the span of its run.
    fn note(&self, event: &Event, cx: &EventContext) {
        let (name, attributes) = match event {
            Event::Retry(retry) => {
                let cause = self.settings.text(&retry.cause.to_string()).into_owned();
                let attributes = vec![
                    KeyValue::new(names::RETRY_ATTEMPT, i64::from(retry.attempt)),
                    KeyValue::new(names::RETRY_WAIT, retry.wait.as_secs_f64()),
                    KeyValue::new(names::RETRY_CAUSE, cause),
                ];
                ("rappel.retry".to_owned(), attributes)
            }
            Event::CustomEvent(event) => {
                let data =
                    self.settings.content.then(|| content::plain(&self.settings, &event.data));
                let data = data.map(|(data, _)| KeyValue::new(names::EVENT_DATA, data));
                (event.name.to_string(), data.into_iter().collect())
            }
            _ => return,
        };
        let at = cx.time().or_else(|| (!cx.is_replayed()).then(now));
        self.open(|open| {
            let Some(open) = open.get_mut(&cx.id()) else { return };
            // A replayed event without a time came at another time than now.
            let at = UNIX_EPOCH + at.unwrap_or(open.started);
            open.notes = open.notes.saturating_add(1);
            match open.notes < self.events {
                true => open.span.add_event_with_timestamp(name, at, attributes),
                false => open.newest = Some((name, at, attributes)),
            }
        });
    }

    fn handle(&self, event: &Event, cx: &EventContext) {
        match event {
            Event::LlmNewToken(_) => self.token(cx),
            event if event.kind().is_start() => self.start(event, cx),
            event if event.kind().is_end() => self.end(event, cx),
            event => self.note(event, cx),
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl AsyncCallbackHandler for OpenTelemetry {
    fn name(&self) -> &str {
        "OpenTelemetry"
    }

    fn interest(&self) -> Interest {
        let all = Interest::all().without(EventKind::Text);
        all.without(EventKind::AgentAction).without(EventKind::AgentFinish)
    }

    #[inline]
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            self.shared.handle(event, cx);
            Ok(())
        })
    }
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry")
            .field("settings", &self.shared.settings)
            .field("open_spans", &self.shared.open(|open| open.len()))
            .finish_non_exhaustive()
    }
}
