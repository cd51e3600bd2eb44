//! Every operation, ended in every way: exactly one start and exactly one end, for a sync and for
//! an async handler.

use std::future::pending;
use std::io;

use futures_util::{StreamExt, stream};
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Fault, Script, Server};

use super::*;

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

/// Runs `operation` in each way, and checks that both kinds of handler saw one start and the one
/// end that belongs to that way.
async fn close_in_every_way(
    rt: &Rt,
    name: &str,
    operation: impl AsyncFn(&CallbackManager, &Log, Way),
) {
    for way in WAYS {
        let (sync, asynchronous) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        operation(&callbacks, &sync, way).await;
        callbacks.flush().await.unwrap();
        for log in [sync, asynchronous] {
            check(&log.lines(), way, name);
        }
    }
}

fn check(lines: &[String], way: Way, name: &str) {
    let with = |part: &str| {
        let kinds = lines.iter().filter_map(|line| line.split(':').next());
        kinds.filter(|kind| kind.ends_with(part)).count()
    };
    let (starts, ends, errors) = (with("_start"), with("_end"), with("_error"));
    let expected = if way == Way::Success { (1, 1, 0) } else { (1, 0, 1) };
    assert_eq!((starts, ends, errors), expected, "{name}, {way:?}: {lines:?}");
    let outcome = match way {
        Way::Success => "_end: ",
        Way::Error => "_error: failed",
        Way::Cancel | Way::EarlyClose => "_error: cancelled",
    };
    assert!(lines.last().unwrap().contains(outcome), "{name}, {way:?}: {lines:?}");
}

/// Polls a future that never ends until the handlers have seen something, and drops it.
async fn poll_and_drop(future: impl Future, log: &Log) {
    let mut future = Box::pin(future);
    while log.lines().is_empty() {
        assert!(poll_once(&mut future).await.is_none());
        yield_now().await;
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

fn chat(server: &Server, callbacks: &CallbackManager, streaming: bool) -> ChatOpenAi {
    let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).streaming(streaming);
    chat.callbacks(callbacks).build().unwrap()
}

fn question() -> Vec<Message> {
    vec![Message::human("hi")]
}

async fn generate(callbacks: &CallbackManager, log: &Log, way: Way, streaming: bool) {
    let server = server(way);
    let chat = chat(&server, callbacks, streaming);
    let generation = chat.generate(vec![question()]);
    match way {
        Way::Success | Way::Error => {
            assert_eq!(generation.await.remove(0).is_ok(), way == Way::Success);
        }
        Way::Cancel | Way::EarlyClose => poll_and_drop(generation, log).await,
    }
}

async fn stream_of(callbacks: &CallbackManager, log: &Log, way: Way) {
    let server = server(way);
    let chat = chat(&server, callbacks, false);
    match way {
        Way::Success | Way::Error => {
            let items = chat.stream(question()).await.unwrap().collect::<Vec<_>>().await;
            assert_eq!(items.last().unwrap().is_ok(), way == Way::Success);
        }
        Way::Cancel => {
            let whole = async { chat.stream(question()).await.unwrap().count().await };
            poll_and_drop(whole, log).await;
        }
        Way::EarlyClose => {
            let mut stream = chat.stream(question()).await.unwrap();
            stream.next().await.unwrap().unwrap();
        }
    }
}

/// What a run's future does in that way. For `EarlyClose` the run is handled by hand.
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

async fn text_model(callbacks: &CallbackManager, way: Way) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await?;
    run.on_llm_new_token("a").await?;
    match outcome(way, "a").await {
        Ok(result) => Ok(run.end(result).await?),
        Err(error) => {
            run.fail(error.clone()).await?;
            Err(error)
        }
    }
}

async fn group(callbacks: &CallbackManager, way: Way) -> Result<(), RunError> {
    let group = callbacks.group("group").await?;
    match outcome(way, json!({})).await {
        Ok(outputs) => Ok(group.end(outputs).await?),
        Err(error) => {
            group.fail(error.clone()).await?;
            Err(error)
        }
    }
}

