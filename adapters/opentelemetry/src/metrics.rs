//! Metrics of the conventions.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use rappel_core::{CallbackManager, HandlerStats, LlmResult, TokenUsage};

use crate::attributes::Begin;
use crate::handler::scope;
use crate::names;
use crate::settings::SemConv;

/// Boundaries of the conventions for tokens.
const TOKENS: [f64; 14] = [
    1.,
    4.,
    16.,
    64.,
    256.,
    1024.,
    4096.,
    16384.,
    65536.,
    262_144.,
    1_048_576.,
    4_194_304.,
    16_777_216.,
    67_108_864.,
];
/// Boundaries of the conventions for a request, in seconds.
const REQUEST: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Boundaries of the conventions for an agent, in seconds.
const AGENT: [f64; 13] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6];

/// The instruments.
pub(crate) enum Metrics {
    V1_41 { tokens: Histogram<u64>, duration: Histogram<f64>, first_chunk: Histogram<f64> },
    Latest(Box<Latest>),
}

/// The most tokens that a call counts as. A server may say any number, and the SDK's sums overflow.
const MOST_TOKENS: u64 = 1 << 40;

type CountOf = fn(&TokenUsage) -> Option<u64>;

pub(crate) struct Latest {
    /// Counts of tokens, and how each is found in a usage.
    usage: [(Counter<u64>, CountOf); 5],
    input: Histogram<u64>,
    output: Histogram<u64>,
    inference: Histogram<f64>,
    first_chunk: Histogram<f64>,
    agent: Histogram<f64>,
    tool: Histogram<f64>,
    operation: Histogram<f64>,
}

/// What the metrics of a run have.
pub(crate) struct Measured {
    operation: &'static str,
    attributes: Vec<KeyValue>,
}

impl Measured {
    /// `None` for a chain: it has no metrics.
    pub(crate) fn new(begin: &Begin) -> Option<Self> {
        let attributes = begin.attributes[..begin.for_metrics].to_vec();
        Some(Self { operation: begin.operation?, attributes })
    }

    fn is_model(&self) -> bool {
        matches!(self.operation, "chat" | "text_completion")
    }
}

fn seconds(meter: &Meter, name: &'static str, bounds: &[f64]) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec()).build()
}

fn tokens(meter: &Meter, name: &'static str) -> Histogram<u64> {
    meter.u64_histogram(name).with_unit("{token}").with_boundaries(TOKENS.to_vec()).build()
}

impl Metrics {
    pub(crate) fn new(meters: &impl MeterProvider, semconv: SemConv) -> Self {
        let meter = &meters.meter_with_scope(scope());
        let counter = |name: &'static str| meter.u64_counter(name).with_unit("{token}").build();
        match semconv {
            SemConv::V1_41 => Self::V1_41 {
                tokens: tokens(meter, "gen_ai.client.token.usage"),
                duration: seconds(meter, "gen_ai.client.operation.duration", &REQUEST),
                first_chunk: seconds(
                    meter,
                    "gen_ai.client.operation.time_to_first_chunk",
                    &REQUEST,
                ),
            },
            SemConv::Latest => Self::Latest(Box::new(Latest {
                usage: [
                    (counter("gen_ai.client.inference.usage.input_tokens"), |usage| {
                        Some(usage.prompt_tokens)
                    }),
                    (counter("gen_ai.client.inference.usage.output_tokens"), |usage| {
                        Some(usage.completion_tokens)
                    }),
                    (counter("gen_ai.client.inference.usage.cache_read.input_tokens"), |usage| {
                        usage.cached_tokens
                    }),
                    (counter("gen_ai.client.inference.usage.cache_write.input_tokens"), |usage| {
                        usage.cache_write_tokens
                    }),
                    (counter("gen_ai.client.inference.usage.reasoning.output_tokens"), |usage| {
                        usage.reasoning_tokens
                    }),
                ],
                input: tokens(meter, "gen_ai.client.inference.operation.input_tokens"),
                output: tokens(meter, "gen_ai.client.inference.operation.output_tokens"),
                inference: seconds(meter, "gen_ai.client.inference.duration", &REQUEST),
                first_chunk: seconds(
                    meter,
                    "gen_ai.client.inference.time_to_first_chunk",
                    &REQUEST,
                ),
                agent: seconds(meter, "gen_ai.invoke_agent.duration", &AGENT),
                tool: seconds(meter, "gen_ai.execute_tool.duration", &REQUEST),
                operation: seconds(meter, "gen_ai.client.operation.duration", &REQUEST),
            })),
        }
    }

