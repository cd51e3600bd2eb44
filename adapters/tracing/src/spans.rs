//! A span for each run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rappel_core::{
    CallbackHandler, ChainStart, ChatModelStart, Event, EventContext, EventKind, HandlerResult,
    Interest, LlmNewToken, LlmStart, Map, RetrieverStart, RunId, ToolStart, Value, json,
};
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::fields::{answers, messages, record_error, record_json, record_params, record_result};

/// A handler that makes a [`tracing`] span of each run.
///
/// Register it inline: a span is then made where the run starts, so a root run is inside the span
/// that the emitter is in. It does not block.
///
/// ```
/// # use rappel_core::{Awaited, CallbackManager};
/// # use rappel_tracing::Spans;
/// # fn example(callbacks: CallbackManager) {
/// let callbacks = callbacks.with_handler_options(Spans::new(), Awaited::new().inline());
/// # let _ = callbacks;
/// # }
/// ```
///
/// | run | span | `otel.name` |
/// |---|---|---|
/// | chat model | `chat` | `chat {model}` |
/// | text model | `text_completion` | `text_completion {model}` |
/// | tool | `execute_tool` | `execute_tool {tool}` |
/// | retriever | `retrieval` | `retrieval {retriever}` |
/// | agent | `invoke_agent` | `invoke_agent {agent}` |
/// | other chain | `chain` | its name |
///
/// Spans have the level INFO. Their fields are those of OpenTelemetry's conventions for generative
/// AI, version 1.41, with the `otel.*` fields that `tracing-opentelemetry` reads, and `rappel.run`:
/// the run's id. Lists are JSON texts. Retries are events of the level WARN.
///
/// A run whose end does not come to the handler keeps its span open. That does not happen unless
/// the handler's runs are taken away: see the promises of rappel.
#[derive(Debug, Default)]
pub struct Spans {
    open: HashMap<RunId, OpenSpan>,
    tokens: bool,
    first_token: bool,
    content: bool,
}

#[derive(Debug)]
struct OpenSpan {
    span: Span,
    /// The span, or that of the nearest run above it whose span is enabled.
    visible: Span,
    started: Instant,
    has_token: bool,
}

/// Makes a span under `$parent`, or where the emitter is.
macro_rules! run_span {
    ($parent:expr, $name:literal, $($fields:tt)+) => {
        match $parent {
            Some(parent) => tracing::span!(parent: parent, Level::INFO, $name, $($fields)+),
            None => tracing::span!(Level::INFO, $name, $($fields)+),
        }
    };
}

/// What starts say of a model.
struct ModelStart<'a> {
    name: &'a Arc<str>,
    params: &'a Map<String, Value>,
    provider: &'a Option<String>,
    address: &'a Option<String>,
    port: Option<u16>,
}

macro_rules! model_start {
    ($start:expr) => {
        ModelStart {
            name: &$start.name,
            params: &$start.invocation_params,
            provider: &$start.provider,
            address: &$start.server_address,
            port: $start.server_port,
        }
    };
}

impl Spans {
    /// Makes the handler. Spans have no prompts, answers, inputs and outputs, and tokens are not
    /// heard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an event of the level DEBUG of each token. It has the token's text.
    #[must_use]
    pub fn with_tokens(mut self) -> Self {
        self.tokens = true;
        self
    }

    /// Records the time to the first token, in seconds, in
    /// `gen_ai.response.time_to_first_chunk`.
    #[must_use]
    pub fn with_time_to_first_token(mut self) -> Self {
        self.first_token = true;
        self
    }

    /// Records what people have written and models have answered: messages, arguments and results
    /// of tools, queries, and the data of custom events. It may be personal, and long.
    #[must_use]
    pub fn with_content(mut self) -> Self {
        self.content = true;
        self
    }

    fn start(&mut self, event: &Event, cx: &EventContext) {
        let above = cx.parent_id().and_then(|parent| self.open.get(&parent));
        let parent = above.map(|open| &open.visible).filter(|span| !span.is_disabled());
        let span = match event {
            Event::ChatModelStart(start) => chat_span(start, parent, cx),
            Event::LlmStart(start) => completion_span(start, parent, cx),
            Event::ToolStart(start) => tool_span(start, parent, cx),
            Event::RetrieverStart(start) => retriever_span(start, parent, cx),
            Event::ChainStart(start) => chain_span(start, parent, cx),
            _ => return,
        };
        if !span.is_disabled() && self.content {
            record_input(&span, event);
        }
        let visible = match span.is_disabled() {
            true => parent.cloned().unwrap_or_else(Span::none),
            false => span.clone(),
        };
        let open = OpenSpan { span, visible, started: Instant::now(), has_token: false };
        self.open.insert(cx.id(), open);
    }

