//! Futures and streams become runs. Code inside them finds its parent: at every poll, across tasks
//! and threads, inside handlers, and never in a neighbour.

use std::io;

use futures_lite::future::{poll_once, yield_now};
use futures_util::future::{BoxFuture, join};
use futures_util::{FutureExt, StreamExt, stream};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_openai::ChatOpenAi;
use rappel_tests::on_every_runtime;
use rappel_tests::openai_server::{Script, Server};
use rappel_tests::record::Log;

/// The name of the current run.
fn here() -> String {
    RunInfo::current().map_or("nowhere".to_owned(), |run| run.name().to_owned())
}

on_every_runtime! {
    async fn a_future_of_each_kind_starts_and_ends_its_run(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let chain = async { Ok::<_, RunError>(json!({"answer": 42})) };
        assert_eq!(
            chain
                .in_chain(&callbacks, "chain", "question")
                .await
                .unwrap(),
            json!({"answer": 42})
        );
        let tool = async { Err::<String, _>(RunError::failed("no such tool")) };
        assert_eq!(
            tool.in_tool(&callbacks, "tool", "input")
                .await
                .unwrap_err()
                .to_string(),
            "no such tool"
        );
        let retriever = async {
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(vec![Document::new("page")])
        };
        assert_eq!(
            retriever
                .in_retriever(&callbacks, "retriever", "query")
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            log.lines(),
            [
                "chain_start: \"question\"",
                "chain_end: {\"answer\":42}",
                "tool_start: input",
                "tool_error: failed",
                "retriever_start: query",
                "retriever_end: 1",
            ]
        );
    }

    async fn nested_code_finds_its_parent_at_every_poll(rt) {
        let (parents, children) = (Log::new(), Log::new());
        let seen = parents.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            seen.write(format!(
                "{} {} under {:?}",
                event.kind(),
                cx.name(),
                cx.parent_id().is_some()
            ));
            Ok(())
        }));
        let (inner, outer) = (children.clone(), children.clone());
        assert_eq!(here(), "nowhere");
        let tool = async move {
            inner.write(here());
            yield_now().await;
            inner.write(here());
            Ok::<_, RunError>(())
        };
        let chain = async move {
            outer.write(here());
            let current = CallbackManager::current().unwrap();
            yield_now().await;
            tool.in_tool(&current, "tool", "in").await?;
            outer.write(here());
            Ok::<_, RunError>(())
        };
        chain.in_chain(&callbacks, "chain", json!(0)).await.unwrap();
        assert_eq!(children.lines(), ["chain", "tool", "tool", "chain"]);
        assert_eq!(here(), "nowhere");
        assert!(CallbackManager::current().is_none());
        assert_eq!(
            parents.lines(),
            [
                "on_chain_start chain under false",
                "on_tool_start tool under true",
                "on_tool_end tool under true",
                "on_chain_end chain under false",
            ]
        );
    }

    async fn a_run_does_not_leak_to_a_neighbour(rt) {
        let callbacks = rt.callbacks();
        let run = |name: &'static str| {
            async move {
                for _ in 0..20 {
                    yield_now().await;
                    assert_eq!(here(), name);
                }
                Ok::<_, RunError>(())
            }
            .in_chain(&callbacks, name, json!(0))
        };
        let outside = async {
            for _ in 0..20 {
                yield_now().await;
                assert_eq!(here(), "nowhere");
            }
        };
        // On one task, and on two tasks.
        let ((first, second), ()) = join(join(run("first"), run("second")), outside).await;
        first.and(second).unwrap();
        let tasks = [rt.go(run("third")), rt.go(run("fourth"))];
        for task in tasks {
            task.await.unwrap();
        }
    }

    async fn a_spawned_task_takes_its_run_along(rt) {
        let tasks = rt.clone();
        let outer = async move {
            let with = tasks.go(async {
                yield_now().await;
                here()
            }
            .in_current_run());
            let without = tasks.go(async { here() });
            let of_manager =
                tasks.go(async { here() }.in_scope(&CallbackManager::current().unwrap()));
            let tool = CallbackManager::current()
                .unwrap()
                .on_tool_start(ToolStart::new("tool", "in"))
                .await?;
            let of_tool = async { here() }.in_run(&tool).await;
            tool.end("out").await?;
            Ok::<_, RunError>([with.await, without.await, of_manager.await, of_tool])
        };
        let seen = outer
            .in_chain(&rt.callbacks(), "outer", json!(0))
            .await
            .unwrap();
        assert_eq!(seen, ["outer", "nowhere", "outer", "tool"]);
    }

    async fn a_closure_on_a_thread_takes_its_run_along(rt) {
        let outer = async {
            let with = std::thread::spawn(here.in_current_run());
            let without = std::thread::spawn(here);
            Ok::<_, RunError>([with.join().unwrap(), without.join().unwrap()])
        };
        let seen = outer
            .in_chain(&rt.callbacks(), "outer", json!(0))
            .await
            .unwrap();
        assert_eq!(seen, ["outer", "nowhere"]);
    }

    /// A scope needs no run: code inside it finds the manager, and starts root runs on it.
    async fn a_manager_is_the_current_one_inside_its_scope(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_handler(log.handler())
            .with_inheritable_tags(["scope"]);
        let inside = async {
            assert_eq!(here(), "nowhere");
            let current = CallbackManager::current().unwrap();
            yield_now().await;
            let run = current.on_tool_start(ToolStart::new("tool", "in")).await?;
            assert_eq!(
                (run.info().parent_id(), run.info().tags()),
                (None, &["scope".to_owned()][..])
            );
            run.end("out").await
        };
        inside.in_scope(&callbacks).await.unwrap();
        assert!(CallbackManager::current().is_none());
        assert_eq!(log.lines(), ["tool_start: in", "tool_end: \"out\""]);
    }

    /// The emitter's run is the current run inside every handler, on every thread.
    async fn handlers_are_called_inside_the_emitters_run(rt) {
        let log = Log::new();
        let (sync, inline, asynchronous) = (log.clone(), log.clone(), log.clone());
        let callbacks = rt
            .callbacks()
            .with_handler(handler_fn(move |event, _| {
                sync.write(format!("{} {}", event.kind(), here()));
                Ok(())
            }))
            .with_handler_options(
                handler_fn(move |event, _| {
                    inline.write(format!("{} {}", event.kind(), here()));
                    Ok(())
                }),
                Awaited::new().inline(),
            )
            .with_async_handler(async_handler_fn(async move |event, _| {
                yield_now().await;
                asynchronous.write(format!("{} {}", event.kind(), here()));
                Ok(())
            }));
        let inside = async {
            let current = CallbackManager::current().unwrap();
            let run = current.on_llm_start(LlmStart::new("llm", "prompt")).await?;
            run.end(LlmResult::new()).await?;
            Ok::<_, RunError>(())
        };
        inside
            .in_chain(&callbacks, "chain", json!(0))
            .await
            .unwrap();
        let mut lines = log.lines();
        lines.sort();
        let of = |event: &str, place: &str| vec![format!("{event} {place}"); 3];
        let expected = [
            of("on_chain_end", "nowhere"),
            of("on_chain_start", "nowhere"),
            of("on_llm_end", "chain"),
            of("on_llm_start", "chain"),
        ];
        assert_eq!(lines, expected.concat());
    }

    /// A handler that starts a run in its call is called for that run too, and so on. That ends
    /// with an error, before the stack does.
    async fn handlers_that_emit_in_a_circle_reach_a_limit(rt) {
        let log = Log::new();
        let seen = log.clone();
        let circle = async_handler_fn(async move |event, _| {
            let starts = matches!(event, Event::ChainStart(_));
            let inner = async {
                // The outermost start is emitted in no run.
                if let Some(inside) = CallbackManager::current().filter(|_| starts) {
                    seen.write("called");
                    match inside
                        .on_chain_start(ChainStart::new("inner", json!(0)))
                        .await
                    {
                        Ok(run) => run.end(json!(1)).await?,
                        Err(EmitError::TooDeep) => seen.write("too deep"),
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            };
            // Boxed, because the future would contain itself.
            let inner: BoxFuture<'_, HandlerResult> = Box::pin(inner);
            inner.await
        });
        let callbacks = rt.callbacks().with_async_handler(circle);
        let outer = async {
            CallbackManager::current()
                .unwrap()
                .group("first")
                .await?
                .end(json!(1))
                .await
                .map_err(RunError::from)
        };
        outer.in_chain(&callbacks, "outer", json!(0)).await.unwrap();
        let lines = log.lines();
        assert_eq!(lines.last().unwrap(), "too deep");
        assert_eq!(lines.iter().filter(|line| *line == "called").count(), 32);
    }

    async fn a_dropped_future_cancels_the_runs_inside_it_first(rt: with_blocking_threads) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let tool = std::future::pending::<Result<(), RunError>>();
        let chain = async {
            let current = CallbackManager::current().unwrap();
            tool.in_tool(&current, "tool", "in").await
        };
        let mut chain = Box::pin(chain.in_chain(&callbacks, "chain", json!(0)));
        while log.lines().len() < 2 {
            assert!(poll_once(&mut chain).await.is_none());
        }
        drop(chain);
        callbacks.flush().await.unwrap();
        assert_eq!(
            log.lines(),
            [
                "chain_start: 0",
                "tool_start: in",
                "tool_error: cancelled",
                "chain_error: cancelled"
            ]
        );
    }

    async fn a_handler_that_raises_stops_the_future(rt) {
        let log = Log::new();
        let gate = handler_fn(|event, _| match event {
            Event::ToolStart(_) => Err(HandlerError::new("not that tool")),
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_handler(log.handler())
            .with_handler_options(gate, Awaited::new().raise_error());
        let tool = async { panic!("it was stopped") };
        let result: Result<(), RunError> = tool.in_tool(&callbacks, "tool", "in").await;
        assert!(matches!(result, Err(RunError::Stopped(_))), "{result:?}");
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["tool_start: in", "tool_error: stopped"]);
    }

    async fn a_panic_inside_ends_the_run_as_panicked(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let broken = async { panic!("it broke") };
        let run = InRun::in_chain::<(), RunError>(broken, &callbacks, "chain", json!(0));
        assert!(
            std::panic::AssertUnwindSafe(run)
                .catch_unwind()
                .await
                .is_err()
        );
        assert_eq!(here(), "nowhere");
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["chain_start: 0", "chain_error: panicked"]);
    }

    async fn a_stream_ends_its_chain_with_its_items(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let start = || callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
        let texts = stream::iter(["a", "b"]).map(|item| {
            assert_eq!(here(), "chain");
            Ok::<_, io::Error>(item)
        });
        assert_eq!(
            texts
                .with_chain_callbacks(start().await.unwrap())
                .count()
                .await,
            2
        );
        let numbers = stream::iter([1, 2]).map(Ok::<_, io::Error>);
        assert_eq!(
            numbers
                .with_chain_callbacks(start().await.unwrap())
                .count()
                .await,
            2
        );
        let cut = stream::iter([Ok(1), Err(io::Error::other("cut"))]);
        assert_eq!(
            cut.with_chain_callbacks(start().await.unwrap())
                .count()
                .await,
            2
        );
        let mut dropped = Box::pin(
            stream::iter([1, 2])
                .map(Ok::<_, io::Error>)
                .with_chain_callbacks(start().await.unwrap()),
        );
        assert!(dropped.next().await.is_some());
        drop(dropped);
        callbacks.flush().await.unwrap();
        let ends: Vec<String> = log
            .lines()
            .into_iter()
            .filter(|line| !line.starts_with("chain_start"))
            .collect();
        assert_eq!(
            ends,
            [
                "chain_end: \"ab\"",
                "chain_end: [1,2]",
                "chain_error: failed",
                "chain_error: cancelled"
            ]
        );
    }

    /// A model that is called inside a run needs no callbacks of its own.
    async fn a_model_is_a_child_of_the_run_that_it_is_called_in(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .build()
            .unwrap();
        let log = Log::new();
        let seen = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, cx| {
            seen.write(format!(
                "{} {}",
                event.kind(),
                cx.parent_id() == Some(cx.root_id())
            ));
            Ok(())
        }));
        let chain = async {
            let result = chat.invoke("hi").await?;
            Ok::<_, RunError>(result.text().to_owned())
        };
        assert_eq!(
            chain.in_chain(&callbacks, "chain", json!(0)).await.unwrap(),
            "hi"
        );
        assert_eq!(
            log.lines(),
            [
                "on_chain_start false",
                "on_chat_model_start true",
                "on_llm_end true",
                "on_chain_end false"
            ]
        );
    }
}
