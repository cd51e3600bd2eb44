//! MCP's calls, results and errors as rappel's.

use rappel_core::{CustomEvent, RunError, ToolStart};
use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, JsonObject};
use serde_json::Value;

use crate::progress::Update;

pub(crate) fn start(params: &CallToolRequestParams, tool_call_id: Option<String>) -> ToolStart {
    let arguments = Value::Object(params.arguments.clone().unwrap_or_default());
    let start = ToolStart::new(params.name.as_ref(), arguments.to_string())
        .with_inputs(arguments)
        .with_tool_type("extension");
    match tool_call_id {
        Some(id) => start.with_tool_call_id(id),
        None => start,
    }
}

/// The structured content if there is one, the text if there is only text, else all content.
pub(crate) fn output(result: &CallToolResult) -> Value {
    if let Some(structured) = &result.structured_content {
        return structured.clone();
    }
    match text(&result.content) {
        Some(text) => text.into(),
        None => serde_json::to_value(&result.content).unwrap_or_default(),
    }
}

/// The text of content that is only text, a line for each block.
fn text(content: &[ContentBlock]) -> Option<String> {
    let texts = content.iter().map(|block| match block {
        ContentBlock::Text(text) => Some(text.text.as_str()),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join("\n"))
}

/// The error of a run whose tool reported a failure. Its type is the one of OpenTelemetry's
/// conventions for MCP.
pub(crate) fn tool_error(result: &CallToolResult) -> RunError {
    let message = match text(&result.content) {
        Some(text) if !text.is_empty() => text,
        Some(_) if result.structured_content.is_none() => "the tool failed without a text".into(),
        _ => output(result).to_string(),
    };
    RunError::failed(message).with_type("tool_error")
}

pub(crate) fn service_error(error: &ServiceError) -> RunError {
    let run_error = RunError::failed(error.to_string());
    match error {
        ServiceError::McpError(error) => run_error.with_type(error.code.0.to_string()),
        ServiceError::TransportSend(_) | ServiceError::TransportClosed => {
            run_error.with_type("connection")
        }
        ServiceError::Timeout { .. } => run_error.with_type("timeout"),
        _ => run_error,
    }
}

pub(crate) fn progress(update: Update) -> CustomEvent {
    let params = update.params;
    let mut data = JsonObject::new();
    data.insert("progress".into(), number(params.progress));
    if let Some(total) = params.total {
        data.insert("total".into(), number(total));
    }
    if let Some(message) = params.message {
        data.insert("message".into(), message.into());
    }
    if update.skipped > 0 {
        data.insert("skipped".into(), update.skipped.into());
    }
    CustomEvent::new("mcp.progress", Value::Object(data))
}

/// A number as servers write it: whole ones without a point.
fn number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value { whole.into() } else { value.into() }
}
