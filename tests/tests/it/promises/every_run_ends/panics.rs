//! Panics in the code that a run is made of.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, stream};

use super::*;

type Errors = Arc<Mutex<Vec<String>>>;

/// Writes the error of each error event.
fn errors() -> (impl CallbackHandler + Send, Errors) {
    let errors = Errors::default();
    let kept = errors.clone();
    let handler = handler_fn(move |event, _| {
        let error = match event {
            Event::ChainError(error) => &error.error,
            Event::ToolError(error) => &error.error,
            Event::RetrieverError(error) => &error.error,
            Event::LlmError(error) => &error.error,
            _ => return Ok(()),
        };
        let line = match error {
            RunError::Panicked(message) => format!("panicked: {message}"),
            RunError::Cancelled => "cancelled".to_owned(),
            other => other.to_string(),
        };
        kept.lock().unwrap().push(line);
        Ok(())
    });
    (handler, errors)
}

/// It panics when it is written, as JSON and as text.
#[derive(Debug)]
struct Broken;

impl serde::Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("it broke")
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("it broke")
    }
}

impl From<RunError> for Broken {
    fn from(_: RunError) -> Self {
        Self
    }
}

async fn broken<T>() -> Result<T, RunError> {
    yield_now().await;
    panic!("it broke")
}

async fn panic_of<T>(future: impl Future<Output = T>) {
    assert!(AssertUnwindSafe(future).catch_unwind().await.is_err());
}

on_every_runtime! {
    /// Its handlers can tell a panic from a cancellation.
    async fn a_future_that_panics_ends_its_run_as_panicked(rt) {
        let (handler, errors) = errors();
        let callbacks = rt.callbacks().with_handler(handler);
        panic_of(broken::<i32>().in_chain(&callbacks, "chain", 0)).await;
        panic_of(broken::<i32>().in_tool(&callbacks, "tool", "input")).await;
        panic_of(broken::<Vec<Document>>().in_retriever(&callbacks, "pages", "query")).await;
        callbacks.flush().await.unwrap();
        assert_eq!(*errors.lock().unwrap(), ["panicked: it broke"; 3]);
    }

    async fn an_output_that_panics_while_it_is_written_ends_its_run_as_panicked(rt) {
        let (handler, errors) = errors();
        let callbacks = rt.callbacks().with_handler(handler);
        panic_of(async { Ok::<_, RunError>(Broken) }.in_chain(&callbacks, "chain", 0)).await;
        panic_of(async { Err::<i32, _>(Broken) }.in_tool(&callbacks, "tool", "input")).await;
        let run = callbacks.on_chain_start(ChainStart::new("chain", 0)).await.unwrap();
        let items = stream::iter([Ok::<_, RunError>(Broken)]).with_chain_callbacks(run);
        panic_of(items.collect::<Vec<_>>()).await;
        callbacks.flush().await.unwrap();
        assert_eq!(*errors.lock().unwrap(), ["panicked: it broke"; 3]);
    }

    /// The outer run is unwound by the same panic. Its child ends before it.
    async fn a_panic_inside_two_runs_ends_both_from_the_inside_out(rt) {
        let watched = Watched::new(&rt);
        let body = async {
            let current = CallbackManager::current().unwrap();
            broken::<i32>().in_tool(&current, "tool", "input").await
        };
        panic_of(body.in_chain(&watched.callbacks, "chain", 0)).await;
        watched.callbacks.flush().await.unwrap();
        for (handler, log) in &watched.logs {
            let lines = log.lines();
            assert_eq!(
                lines[..2], ["chain: chain_start: 0", "tool: tool_start: input"], "{handler}"
            );
            assert!(lines[2].starts_with("tool: tool_error: "), "{handler}: {lines:?}");
            assert!(lines[3].starts_with("chain: chain_error: "), "{handler}: {lines:?}");
            assert_eq!(lines.len(), 4, "{handler}: {lines:?}");
        }
    }

    async fn a_stream_that_panics_ends_its_run(rt) {
        let (handler, errors) = errors();
        let callbacks = rt.callbacks().with_handler(handler);
        let run = model(&callbacks, "run").await;
        let tokens = stream::iter(["a", "b"]).map(|token| {
            assert_ne!(token, "b", "it broke");
            Ok::<_, std::io::Error>(token)
        });
        panic_of(tokens.with_callbacks(run).count()).await;
        callbacks.flush().await.unwrap();
        let errors = errors.lock().unwrap();
        assert!(errors.len() == 1 && errors[0].starts_with("panicked: "), "{errors:?}");
    }

    /// A run that is emitted by hand is dropped while its task unwinds.
    async fn a_run_that_is_dropped_by_a_panic_has_its_end(rt) {
        let watched = Watched::new(&rt);
        let (handler, errors) = errors();
        let callbacks = watched.callbacks.clone().with_handler(handler);
        panic_of(async {
            let mut run = model(&callbacks, "run").await;
            run.on_llm_new_token("a").await.unwrap();
            panic!("it broke");
        })
        .await;
        watched.callbacks.flush().await.unwrap();
        assert_eq!(*errors.lock().unwrap(), ["panicked: its task panicked"]);
        for (handler, lines) in watched.of("run") {
            assert_eq!(lines[..2], ["llm_start: prompt", "token: a"], "{handler}");
            assert!(lines[2].starts_with("llm_error: "), "{handler}: {lines:?}");
            assert_eq!(lines.len(), 3, "{handler}: {lines:?}");
        }
    }
}
