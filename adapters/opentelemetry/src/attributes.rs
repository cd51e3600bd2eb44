//! The attributes of spans, from payloads.

use opentelemetry::trace::SpanKind;
use opentelemetry::{Array, KeyValue, StringValue, Value as Attribute};
use rappel_core::{Event, EventContext, LlmResult, Map, Message, Value};

use crate::content;
use crate::names::*;
use crate::settings::{SemConv, Settings};

/// A span as it begins.
pub(crate) struct Begin {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    /// `gen_ai.operation.name`. A chain has none.
    pub(crate) operation: Option<&'static str>,
    /// Those that metrics have, too, come first.
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) for_metrics: usize,
    /// Attributes that may be many. They are added last, because a span's attributes are limited.
    pub(crate) late: Vec<KeyValue>,
}

/// What starts say of a model.
struct Model<'a> {
    operation: &'static str,
    name: &'a str,
    params: &'a Map<String, Value>,
    provider: Option<&'a str>,
    address: Option<&'a str>,
    port: Option<u16>,
}

macro_rules! model {
    ($operation:literal, $start:expr) => {
        Model {
            operation: $operation,
            name: &$start.name,
            params: &$start.invocation_params,
            provider: $start.provider.as_deref(),
            address: $start.server_address.as_deref(),
            port: $start.server_port,
        }
    };
}

pub(crate) fn push(
    attributes: &mut Vec<KeyValue>,
    name: &'static str,
    value: impl Into<Attribute>,
) {
    attributes.push(KeyValue::new(name, value));
}

fn push_text(attributes: &mut Vec<KeyValue>, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        push(attributes, name, value.to_owned());
    }
}

fn push_count(attributes: &mut Vec<KeyValue>, name: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        push(attributes, name, i64::try_from(value).unwrap_or(i64::MAX));
    }
}

fn push_list<'a>(
    attributes: &mut Vec<KeyValue>,
    name: &'static str,
    values: impl Iterator<Item = &'a str>,
) {
    let values: Vec<StringValue> = values.map(|value| value.to_owned().into()).collect();
    if !values.is_empty() {
        push(attributes, name, Attribute::Array(Array::String(values)));
    }
}

/// The span of a run. `None` if the event starts no run.
pub(crate) fn begin(settings: &Settings, event: &Event, cx: &EventContext) -> Option<Begin> {
    let mut begin = match event {
        Event::ChatModelStart(start) => {
            let mut begin = model(settings, &model!("chat", start));
            if settings.content {
                input_messages(settings, &start.messages, &mut begin);
            }
            begin
        }
        Event::LlmStart(start) => {
            let mut begin = model(settings, &model!("text_completion", start));
            if settings.content {
                let message = Message::human(start.prompt.as_str());
                input_messages(settings, &[message], &mut begin);
            }
            begin
        }
        Event::ToolStart(start) => {
            let mut begin = span("execute_tool", TOOL_NAME, &start.name, SpanKind::Internal);
            let attributes = &mut begin.attributes;
            push_text(attributes, TOOL_CALL_ID, start.tool_call_id.as_deref());
            push_text(attributes, TOOL_DESCRIPTION, start.description.as_deref());
            push_text(attributes, TOOL_TYPE, start.tool_type.as_deref());
            if settings.openinference {
                push(attributes, SPAN_KIND, "TOOL");
                push(attributes, OI_TOOL_NAME, start.name.to_string());
                push_text(attributes, OI_TOOL_DESCRIPTION, start.description.as_deref());
                push_text(attributes, OI_TOOL_ID, start.tool_call_id.as_deref());
            }
            if settings.content {
                let text = Value::from(start.input.as_str());
                let (input, media_type) =
                    content::plain(settings, start.inputs.as_ref().unwrap_or(&text));
                push(attributes, TOOL_ARGUMENTS, input.clone());
                value(settings, attributes, (INPUT_VALUE, INPUT_TYPE), input, media_type);
            }
            begin
        }
        Event::RetrieverStart(start) => {
            let mut begin = span("retrieval", DATA_SOURCE, &start.name, SpanKind::Client);
            let attributes = &mut begin.attributes;
            if settings.openinference {
                push(attributes, SPAN_KIND, "RETRIEVER");
            }
            if settings.content {
                let query = settings.text(&start.query).into_owned();
                push(attributes, QUERY, query.clone());
                value(settings, attributes, (INPUT_VALUE, INPUT_TYPE), query, "text/plain");
            }
            begin
        }
        Event::ChainStart(start) => {
            let mut begin = match start.agent {
                true => span("invoke_agent", AGENT_NAME, &start.name, SpanKind::Internal),
                false => Begin {
                    name: start.name.to_string(),
                    kind: SpanKind::Internal,
                    operation: None,
                    attributes: Vec::with_capacity(8),
                    for_metrics: 0,
                    late: Vec::new(),
                },
            };
            let attributes = &mut begin.attributes;
            if settings.openinference {
                push(attributes, SPAN_KIND, if start.agent { "AGENT" } else { "CHAIN" });
                if start.agent {
                    push(attributes, OI_AGENT_NAME, start.name.to_string());
                }
            }
            let is_empty = matches!(&start.inputs, Value::Null)
                || start.inputs.as_object().is_some_and(Map::is_empty);
            if settings.content && !is_empty {
                let (input, media_type) = content::plain(settings, &start.inputs);
                value(settings, attributes, (INPUT_VALUE, INPUT_TYPE), input, media_type);
            }
            begin
        }
        _ => return None,
    };
    run(settings, cx, &mut begin.attributes);
    Some(begin)
}