    fn end(&mut self, event: &Event, cx: &EventContext) {
        // The span closes when this function returns.
        let Some(OpenSpan { span, .. }) = self.open.remove(&cx.id()) else { return };
        if span.is_disabled() {
            return;
        }
        if let Some(error) = event.error() {
            record_error(&span, error);
        }
        let result = match event {
            Event::LlmEnd(end) => Some(&end.result),
            Event::LlmError(error) => Some(&error.partial),
            _ => None,
        };
        if let Some(result) = result {
            record_result(&span, result);
        }
        if !self.content {
            return;
        }
        if let Some(answers) = result.and_then(answers) {
            record_json(&span, "gen_ai.output.messages", &answers);
        }
        match event {
            Event::ToolEnd(end) => record_json(&span, "gen_ai.tool.call.result", &end.output),
            Event::ChainEnd(end) => record_json(&span, "output.value", &end.outputs),
            Event::RetrieverEnd(end) => {
                let documents = end
                    .documents
                    .iter()
                    .map(|document| json!({ "id": document.id, "score": document.score }));
                record_json(&span, "gen_ai.retrieval.documents", &documents.collect());
            }
            _ => {}
        }
    }

    fn token(&mut self, token: &LlmNewToken, cx: &EventContext) {
        let Some(open) = self.open.get_mut(&cx.id()) else { return };
        if self.first_token && !core::mem::replace(&mut open.has_token, true) {
            let seconds = open.started.elapsed().as_secs_f64();
            open.span.record("gen_ai.response.time_to_first_chunk", seconds);
        }
        if self.tokens && !open.visible.is_disabled() {
            let text = token.token.as_str();
            tracing::event!(parent: &open.visible, Level::DEBUG, token = text, "token");
        }
    }

    fn other(&self, event: &Event, cx: &EventContext) {
        let Some(open) = self.open.get(&cx.id()).filter(|open| !open.visible.is_disabled()) else {
            return;
        };
        let span = &open.visible;
        match event {
            Event::Retry(retry) => tracing::event!(
                parent: span,
                Level::WARN,
                attempt = retry.attempt,
                wait = retry.wait.as_secs_f64(),
                cause = %retry.cause,
                "retry"
            ),
            Event::CustomEvent(event) if self.content => {
                let (name, data) = (&*event.name, &event.data);
                tracing::event!(parent: span, Level::INFO, name, %data, "custom event");
            }
            Event::CustomEvent(event) => {
                tracing::event!(parent: span, Level::INFO, name = &*event.name, "custom event");
            }
            _ => {}
        }
    }
}

impl CallbackHandler for Spans {
    fn interest(&self) -> Interest {
        let all = Interest::all().without(EventKind::Text);
        let all = all.without(EventKind::AgentAction).without(EventKind::AgentFinish);
        match self.tokens || self.first_token {
            true => all,
            false => all.without(EventKind::LlmNewToken),
        }
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        match event {
            event if event.kind().is_start() => self.start(event, cx),
            event if event.kind().is_end() => self.end(event, cx),
            Event::LlmNewToken(token) => self.token(token, cx),
            event => self.other(event, cx),
        }
        Ok(())
    }
}