    pub(crate) fn record(
        &self,
        measured: Measured,
        took: Duration,
        first_token: Option<Duration>,
        error: Option<&str>,
        result: Option<&LlmResult>,
    ) {
        let is_model = measured.is_model();
        let first_token = first_token.filter(|_| is_model).map(|after| after.as_secs_f64());
        let usage = result.and_then(|result| result.usage.as_ref());
        let Measured { operation, mut attributes } = measured;
        if let Some(model) = result.and_then(|result| result.model_name.as_ref()) {
            attributes.push(KeyValue::new(names::RESPONSE_MODEL, model.clone()));
        }
        let mut failed = attributes.clone();
        if let Some(error) = error {
            failed.push(KeyValue::new(names::ERROR_TYPE, error.to_owned()));
        }
        let took = took.as_secs_f64();
        match self {
            Self::V1_41 { tokens, duration, first_chunk } => {
                duration.record(took, &failed);
                if let Some(after) = first_token {
                    first_chunk.record(after, &attributes);
                }
                if let Some(usage) = usage {
                    let kinds =
                        [("input", usage.prompt_tokens), ("output", usage.completion_tokens)];
                    for (kind, count) in kinds {
                        attributes.push(KeyValue::new(names::TOKEN_TYPE, kind));
                        tokens.record(count.min(MOST_TOKENS), &attributes);
                        attributes.pop();
                    }
                }
            }
            Self::Latest(latest) => {
                let duration = match operation {
                    "invoke_agent" => &latest.agent,
                    "execute_tool" => &latest.tool,
                    _ if is_model => &latest.inference,
                    _ => &latest.operation,
                };
                duration.record(took, &failed);
                if let Some(after) = first_token {
                    latest.first_chunk.record(after, &attributes);
                }
                if let Some(usage) = usage {
                    latest.input.record(usage.prompt_tokens.min(MOST_TOKENS), &failed);
                    latest.output.record(usage.completion_tokens.min(MOST_TOKENS), &failed);
                    // Providers do not say which tokens are text.
                    attributes.push(KeyValue::new(names::TOKEN_MODALITY, "unknown"));
                    for (counter, count) in &latest.usage {
                        if let Some(count) = count(usage) {
                            counter.add(count.min(MOST_TOKENS), &attributes);
                        }
                    }
                }
            }
        }
    }
}

/// Observes the handlers of a manager as metrics, from [`CallbackManager::stats`]:
/// `rappel.handler.failures`, `rappel.handler.dropped_events` and `rappel.handler.refused_runs`,
/// counters with the attribute `rappel.handler.name`. Those of handlers with the same name are added.
/// Handlers that are registered later with a clone of the manager are not observed.
///
/// The meters keep the manager until they are shut down.
pub fn observe_handlers(meters: &impl MeterProvider, callbacks: &CallbackManager) {
    type Count = fn(&HandlerStats) -> usize;
    let counters: [(&'static str, &'static str, Count); 3] = [
        ("rappel.handler.failures", "{failure}", |stats| stats.failed),
        ("rappel.handler.dropped_events", "{event}", |stats| stats.dropped),
        ("rappel.handler.refused_runs", "{run}", |stats| stats.refused_runs),
    ];
    let meter = meters.meter_with_scope(scope());
    for (name, unit, count) in counters {
        let callbacks = callbacks.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_callback(move |observer| {
                // The last observation of a name would replace the others.
                let mut counts = BTreeMap::<String, u64>::new();
                for stats in callbacks.stats() {
                    *counts.entry(stats.name.to_string()).or_default() += count(&stats) as u64;
                }
                for (name, count) in counts {
                    observer.observe(count, &[KeyValue::new(names::HANDLER, name)]);
                }
            })
            .build();
    }
}