/// A span of an operation on something with a name.
fn span(operation: &'static str, key: &'static str, name: &str, kind: SpanKind) -> Begin {
    let mut attributes = Vec::with_capacity(32);
    push(&mut attributes, OPERATION, operation);
    push(&mut attributes, key, name.to_owned());
    Begin {
        name: format!("{operation} {name}"),
        kind,
        operation: Some(operation),
        for_metrics: attributes.len(),
        attributes,
        late: Vec::new(),
    }
}

fn model(settings: &Settings, start: &Model<'_>) -> Begin {
    let model = start.params.get("model").and_then(Value::as_str).unwrap_or(start.name);
    let mut begin = span(start.operation, REQUEST_MODEL, model, SpanKind::Client);
    let attributes = &mut begin.attributes;
    push_text(attributes, PROVIDER, start.provider);
    push_text(attributes, SERVER_ADDRESS, start.address);
    push_count(attributes, SERVER_PORT, start.port.map(u64::from));
    begin.for_metrics = attributes.len();
    for (name, value) in start.params {
        parameter(settings, name, value, attributes);
    }
    if settings.openinference {
        push(attributes, SPAN_KIND, "LLM");
        push_text(attributes, LLM_PROVIDER, start.provider);
        let is_parameter = |name: &str| !["model", "tools", "messages"].contains(&name);
        let parameters: Map<String, Value> = start
            .params
            .iter()
            .filter(|(name, _)| is_parameter(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !parameters.is_empty() {
            push(attributes, LLM_PARAMETERS, Value::Object(parameters).to_string());
        }
    }
    if let Some(Value::Array(tools)) = start.params.get("tools").filter(|_| settings.content) {
        let tools: Vec<Value> = tools.iter().map(|tool| content::clean(settings, tool)).collect();
        if settings.openinference {
            for (index, tool) in tools.iter().enumerate() {
                let name = format!("{LLM_TOOLS}.{index}.tool.json_schema");
                begin.late.push(KeyValue::new(name, tool.to_string()));
            }
        }
        let definitions = tools.into_iter().map(definition);
        push(attributes, TOOL_DEFINITIONS, Value::from_iter(definitions).to_string());
    }
    begin
}

/// The definition of a tool. OpenAI's puts the fields one level deeper than the conventions.
fn definition(tool: Value) -> Value {
    let Value::Object(mut fields) = tool else { return tool };
    if let Some(Value::Object(function)) = fields.remove("function") {
        fields.extend(function);
    }
    fields.into()
}

fn parameter(settings: &Settings, name: &str, value: &Value, attributes: &mut Vec<KeyValue>) {
    let number = |name, attributes: &mut Vec<KeyValue>| {
        if let Some(value) = value.as_f64() {
            push(attributes, name, value);
        }
    };
    let integer = |name, attributes: &mut Vec<KeyValue>| {
        // Two parameters may have the same attribute, and a span has an attribute once.
        let is_new = || attributes.iter().all(|attribute| attribute.key.as_str() != name);
        if let Some(value) = value.as_i64().filter(|_| is_new()) {
            push(attributes, name, value);
        }
    };
    match name {
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
            integer(MAX_TOKENS, attributes);
        }
        "seed" => integer(SEED, attributes),
        "n" if value.as_i64() != Some(1) => integer(CHOICE_COUNT, attributes),
        "top_k" => match settings.semconv {
            SemConv::V1_41 => number(TOP_K, attributes),
            SemConv::Latest => integer(TOP_K, attributes),
        },
        "temperature" => number(TEMPERATURE, attributes),
        "top_p" => number(TOP_P, attributes),
        "frequency_penalty" => number(FREQUENCY_PENALTY, attributes),
        "presence_penalty" => number(PRESENCE_PENALTY, attributes),
        "stream" if value == &Value::Bool(true) => push(attributes, STREAM, true),
        "stop" => match value {
            Value::String(stop) => push_list(attributes, STOP_SEQUENCES, [&**stop].into_iter()),
            Value::Array(stops) => {
                push_list(attributes, STOP_SEQUENCES, stops.iter().filter_map(Value::as_str));
            }
            _ => {}
        },
        "reasoning_effort" if settings.semconv == SemConv::Latest => {
            push_text(attributes, REASONING_LEVEL, value.as_str());
        }
        "response_format" => match value.get("type").and_then(Value::as_str) {
            Some("json_object" | "json_schema") => push(attributes, OUTPUT_TYPE, "json"),
            Some("text") => push(attributes, OUTPUT_TYPE, "text"),
            _ => {}
        },
        _ => {}
    }
}

/// What every span has.
fn run(settings: &Settings, cx: &EventContext, attributes: &mut Vec<KeyValue>) {
    push(attributes, RUN_ID, cx.id().to_string());
    let metadata = cx.metadata();
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| metadata.get(*name));
        let value = values.find(|value| !value.is_null())?;
        Some(value.as_str().map_or_else(|| value.to_string(), Into::into))
    };
    if !metadata.is_empty() {
        let session = first(&["session_id", "conversation_id", "thread_id"]);
        if let Some(session) = session {
            push(attributes, CONVERSATION, session.clone());
            push(attributes, SESSION_ID, session);
        }
        if let Some(user) = first(&["user_id"]) {
            push(attributes, USER_ID, user);
        }
    }
    if settings.openinference {
        push_list(attributes, TAGS, cx.tags().iter().map(String::as_str));
        if !metadata.is_empty() {
            push(attributes, METADATA, Value::Object(metadata.clone()).to_string());
        }
    }
}

