//! Requests: from the request of chat completions to that of Responses.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::wire::{ChatRequest, Content, Message, Part, StreamOptions};

/// The body of a request. It borrows the texts of the messages.
#[derive(Debug, Serialize)]
pub(crate) struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Cow<'a, Value>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// The extra fields, with `text` and `reasoning` as they are put together.
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Message {
        role: &'a str,
        content: Said<'a>,
    },
    Call {
        r#type: &'static str,
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    Output {
        r#type: &'static str,
        call_id: &'a str,
        output: Said<'a>,
    },
    /// An item of an earlier answer, as it was.
    Given(&'a Value),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Text(&'a str),
    Parts(Vec<Piece<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    InputText {
        text: &'a str,
    },
    OutputText {
        text: &'a str,
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage {
        image_url: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
    },
}

impl<'a> Body<'a> {
    pub(crate) fn of(request: &'a ChatRequest<'a>) -> Self {
        let mut extra = request.extra.cloned().unwrap_or_default();
        let stored = extra.get("store") != Some(&Value::Bool(false));
        let reasoning = !stored || request.all_reasoning;
        let mut input = Vec::new();
        for message in &request.messages {
            push(&mut input, message, reasoning, stored);
        }
        if let Some(format) = request.response_format {
            put(&mut extra, "text", "format", text_format(format));
        }
        for (chat, object, name) in
            [("reasoning_effort", "reasoning", "effort"), ("verbosity", "text", "verbosity")]
        {
            if let Some(value) = extra.remove(chat) {
                put(&mut extra, object, name, value);
            }
        }
        Self {
            model: request.model,
            input,
            max_output_tokens: request.max_completion_tokens.or(request.max_tokens),
            temperature: request.temperature,
            top_p: request.top_p,
            tools: request.tools.iter().map(tool).collect(),
            tool_choice: request.tool_choice.map(choice),
            stream: request.stream,
            stream_options: request
                .stream_options
                .filter(|options| matches!(options, StreamOptions::Own(_))),
            user: request.user,
            extra,
        }
    }
}

/// Sets a field of an object in `extra`, unless the program has set it.
fn put(extra: &mut Map<String, Value>, object: &str, name: &str, value: Value) {
    let fields = extra.entry(object).or_insert_with(|| json!({}));
    if let Value::Object(fields) = fields {
        fields.entry(name).or_insert(value);
    }
}

fn push<'a>(input: &mut Vec<Item<'a>>, message: &'a Message<'a>, reasoning: bool, stored: bool) {
    let call_id = message.tool_call_id.unwrap_or_default();
    if message.role == "tool" {
        let output = said(message, false);
        input.push(Item::Output { r#type: "function_call_output", call_id, output });
        return;
    }
    if let Some(Value::Array(items)) = message.extra.get("reasoning_items").filter(|_| reasoning) {
        // Without its content an item means nothing to a server that has not stored it.
        let sent = items.iter().filter(|item| stored || item["encrypted_content"].is_string());
        input.extend(sent.map(Item::Given));
    }
    let is_ai = message.role == "assistant";
    if message.content.is_some() {
        input.push(Item::Message { role: message.role, content: said(message, is_ai) });
    }
    for call in &message.tool_calls {
        input.push(Item::Call {
            r#type: "function_call",
            call_id: call.id.unwrap_or_default(),
            name: call.function.name,
            arguments: &call.function.arguments,
        });
    }
}

fn said<'a>(message: &'a Message<'a>, is_ai: bool) -> Said<'a> {
    let text = |text| match is_ai {
        true => Piece::OutputText { text },
        false => Piece::InputText { text },
    };
    let refusal = message.extra.get("refusal").and_then(|refusal| refusal.as_str());
    let mut parts = match &message.content {
        Some(Content::Text(said)) if refusal.is_none() || !is_ai => return Said::Text(said),
        Some(Content::Text(said)) if said.is_empty() => Vec::new(),
        Some(Content::Text(said)) => vec![text(&**said)],
        Some(Content::Parts(parts)) => parts
            .iter()
            .map(|part| match part {
                Part::Text { text: said } => text(&**said),
                Part::ImageUrl { image_url } => {
                    Piece::InputImage { image_url: &image_url.url, detail: image_url.detail }
                }
            })
            .collect(),
        None => Vec::new(),
    };
    parts.extend(refusal.filter(|_| is_ai).map(|refusal| Piece::Refusal { refusal }));
    Said::Parts(parts)
}

/// A function's fields are beside its type. `strict` is the default of Responses and not that of
/// chat completions, so it is always sent.
fn tool(tool: &Value) -> Cow<'_, Value> {
    let Value::Object(function) = &tool["function"] else {
        return Cow::Borrowed(tool);
    };
    let mut flat = Map::new();
    flat.insert("type".to_owned(), json!("function"));
    flat.extend(function.clone());
    flat.entry("parameters").or_insert(Value::Null);
    flat.entry("strict").or_insert(Value::Bool(false));
    Cow::Owned(Value::Object(flat))
}

fn choice(choice: &Value) -> Cow<'_, Value> {
    match &choice["function"]["name"] {
        Value::String(name) => Cow::Owned(json!({"type": "function", "name": name})),
        _ => Cow::Borrowed(choice),
    }
}

fn text_format(format: &Value) -> Value {
    let Value::Object(schema) = &format["json_schema"] else {
        return format.clone();
    };
    let mut flat = schema.clone();
    flat.insert("type".to_owned(), json!("json_schema"));
    Value::Object(flat)
}
