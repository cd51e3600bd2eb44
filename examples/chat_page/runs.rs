//! An encoder around another: it adds the tree of runs to the stream of the AI SDK.

use std::collections::HashMap;

use rappel::handlers::{Prices, Tokens};
use rappel::record::EventRecord;
use rappel::streams::{Encoder, Lagged, Parts, UiMessageStream, ui_message_stream};
use rappel::{Event, LlmResult, Map, RunError, RunId, Value, json};

/// The AI SDK's UI message stream with a part `data-run` at the start and at the end of each run:
/// `id` is the run's, and `data` has `parent`, `kind`, `name`, `started` (ms since 1970), `state`, and
/// at the end `ms`, `input` and `output` tokens, `cost` in dollars and `error`, if they are known.
pub(crate) struct WithRuns {
    parts: UiMessageStream,
    prices: Prices,
    open: HashMap<RunId, Open>,
}

/// A run, as its start says.
struct Open {
    data: Map<String, Value>,
    provider: Option<String>,
    model: Option<String>,
}

impl WithRuns {
    pub(crate) fn new(prices: Prices) -> Self {
        Self { parts: ui_message_stream(), prices, open: HashMap::new() }
    }

    /// What the page shows of a run that starts or ends.
    fn run(&mut self, record: &EventRecord) -> Option<Value> {
        let event = record.event.as_ref()?;
        let ms = record.time.map(|time| time.as_secs_f64() * 1e3);
        if event.kind().is_start() {
            let name = record.about.as_ref().map_or("", |about| &*about.name);
            let (provider, model) = match event {
                Event::ChatModelStart(start) => {
                    let model = start.invocation_params.get("model").and_then(Value::as_str);
                    (start.provider.clone(), model.map(str::to_owned))
                }
                _ => (None, None),
            };
            let data = Map::from_iter([
                ("parent".to_owned(), json!(record.parent)),
                ("kind".to_owned(), json!(record.run_kind)),
                ("name".to_owned(), json!(model.as_deref().unwrap_or(name))),
                ("started".to_owned(), json!(ms)),
                ("state".to_owned(), json!("running")),
            ]);
            let part = json!({"type": "data-run", "id": record.run, "data": data});
            self.open.insert(record.run, Open { data, provider, model });
            return Some(part);
        }
        if !event.kind().is_end() {
            return None;
        }
        let mut open = self.open.remove(&record.run)?;
        let started = open.data["started"].as_f64();
        let (result, error) = (result(event), event.error());
        let state = match error {
            None => "done",
            Some(RunError::Cancelled) => "cancelled",
            Some(_) => "failed",
        };
        let ms = ms.zip(started).map(|(end, start)| end - start);
        let mut set = |key: &str, value: Value| drop(open.data.insert(key.to_owned(), value));
        set("state", json!(state));
        set("ms", json!(ms));
        if let Some(error) = error {
            set("error", json!(error.to_string()));
        }
        if let Some(usage) = result.and_then(|result| result.usage.as_ref()) {
            let tokens = Tokens::from(usage);
            set("input", json!(tokens.input));
            set("output", json!(tokens.output));
            let model = open.model.as_deref().unwrap_or_default();
            if let Some(cost) = self.prices.cost(open.provider.as_deref(), model, &tokens) {
                set("cost", json!(cost));
            }
        }
        Some(json!({"type": "data-run", "id": record.run, "data": open.data}))
    }
}

impl Encoder for WithRuns {
    fn encode(&mut self, record: &EventRecord, parts: &mut Parts) {
        self.parts.encode(record, parts);
        if let Some(part) = self.run(record) {
            parts.push(&part);
        }
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Parts) {
        self.parts.lagged(lagged, parts);
    }

    fn finish(&mut self, parts: &mut Parts) {
        self.parts.finish(parts);
    }

    fn last_data(&self) -> Option<&'static str> {
        self.parts.last_data()
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        self.parts.headers()
    }
}

/// The result of a model's run, which is the partial result if it failed.
fn result(event: &Event) -> Option<&LlmResult> {
    match event {
        Event::LlmEnd(end) => Some(&end.result),
        Event::LlmError(end) => Some(&end.partial),
        _ => None,
    }
}