fn input_messages(settings: &Settings, messages: &[Message], begin: &mut Begin) {
    push(&mut begin.attributes, INPUT_MESSAGES, content::messages(settings, messages));
    if !settings.openinference {
        return;
    }
    if let Some(last) = messages.last() {
        let text = settings.text(&last.text()).into_owned();
        let names = (INPUT_VALUE, INPUT_TYPE);
        value(settings, &mut begin.attributes, names, text, "text/plain");
    }
    for (index, message) in messages.iter().enumerate() {
        let list = LLM_INPUT_MESSAGES;
        content::number_message(settings, list, index, message, &mut begin.late);
    }
}

/// An input or an output as OpenInference has it.
fn value(
    settings: &Settings,
    attributes: &mut Vec<KeyValue>,
    (name, type_name): (&'static str, &'static str),
    text: String,
    media_type: &'static str,
) {
    if settings.openinference && !text.is_empty() {
        push(attributes, name, text);
        push(attributes, type_name, media_type);
    }
}

/// What the end of a run adds to its span.
pub(crate) fn end(settings: &Settings, event: &Event, attributes: &mut Vec<KeyValue>) {
    let output = (OUTPUT_VALUE, OUTPUT_MIME_TYPE);
    match event {
        Event::LlmEnd(end) => result(settings, &end.result, attributes),
        Event::LlmError(error) => result(settings, &error.partial, attributes),
        Event::ToolEnd(end) if settings.content => {
            let (text, media_type) = content::plain(settings, &end.output);
            push(attributes, TOOL_RESULT, text.clone());
            value(settings, attributes, output, text, media_type);
        }
        Event::ChainEnd(end) if settings.content && !end.outputs.is_null() => {
            let (text, media_type) = content::plain(settings, &end.outputs);
            value(settings, attributes, output, text, media_type);
        }
        Event::RetrieverEnd(end) if settings.content => {
            push(attributes, DOCUMENTS, content::documents(settings, &end.documents));
            if settings.openinference {
                content::number_documents(settings, &end.documents, attributes);
            }
        }
        _ => {}
    }
}

