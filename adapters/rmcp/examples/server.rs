//! An MCP server whose tool calls are runs, in the trace of their caller.

use rappel_handlers::{JsonLines, With};
use rappel_tokio::Value;
use rappel_tokio::prelude::*;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};

struct Weather(CallbackManager);

/// Starts the run of a call. A `traceparent` that cannot be parsed is ignored.
async fn start(
    callbacks: &CallbackManager,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<ToolRun, EmitError> {
    let arguments = Value::from(request.arguments.clone().unwrap_or_default());
    let mut start =
        ToolStart::new(request.name.as_ref(), arguments.to_string()).with_inputs(arguments);
    if let Some(caller) = context.meta.get_traceparent().and_then(|text| text.parse().ok()) {
        start = start.with_traceparent(caller);
    }
    callbacks.on_tool_start(start).await
}

/// The tool. If it calls a model of rappel, the model's run is a child of the tool's run.
async fn forecast(city: &str) -> Result<String, String> {
    match city {
        "Bonn" => Ok("sunny".to_owned()),
        "Nowhere" => std::future::pending().await,
        _ => Err(format!("no such city: {city}")),
    }
}

impl ServerHandler for Weather {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let internal = |error: EmitError| ErrorData::internal_error(error.to_string(), None);
        let run = start(&self.0, &request, &context).await.map_err(internal)?;
        let city = request.arguments.as_ref().and_then(|arguments| arguments.get("city")?.as_str());
        let answer = tokio::select! {
            answer = forecast(city.unwrap_or_default()).in_run(&run) => answer,
            // The caller has cancelled the call. The run is dropped, and ends as cancelled.
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
        };
        let result = match answer {
            Ok(text) => {
                run.end(text.as_str()).await.map_err(internal)?;
                CallToolResult::success(vec![ContentBlock::text(text)])
            }
            Err(error) => {
                run.fail(error.as_str()).await.map_err(internal)?;
                CallToolResult::error(vec![ContentBlock::text(error)])
            }
        };
        Ok(result.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Standard output is the connection to the client, so the events go to standard error.
    let callbacks = CallbackManager::new(Tokio::current()).with(JsonLines::to(std::io::stderr()));
    let server = Weather(callbacks.clone()).serve(rmcp::transport::stdio()).await?;
    server.waiting().await?;
    callbacks.flush().await?;
    Ok(())
}
