//! `rappel-tracing`: runs as spans, and the emitter's span in every handler's call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use rappel_core::prelude::*;
use rappel_core::{Value, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;
use rappel_tracing::{EmitterSpan, Spans};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Instrument, Metadata, Span, Subscriber, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// What was written of a span.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: HashMap<&'static str, String>,
    events: Vec<String>,
    closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

/// Keeps the spans of rappel and of these tests. Ids of spans are used again, so it keeps them in
/// the order of their creation.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Vec<(u64, Seen)>>>);

impl Spy {
    /// The subscriber of this process.
    fn global() -> &'static Self {
        static SPY: OnceLock<Spy> = OnceLock::new();
        SPY.get_or_init(|| {
            let spy = Self::default();
            let subscriber = Registry::default().with(spy.clone());
            tracing::subscriber::set_global_default(subscriber).unwrap();
            spy
        })
    }

    fn with<O>(&self, id: u64, f: impl FnOnce(&mut Seen) -> O) -> Option<O> {
        let mut spans = self.0.lock().unwrap();
        spans.iter_mut().rev().find(|(known, _)| *known == id).map(|(_, seen)| f(seen))
    }

    /// The span of a run.
    fn of(&self, run: RunId) -> Seen {
        let run = run.to_string();
        let spans = self.0.lock().unwrap();
        let found = spans.iter().find(|(_, seen)| seen.fields.get("rappel.run") == Some(&run));
        found.unwrap_or_else(|| panic!("no span of run {run}")).1.clone()
    }

    fn id_of(&self, run: RunId) -> u64 {
        let run = run.to_string();
        let spans = self.0.lock().unwrap();
        let found = spans.iter().find(|(_, seen)| seen.fields.get("rappel.run") == Some(&run));
        found.unwrap().0
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spy {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("rappel_tracing")
            || metadata.target().contains("runs_as_spans")
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut seen = Seen { name: attributes.metadata().name(), ..Seen::default() };
        attributes.record(&mut seen);
        seen.parent = cx.span(id).unwrap().parent().map(|parent| parent.id().into_u64());
        self.0.lock().unwrap().push((id.into_u64(), seen));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.with(id.into_u64(), |seen| values.record(seen));
    }

    fn on_event(&self, event: &tracing::Event<'_>, cx: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        let mut fields: Vec<_> = seen.fields.into_iter().collect();
        fields.sort();
        let text: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Some(span) = cx.event_span(event) {
            self.with(span.id().into_u64(), |seen| seen.events.push(text.join(" ")));
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.with(id.into_u64(), |seen| seen.closed = true);
    }
}

fn spans(rt: &Rt, spans: Spans) -> CallbackManager {
    rt.callbacks().with_handler_options(spans, Awaited::new().inline())
}

fn start(model: &str) -> ChatModelStart {
    let params =
        json!({ "model": model, "temperature": 0.5, "max_tokens": 9, "n": 1, "stop": "." });
    ChatModelStart::new("client", [Message::human("Hi")])
        .with_invocation_params(params.as_object().cloned().unwrap())
        .with_provider("openai")
        .with_server("api.openai.com", 443)
}

fn answer() -> LlmResult {
    let generation = rappel_core::Generation::new("Hello").with_finish_reason("stop");
    LlmResult::new()
        .with_generation(generation)
        .with_usage(TokenUsage::new(3, 4).with_cached_tokens(2))
        .with_model_name("m-1-2026")
        .with_llm_output(json!({ "id": "resp_1" }))
}

on_every_runtime! {
    async fn a_run_is_a_span_under_its_parents_span(rt) {
        let spy = Spy::global();
        let callbacks = spans(&rt, Spans::new());
        let request = info_span!("request");
        let ids = async {
            let agent = callbacks.on_chain_start(ChainStart::agent("helper")).await.unwrap();
            let model = agent.child().on_chat_model_start(start("m-1")).await.unwrap();
            // The parent is that of the run, wherever the start is emitted.
            let elsewhere = async {
                let tool = ToolStart::new("clock", "{}").with_tool_call_id("call_1");
                agent.child().on_tool_start(tool).await.unwrap()
            };
            let tool = elsewhere.instrument(info_span!(parent: None, "elsewhere")).await;
            let ids = [agent.id(), model.id(), tool.id()];
            model.end(answer()).await.unwrap();
            tool.fail("no clock").await.unwrap();
            agent.end(json!({})).await.unwrap();
            ids
        };
        let [agent, model, tool] = ids.instrument(request.clone()).await;
        callbacks.flush().await.unwrap();
        let seen = spy.of(agent);
        assert_eq!((seen.name, seen.parent), ("invoke_agent", request.id().map(|id| id.into_u64())));
        assert_eq!(seen.fields["otel.name"], "invoke_agent helper");
        assert_eq!(seen.fields["gen_ai.agent.name"], "helper");
        assert!(seen.closed && !seen.fields.contains_key("otel.status_code"));
        let seen = spy.of(model);
        assert_eq!((seen.name, seen.parent), ("chat", Some(spy.id_of(agent))));
        let run = model.to_string();
        let expected = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.max_tokens", "9"),
            ("gen_ai.request.model", "m-1"),
            ("gen_ai.request.stop_sequences", r#"["."]"#),
            ("gen_ai.request.temperature", "0.5"),
            ("gen_ai.response.finish_reasons", r#"["stop"]"#),
            ("gen_ai.response.id", "resp_1"),
            ("gen_ai.response.model", "m-1-2026"),
            ("gen_ai.usage.cache_read.input_tokens", "2"),
            ("gen_ai.usage.input_tokens", "3"),
            ("gen_ai.usage.output_tokens", "4"),
            ("otel.kind", "client"),
            ("otel.name", "chat m-1"),
            ("rappel.run", run.as_str()),
            ("server.address", "api.openai.com"),
            ("server.port", "443"),
        ];
        let mut fields: Vec<_> = seen.fields.iter().map(|(name, text)| (*name, &**text)).collect();
        fields.sort();
        assert_eq!(fields, expected);
        let seen = spy.of(tool);
        assert_eq!((seen.name, seen.parent), ("execute_tool", Some(spy.id_of(agent))));
        assert_eq!(seen.fields["gen_ai.tool.call.id"], "call_1");
        assert_eq!(seen.fields["otel.status_code"], "ERROR");
        assert_eq!(seen.fields["otel.status_description"], "no clock");
        assert_eq!(seen.fields["error.type"], "_OTHER");
        assert!(seen.closed);
    }

    async fn the_type_of_an_error_and_the_id_of_an_answer_are_fields(rt) {
        let spy = Spy::global();
        let callbacks = spans(&rt, Spans::new());
        let failed = callbacks.on_chat_model_start(start("m")).await.unwrap();
        let answered = callbacks.on_chat_model_start(start("m")).await.unwrap();
        let ids = [failed.id(), answered.id()];
        failed.fail(RunError::failed("too many requests").with_type("429")).await.unwrap();
        let mut result = LlmResult::from("Hello");
        result.response_id = Some("resp_2".into());
        answered.end(result).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(spy.of(ids[0]).fields["error.type"], "429");
        assert_eq!(spy.of(ids[1]).fields["gen_ai.response.id"], "resp_2");
    }

    async fn a_run_that_is_dropped_is_a_span_with_an_error(rt) {
        let spy = Spy::global();
        let callbacks = spans(&rt, Spans::new());
        let chain = callbacks.group("steps").await.unwrap();
        let retriever =
            chain.child().on_retriever_start(RetrieverStart::new("docs", "q")).await.unwrap();
        let ids = [chain.id(), retriever.id()];
        drop(chain);
        callbacks.flush().await.unwrap();
        drop(retriever);
        for id in ids {
            let seen = spy.of(id);
            assert_eq!(seen.fields["error.type"], "cancelled");
            assert!(seen.closed);
        }
    }

    async fn tokens_and_content_are_left_out_unless_they_are_asked_for(rt) {
        let spy = Spy::global();
        let callbacks = [
            Spans::new(),
            Spans::new().with_tokens().with_time_to_first_token().with_content(),
        ]
        .map(|handler| spans(&rt, handler));
        let mut seen = Vec::new();
        for callbacks in callbacks {
            let mut model = callbacks.on_chat_model_start(start("m")).await.unwrap();
            let id = model.id();
            let pause = std::time::Duration::from_millis(5);
            model.on_retry(Retry::new(1, "reset", pause)).await.unwrap();
            model.on_llm_new_token("Hel").await.unwrap();
            model.on_llm_new_token("lo").await.unwrap();
            model.end(answer()).await.unwrap();
            callbacks.flush().await.unwrap();
            seen.push(spy.of(id));
        }
        let retry = "attempt=1 cause=reset message=retry wait=0.005";
        assert_eq!(seen[0].events, [retry]);
        assert_eq!(seen[1].events, [retry, "message=token token=Hel", "message=token token=lo"]);
        for field in
            ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.response.time_to_first_chunk"]
        {
            assert!(!seen[0].fields.contains_key(field), "{field}");
            assert!(seen[1].fields.contains_key(field), "{field}");
        }
        let message = |name: &str| -> Value { serde_json::from_str(&seen[1].fields[name]).unwrap() };
        assert_eq!(
            message("gen_ai.input.messages"),
            json!([{ "role": "user", "parts": [{ "type": "text", "content": "Hi" }] }])
        );
        assert_eq!(
            message("gen_ai.output.messages"),
            json!([{ "role": "assistant", "parts": [{ "type": "text", "content": "Hello" }] }])
        );
    }

    async fn the_emitters_span_is_in_force_in_every_handlers_call(rt) {
        Spy::global();
        let deliveries: [HandlerOptions; 5] = [
            Awaited::new().into(),
            Awaited::new().inline().into(),
            Pipelined::new(1).into(),
            Pipelined::new(64).into(),
            Background::new(64).overflow(Overflow::Wait).into(),
        ];
        let line = |event: &Event| {
            let span = Span::current();
            let name = span.metadata().map_or("none", |span| span.name());
            format!("{} in {name}", event.kind())
        };
        let mut callbacks = rt.callbacks().with_emitter_context(EmitterSpan);
        let mut logs = Vec::new();
        for options in deliveries {
            let (sync, asynchronous) = (Log::new(), Log::new());
            logs.extend([sync.clone(), asynchronous.clone()]);
            let handler = handler_fn(move |event, _| {
                sync.write(line(event));
                Ok(())
            });
            callbacks = callbacks.with_handler_options(handler, options.clone());
            let handler = async_handler_fn(async move |event, _| {
                // The call goes on at another poll.
                futures_lite::future::yield_now().await;
                asynchronous.write(line(event));
                Ok(())
            });
            callbacks = callbacks.with_async_handler_options(handler, options);
        }
        let mut run = callbacks
            .on_llm_start(LlmStart::new("m", "Hi"))
            .instrument(info_span!("first"))
            .await
            .unwrap();
        let mut inside = Vec::new();
        for name in ["one", "none", "two"] {
            let span = match name {
                "one" => info_span!("one"),
                "two" => info_span!("two"),
                _ => Span::none(),
            };
            run.on_llm_new_token("t").instrument(span).await.unwrap();
            inside.push(format!("on_llm_new_token in {name}"));
        }
        let child = run.child().group("child").instrument(info_span!("three")).await.unwrap();
        run.end("done").instrument(info_span!("last")).await.unwrap();
        drop(child);
        callbacks.flush().await.unwrap();
        let mut expected = vec!["on_llm_start in first".to_owned()];
        expected.extend(inside);
        expected.extend([
            "on_chain_start in three".to_owned(),
            "on_chain_error in last".to_owned(),
            "on_llm_end in last".to_owned(),
        ]);
        for (number, log) in logs.iter().enumerate() {
            assert_eq!(log.lines(), expected, "{number}");
        }
        // A run that is dropped inside a span ends there.
        let run = callbacks.on_llm_start(LlmStart::new("m", "Hi")).await.unwrap();
        info_span!("dropped").in_scope(|| drop(run));
        callbacks.flush().await.unwrap();
        for (number, log) in logs.iter().enumerate() {
            assert_eq!(log.lines()[expected.len()..], ["on_llm_start in none", "on_llm_error in dropped"], "{number}");
        }
    }
}
