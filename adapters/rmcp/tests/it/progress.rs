//! Progress notifications.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rappel_rmcp::ServeWithCallbacks;
use rappel_tokio::json;
use rappel_tokio::prelude::*;
use tokio::sync::Semaphore;

use crate::support::{Log, Scene, Seen, call, serve, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_in_the_order_of_the_connection_and_before_the_end() {
    for _ in 0..50 {
        let scene = Scene::new().await;
        within(scene.client.call_tool(call("progress", json!({"steps": 20})))).await.unwrap();
        assert_eq!(scene.log.lines(), progress_run(20, 1..=20, &[]));
    }
}

/// The lines of a call: these steps of it, and what comes before its end.
fn progress_run(steps: u32, seen: RangeInclusive<u32>, more: &[&str]) -> Vec<String> {
    let seen = seen.map(|step| {
        format!(r#"mcp.progress {{"message":"step {step}","progress":{step},"total":100}}"#)
    });
    let start = format!(r#"start {{"steps":{steps}}}"#);
    let lines = [start].into_iter().chain(seen).chain(more.iter().map(|&line| line.to_owned()));
    lines.chain([r#"end "done""#.to_owned()]).map(|line| format!("progress: {line}")).collect()
}

#[tokio::test]
async fn calls_at_the_same_time_have_their_own_progress() {
    let scene = Scene::new().await;
    let calls =
        [3, 5].map(|steps| scene.client.call_tool(call("progress", json!({"steps": steps}))));
    for result in within(futures_util::future::join_all(calls)).await {
        result.unwrap();
    }
    let expected = [progress_run(3, 1..=3, &[]), progress_run(5, 1..=5, &[])].concat();
    assert_eq!(scene.log.sorted_runs(), expected);
}

/// The handler lets one event pass for each permit.
struct Gated(Arc<Semaphore>);

impl AsyncCallbackHandler for Gated {
    async fn on_custom_event(&self, _event: &CustomEvent, _cx: &EventContext) -> HandlerResult {
        self.0.acquire().await?.forget();
        Ok(())
    }
}

#[tokio::test]
async fn progress_that_slow_handlers_do_not_take_is_counted() {
    let (client, mut seen) = serve();
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let callbacks = log.callbacks().with_async_handler(Gated(gate.clone()));
    let client = ().serve_with_callbacks(client, &callbacks).await.unwrap();
    let slow = client.call_tool(call("progress", json!({"steps": 100})));
    let other = async {
        assert_eq!(within(seen.recv()).await, Some(Seen::Progressed));
        // The connection goes on: another call is answered behind all of that progress.
        client.call_tool(call("echo", json!({"text": "hi"}))).await.unwrap();
        gate.add_permits(1000);
    };
    let (result, ()) = within(async { tokio::join!(slow, other) }).await;
    result.unwrap();
    // One notification is with the handler, and 64 wait. The last one has the number of those that
    // it replaced.
    let last = r#"mcp.progress {"message":"step 100","progress":100,"skipped":35,"total":100}"#;
    let echo = [r#"echo: start {"text":"hi"}"#.to_owned(), r#"echo: end "hi""#.to_owned()];
    let expected = [&echo[..], &progress_run(100, 1..=64, &[last])].concat();
    assert_eq!(log.sorted_runs(), expected);
}