async fn streamed_chain(callbacks: &CallbackManager, log: &Log, way: Way) {
    let end = match way {
        Way::Success => stream::empty().boxed(),
        Way::Error => stream::iter([Err(io::Error::other("cut"))]).boxed(),
        Way::Cancel | Way::EarlyClose => stream::pending().boxed(),
    };
    let items = stream::iter([Ok("a")]).chain(end);
    let mut items = items.with_chain_callbacks(chain(callbacks, "chain").await);
    match way {
        Way::Success | Way::Error => {
            let items = items.collect::<Vec<_>>().await;
            assert_eq!(items.last().unwrap().is_ok(), way == Way::Success);
        }
        Way::Cancel => poll_and_drop(items.count(), log).await,
        Way::EarlyClose => assert!(items.next().await.is_some()),
    }
}

on_every_runtime! {
    async fn a_generation_has_one_start_and_one_end(rt) {
        for streaming in [false, true] {
            let name = format!("generate, streaming {streaming}");
            let operation =
                async |callbacks: &CallbackManager, log: &Log, way|
                    generate(callbacks, log, way, streaming).await;
            close_in_every_way(&rt, &name, operation).await;
        }
    }

    async fn a_chat_models_stream_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "stream", stream_of).await;
    }

    async fn a_text_models_run_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "text model", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(model(callbacks, "llm").await),
            _ => in_way(text_model(callbacks, way), log, way).await,
        }).await;
    }

    async fn a_chain_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "chain", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(chain(callbacks, "chain").await),
            _ => in_way(outcome(way, 1).in_chain(callbacks, "chain", json!(0)), log, way).await,
        }).await;
    }

    async fn a_chains_stream_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "streamed chain", streamed_chain).await;
    }

    async fn a_tool_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "tool", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(tool(callbacks, "tool").await),
            _ => in_way(outcome(way, "out").in_tool(callbacks, "tool", "in"), log, way).await,
        }).await;
    }

    async fn a_retriever_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "retriever", async |callbacks, log, way| {
            let pages = outcome(way, vec![Document::new("page")]);
            match way {
                Way::EarlyClose => {
                    let start = RetrieverStart::new("retriever", "query");
                    drop(callbacks.on_retriever_start(start).await.unwrap());
                }
                _ => in_way(pages.in_retriever(callbacks, "retriever", "query"), log, way).await,
            }
        }).await;
    }

    async fn a_group_has_one_start_and_one_end(rt) {
        close_in_every_way(&rt, "group", async |callbacks, log, way| match way {
            Way::EarlyClose => drop(callbacks.group("group").await.unwrap()),
            _ => in_way(group(callbacks, way), log, way).await,
        }).await;
    }

    /// One prompt of a batch fails. The others end by themselves.
    async fn each_run_of_a_batch_ends_by_itself(rt) {
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            seen.write(line(event));
            if let Event::LlmStart(start) = event {
                seen.write(format!("one of {}", start.batch_size));
            }
            Ok(())
        }));
        let starts = ["a", "b", "c"].map(|prompt| LlmStart::new("llm", prompt));
        let runs = callbacks.on_llm_starts(starts).await.into_iter().map(Result::unwrap);
        let Ok([first, second, third]) = <[LlmRun; 3]>::try_from(runs.collect::<Vec<_>>()) else {
            panic!("a run for each start")
        };
        second.fail("it broke").await.unwrap();
        first.end("A").await.unwrap();
        third.end("C").await.unwrap();
        assert_eq!(log.lines(), [
            "llm_start: a", "one of 3", "llm_start: b", "one of 3", "llm_start: c", "one of 3",
            "llm_error: failed: ", "llm_end: A", "llm_end: C",
        ]);
    }
}
