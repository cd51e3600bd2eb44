//! Progress notifications.

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
        let steps = (1..=20).map(|step| {
            format!(r#"progress: mcp.progress {{"message":"step {step}","progress":{step},"total":100}}"#)
        });
        let mut expected = vec![r#"progress: start {"steps":20}"#.to_owned()];
        expected.extend(steps);
        expected.push(r#"progress: end "done""#.to_owned());
        assert_eq!(scene.log.lines(), expected);
    }
}

#[tokio::test]
async fn calls_at_the_same_time_have_their_own_progress() {
    let scene = Scene::new().await;
    let calls =
        [3, 5].map(|steps| scene.client.call_tool(call("progress", json!({"steps": steps}))));
    for result in within(futures_util::future::join_all(calls)).await {
        result.unwrap();
    }
    let lines = scene.log.lines();
    let of_step =
        |step: u32| lines.iter().filter(|line| line.contains(&format!("step {step}\""))).count();
    assert_eq!([1, 2, 3, 4, 5, 6].map(of_step), [2, 2, 2, 1, 1, 0]);
    assert_eq!(lines.len(), 2 + 2 + 8);
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
    let lines = log.lines();
    let progress: Vec<_> = lines.iter().filter(|line| line.contains("mcp.progress")).collect();
    let (last, before) = progress.split_last().unwrap();
    assert!(before.iter().all(|line| !line.contains("skipped")));
    // Each notification is an event, or is counted by the last one. One is with the handler, and 64
    // wait.
    let skipped = 100 - progress.len();
    assert_eq!(progress.len(), 1 + 64);
    let expected = format!(
        r#"progress: mcp.progress {{"message":"step 100","progress":100,"skipped":{skipped},"total":100}}"#
    );
    assert_eq!(**last, expected);
    assert_eq!(lines.last().unwrap(), r#"progress: end "done""#);
}
