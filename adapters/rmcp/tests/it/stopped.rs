//! Handlers that stop a call.

use rappel_rmcp::{CallToolError, ServeWithCallbacks};
use rappel_tokio::prelude::*;
use rappel_tokio::{Awaited, json};

use crate::support::{Log, Seen, call, serve, within};

/// Fails at a kind of event.
fn raising(kind: EventKind) -> (CallbackManager, Log) {
    let log = Log::default();
    let handler = handler_fn(move |event, _cx: &EventContext| match event.kind() == kind {
        true => Err("not allowed".into()),
        false => Ok(()),
    });
    let options = Awaited::new().inline().raise_error();
    (log.callbacks().with_handler_options(handler, options), log)
}

/// The error of a call that the handler has stopped.
fn stopped(tool: &str, on: &str) -> String {
    let handler = "it::stopped::raising::{{closure}}";
    format!("{tool}: error stopped: stopped: handler `{handler}` failed in {on}: not allowed")
}

#[tokio::test]
async fn a_handler_that_refuses_the_start_keeps_the_call_from_the_server() {
    let (client, mut seen) = serve();
    let (callbacks, log) = raising(EventKind::ToolStart);
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let error = within(client.call_tool(call("hangs", json!({})))).await.unwrap_err();
    assert!(matches!(error, CallToolError::Run(RunError::Stopped(_))), "{error:?}");
    client.cancel().await.unwrap();
    // The server ends without a call.
    assert_eq!(within(seen.recv()).await, None::<Seen>);
    callbacks.flush().await.unwrap();
    assert_eq!(log.lines(), ["hangs: start {}", &stopped("hangs", "on_tool_start")]);
}

#[tokio::test]
async fn a_handler_that_fails_at_the_progress_stops_the_call() {
    let (client, _seen) = serve();
    let (callbacks, log) = raising(EventKind::CustomEvent);
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let error = within(client.call_tool(call("progress", json!({"steps": 3})))).await.unwrap_err();
    assert!(matches!(error, CallToolError::Run(RunError::Stopped(_))), "{error:?}");
    callbacks.flush().await.unwrap();
    let expected = [
        r#"progress: start {"steps":3}"#,
        r#"progress: mcp.progress {"message":"step 1","progress":1,"total":100}"#,
        &stopped("progress", "on_custom_event"),
    ];
    assert_eq!(log.lines(), expected);
}

#[tokio::test]
async fn a_handler_that_fails_at_the_end_takes_the_result_away() {
    let (client, _seen) = serve();
    let (callbacks, log) = raising(EventKind::ToolEnd);
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let error = within(client.call_tool(call("lines", json!({})))).await.unwrap_err();
    assert!(matches!(error, CallToolError::Run(RunError::Stopped(_))), "{error:?}");
    assert_eq!(log.lines(), ["lines: start {}", r#"lines: end "first\nsecond""#]);
}
