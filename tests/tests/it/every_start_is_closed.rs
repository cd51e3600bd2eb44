//! Is every start closed? Every operation × every way to end it: exactly one start, and exactly one end, for a sync and for an async handler.

use std::future::pending;
use std::io;

use futures_lite::future::poll_once;
use futures_util::{StreamExt, stream};
use rappel_core::prelude::*;
use rappel_core::{Document, json};
use rappel_openai::ChatOpenAi;
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Fault, Script, Server};
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Success,
    Error,
    /// Its future is dropped while it waits.
    Cancel,
    /// Its run or stream is dropped in the middle.
    EarlyClose,
}

const WAYS: [Way; 4] = [Way::Success, Way::Error, Way::Cancel, Way::EarlyClose];

/// Runs `operation` in each way, and checks that both kinds of handler saw one start and the one end that belongs to that way.
async fn close_in_every_way(rt: &Rt, name: &str, operation: impl AsyncFn(&CallbackManager, &Log, Way)) {
    for way in WAYS {
        let (sync, asynchronous) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        operation(&callbacks, &sync, way).await;
        callbacks.flush().await;
        for log in [sync, asynchronous] {
            let lines = log.lines();
            let with = |part: &str| {
                lines
                    .iter()
                    .filter(|line| line.split(':').next().is_some_and(|kind| kind.ends_with(part)))
                    .count()
            };
            let (starts, ends, errors) = (with("_start"), with("_end"), with("_error"));
            let expected = if way == Way::Success { (1, 1, 0) } else { (1, 0, 1) };
            assert_eq!((starts, ends, errors), expected, "{name}, {way:?}: {lines:?}");
            let last = lines.last().unwrap();
            let outcome = match way {
                Way::Success => "_end: ",
                Way::Error => "_error: failed",
                Way::Cancel | Way::EarlyClose => "_error: cancelled",
            };
            assert!(last.contains(outcome), "{name}, {way:?}: {lines:?}");
        }
    }
}

/// Polls a future that never ends until the handlers have seen something, and drops it.
async fn poll_and_drop(future: impl Future, log: &Log) {
    let mut future = Box::pin(future);
    while log.lines().is_empty() {
        assert!(poll_once(&mut future).await.is_none());
        futures_lite::future::yield_now().await;
    }
}

fn server(way: Way) -> Server {
    let script = Script::tokens(["a", "b"]);
    let script = match way {
        Way::Success => script,
        Way::Error => script.fault(Fault::ErrorEvent(2)),
        Way::Cancel | Way::EarlyClose => script.fault(Fault::Stall(2)),
    };
    Server::start(script).unwrap()
}

async fn generate(callbacks: &CallbackManager, log: &Log, way: Way, streaming: bool) {
    let server = server(way);
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .streaming(streaming)
        .callbacks(callbacks);
    let chat = chat.build().unwrap();
    let generation = chat.generate(vec![vec![Message::human("hi")]]);
    match way {
        Way::Success | Way::Error => assert_eq!(generation.await.remove(0).is_ok(), way == Way::Success),
        Way::Cancel | Way::EarlyClose => poll_and_drop(generation, log).await,
    }
}

async fn stream_of(callbacks: &CallbackManager, log: &Log, way: Way) {
    let server = server(way);
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .callbacks(callbacks)
        .build()
        .unwrap();
    match way {
        Way::Success | Way::Error => {
            let last = chat
                .stream(vec![Message::human("hi")])
                .await
                .unwrap()
                .collect::<Vec<_>>()
                .await
                .pop()
                .unwrap();
            assert_eq!(last.is_ok(), way == Way::Success);
        }
        Way::Cancel => poll_and_drop(async { chat.stream(vec![Message::human("hi")]).await.unwrap().count().await }, log).await,
        Way::EarlyClose => {
            let mut stream = chat.stream(vec![Message::human("hi")]).await.unwrap();
            stream.next().await.unwrap().unwrap();
        }
    }
}

/// What a run's future does in that way, but for `EarlyClose`, where the run is handled by hand.
async fn outcome<T>(way: Way, output: T) -> Result<T, RunError> {
    match way {
        Way::Success => Ok(output),
        Way::Error => Err(RunError::failed("it broke")),
        Way::Cancel | Way::EarlyClose => pending().await,
    }
}

async fn in_way<T>(future: impl Future<Output = Result<T, RunError>>, log: &Log, way: Way) {
    match way {
        Way::Success | Way::Error => assert_eq!(future.await.is_ok(), way == Way::Success),
        Way::Cancel | Way::EarlyClose => poll_and_drop(future, log).await,
    }
}