/// Makes a model's span.
macro_rules! model_span {
    ($operation:literal, $start:expr, $parent:expr, $cx:expr) => {{
        let start: ModelStart<'_> = $start;
        let model = start.params.get("model").and_then(Value::as_str).unwrap_or(start.name);
        let span = run_span!(
            $parent,
            $operation,
            otel.name = format_args!("{} {model}", $operation),
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_description = Empty,
            gen_ai.operation.name = $operation,
            gen_ai.provider.name = start.provider.as_deref(),
            gen_ai.request.model = model,
            gen_ai.request.max_tokens = Empty,
            gen_ai.request.temperature = Empty,
            gen_ai.request.top_p = Empty,
            gen_ai.request.frequency_penalty = Empty,
            gen_ai.request.presence_penalty = Empty,
            gen_ai.request.seed = Empty,
            gen_ai.request.stop_sequences = Empty,
            gen_ai.request.choice.count = Empty,
            gen_ai.request.stream = Empty,
            server.address = start.address.as_deref(),
            server.port = start.port,
            gen_ai.response.id = Empty,
            gen_ai.response.model = Empty,
            gen_ai.response.finish_reasons = Empty,
            gen_ai.response.time_to_first_chunk = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            gen_ai.usage.cache_read.input_tokens = Empty,
            gen_ai.usage.reasoning.output_tokens = Empty,
            gen_ai.input.messages = Empty,
            gen_ai.output.messages = Empty,
            "error.type" = Empty,
            rappel.run = %$cx.id(),
        );
        if !span.is_disabled() {
            record_params(&span, start.params);
        }
        span
    }};
}

fn chat_span(start: &ChatModelStart, parent: Option<&Span>, cx: &EventContext) -> Span {
    model_span!("chat", model_start!(start), parent, cx)
}

fn completion_span(start: &LlmStart, parent: Option<&Span>, cx: &EventContext) -> Span {
    model_span!("text_completion", model_start!(start), parent, cx)
}

fn tool_span(start: &ToolStart, parent: Option<&Span>, cx: &EventContext) -> Span {
    run_span!(
        parent,
        "execute_tool",
        otel.name = format_args!("execute_tool {}", start.name),
        otel.kind = "internal",
        otel.status_code = Empty,
        otel.status_description = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = &*start.name,
        gen_ai.tool.call.id = start.tool_call_id.as_deref(),
        gen_ai.tool.description = start.description.as_deref(),
        "gen_ai.tool.type" = start.tool_type.as_deref(),
        gen_ai.tool.call.arguments = Empty,
        gen_ai.tool.call.result = Empty,
        "error.type" = Empty,
        rappel.run = %cx.id(),
    )
}

fn retriever_span(start: &RetrieverStart, parent: Option<&Span>, cx: &EventContext) -> Span {
    run_span!(
        parent,
        "retrieval",
        otel.name = format_args!("retrieval {}", start.name),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        gen_ai.operation.name = "retrieval",
        gen_ai.retrieval.query.text = Empty,
        gen_ai.retrieval.documents = Empty,
        "error.type" = Empty,
        rappel.run = %cx.id(),
    )
}

fn chain_span(start: &ChainStart, parent: Option<&Span>, cx: &EventContext) -> Span {
    if start.agent {
        return run_span!(
            parent,
            "invoke_agent",
            otel.name = format_args!("invoke_agent {}", start.name),
            otel.kind = "internal",
            otel.status_code = Empty,
            otel.status_description = Empty,
            gen_ai.operation.name = "invoke_agent",
            gen_ai.agent.name = &*start.name,
            input.value = Empty,
            output.value = Empty,
            "error.type" = Empty,
            rappel.run = %cx.id(),
        );
    }
    run_span!(
        parent,
        "chain",
        otel.name = &*start.name,
        otel.kind = "internal",
        otel.status_code = Empty,
        otel.status_description = Empty,
        input.value = Empty,
        output.value = Empty,
        "error.type" = Empty,
        rappel.run = %cx.id(),
    )
}

fn record_input(span: &Span, start: &Event) {
    match start {
        Event::ChatModelStart(start) => {
            record_json(span, "gen_ai.input.messages", &messages(&start.messages));
        }
        Event::LlmStart(start) => {
            let message = rappel_core::Message::human(start.prompt.as_str());
            record_json(span, "gen_ai.input.messages", &messages(&[message]));
        }
        Event::ToolStart(start) => match &start.inputs {
            Some(inputs) => record_json(span, "gen_ai.tool.call.arguments", inputs),
            None => {
                span.record("gen_ai.tool.call.arguments", start.input.as_str());
            }
        },
        Event::RetrieverStart(start) => {
            span.record("gen_ai.retrieval.query.text", start.query.as_str());
        }
        Event::ChainStart(start) => record_json(span, "input.value", &start.inputs),
        _ => {}
    }
}