/// What a model has answered.
fn result(settings: &Settings, result: &LlmResult, attributes: &mut Vec<KeyValue>) {
    push_text(attributes, RESPONSE_MODEL, result.model_name.as_deref());
    push_text(attributes, RESPONSE_ID, result.response_id.as_deref());
    let reasons = result.generations.iter().filter_map(|generation| {
        generation.finish_reason.as_ref().map(rappel_core::FinishReason::as_str)
    });
    push_list(attributes, FINISH_REASONS, reasons);
    if let Some(usage) = &result.usage {
        let cache_write = match settings.semconv {
            SemConv::V1_41 => CACHE_CREATION,
            SemConv::Latest => CACHE_WRITE,
        };
        push_count(attributes, INPUT_TOKENS, Some(usage.prompt_tokens));
        push_count(attributes, OUTPUT_TOKENS, Some(usage.completion_tokens));
        push_count(attributes, CACHE_READ, usage.cached_tokens);
        push_count(attributes, cache_write, usage.cache_write_tokens);
        push_count(attributes, REASONING_TOKENS, usage.reasoning_tokens);
        if settings.openinference {
            push_count(attributes, LLM_PROMPT_TOKENS, Some(usage.prompt_tokens));
            push_count(attributes, LLM_COMPLETION_TOKENS, Some(usage.completion_tokens));
            push_count(attributes, LLM_TOTAL_TOKENS, Some(usage.total_tokens));
            push_count(attributes, LLM_CACHE_READ, usage.cached_tokens);
            push_count(attributes, LLM_CACHE_WRITE, usage.cache_write_tokens);
            push_count(attributes, LLM_REASONING, usage.reasoning_tokens);
        }
    }
    if settings.openinference {
        let reason = result.finish_reason().map(rappel_core::FinishReason::as_str);
        push_text(attributes, LLM_FINISH_REASON, reason);
    }
    if !settings.content {
        return;
    }
    let Some(answers) = content::answers(settings, result) else { return };
    push(attributes, OUTPUT_MESSAGES, answers.clone());
    if settings.openinference {
        // An answer without text asks for tool calls.
        let (output, media_type) = match result.text() {
            "" => (answers, "application/json"),
            text => (settings.text(text).into_owned(), "text/plain"),
        };
        value(settings, attributes, (OUTPUT_VALUE, OUTPUT_MIME_TYPE), output, media_type);
        content::number_answers(settings, result, attributes);
    }
}