on_every_runtime! {
    async fn of_generate(rt) {
        close_in_every_way(&rt, "generate", async |callbacks, log, way| generate(callbacks, log, way, false).await).await;
        close_in_every_way(&rt, "generate, streaming", async |callbacks, log, way| generate(callbacks, log, way, true).await).await;
    }

    async fn of_a_chat_models_stream(rt) {
        close_in_every_way(&rt, "stream", stream_of).await;
    }

    async fn of_a_text_model(rt) {
        close_in_every_way(&rt, "text LLM", async |callbacks, log, way| {
            let call = async {
                let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
                run.on_llm_new_token("a").await?;
                match outcome(way, LlmResult::from_text("a")).await {
                    Ok(result) => Ok(run.end(result).await?),
                    Err(error) => { run.error(error.clone()).await?; Err(error) }
                }
            };
            match way {
                Way::EarlyClose => drop(callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap()),
                _ => in_way(call, log, way).await,
            }
        }).await;
    }

    async fn of_a_chain(rt) {
        close_in_every_way(&rt, "chain", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap()),
            _ => in_way(outcome(way, 1).in_chain(callbacks, "chain", json!(0)), log, way).await,
        }).await;
    }

    async fn of_a_chains_stream(rt) {
        close_in_every_way(&rt, "streamed chain", async |callbacks, log, way| {
            let end = match way {
                Way::Success => stream::empty().boxed(),
                Way::Error => stream::iter([Err(io::Error::other("cut"))]).boxed(),
                Way::Cancel | Way::EarlyClose => stream::pending().boxed(),
            };
            let items = stream::iter([Ok("a")]).chain(end);
            let start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
            let mut items = items.with_chain_callbacks(start.await.unwrap());
            match way {
                Way::Success | Way::Error => assert_eq!(items.collect::<Vec<_>>().await.pop().unwrap().is_ok(), way == Way::Success),
                Way::Cancel => poll_and_drop(items.count(), log).await,
                Way::EarlyClose => assert!(items.next().await.is_some()),
            }
        }).await;
    }

    async fn of_a_tool(rt) {
        close_in_every_way(&rt, "tool", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(callbacks.on_tool_start(ToolStart::new("tool", "in")).await.unwrap()),
            _ => in_way(outcome(way, "out").in_tool(callbacks, "tool", "in"), log, way).await,
        }).await;
    }

    async fn of_a_retriever(rt) {
        close_in_every_way(&rt, "retriever", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(callbacks.on_retriever_start(RetrieverStart::new("retriever", "query")).await.unwrap()),
            _ => in_way(outcome(way, vec![Document::new("page")]).in_retriever(callbacks, "retriever", "query"), log, way).await,
        }).await;
    }

    async fn of_a_group(rt) {
        close_in_every_way(&rt, "group", async |callbacks, log, way| {
            let group = async {
                let group = callbacks.group("group").await?;
                match outcome(way, json!({})).await {
                    Ok(outputs) => Ok(group.end(outputs).await?),
                    Err(error) => { group.error(error.clone()).await?; Err(error) }
                }
            };
            match way {
                Way::EarlyClose => drop(callbacks.group("group").await.unwrap()),
                _ => in_way(group, log, way).await,
            }
        }).await;
    }
}

/// One prompt of a batch fails: the others end by themselves, when they are done.
mod batches {
    use super::*;

    on_every_runtime! {
        async fn each_run_is_closed_by_itself(rt) {
            let log = Log::new();
            let seen = log.clone();
            let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
                seen.write(rappel_tests::record::line(event));
                if let Event::LlmStart(start) = event {
                    seen.write(format!("one of {}", start.batch_size));
                }
                Ok(())
            }));
            let starts = ["a", "b", "c"].map(|prompt| LlmStart::new("llm", prompt));
            let mut runs: Vec<_> = callbacks.on_llm_starts(starts).await.into_iter().map(Result::unwrap).collect();
            let [third, second, first] = [runs.pop().unwrap(), runs.pop().unwrap(), runs.pop().unwrap()];
            second.error("it broke").await.unwrap();
            first.end(LlmResult::from_text("A")).await.unwrap();
            third.end(LlmResult::from_text("C")).await.unwrap();
            assert_eq!(log.lines(), [
                "llm_start: a", "one of 3", "llm_start: b", "one of 3", "llm_start: c", "one of 3",
                "llm_error: failed: ", "llm_end: A", "llm_end: C",
            ]);
        }
    }
}
