//! Runs of one tree that end on several tasks at once.

use std::pin::pin;

use futures_channel::oneshot;
use futures_util::future::{join_all, select};
use rappel_tests::on_every_runtime;

use super::*;

/// Streams until it is dropped or its run is closed.
async fn endless_model(callbacks: CallbackManager) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await?;
    loop {
        run.on_llm_new_token("more ").await?;
        yield_now().await;
    }
}

on_every_runtime! {
    /// On a runtime with several threads, the drop comes while handlers are in their calls.
    async fn a_chain_that_is_dropped_on_another_thread_ends_after_its_children(rt) {
        for round in 0..30 {
            let forest = Forest::new(&rt);
            let (cut, is_cut) = oneshot::channel::<()>();
            let callbacks = forest.callbacks.clone();
            let task = rt.go(async move {
                let body = async {
                    let current = CallbackManager::current().unwrap();
                    let tool = async { endless_model(CallbackManager::current().unwrap()).await };
                    tool.in_tool(&current, "tool", "input").await
                };
                let chain = body.in_chain(&callbacks, "chain", 0);
                select(pin!(chain), is_cut).await;
            });
            for _ in 0..round {
                yield_now().await;
            }
            drop(cut);
            task.await;
            forest.assert_in_order().await;
        }
    }

    /// Children end, fail and are dropped on tasks of their own while their parent ends.
    async fn a_parent_that_ends_beside_its_children_ends_after_each_of_them(rt) {
        for round in 0..20 {
            let forest = Forest::new(&rt);
            let parent = chain(&forest.callbacks, "parent").await;
            let mut children = Vec::new();
            for _ in 0..6 {
                children.push(chain(&parent.child(), "child").await);
            }
            let tasks = children.into_iter().enumerate().map(|(number, mut child)| {
                rt.go(async move {
                    for _ in 0..(round + number) % 5 {
                        yield_now().await;
                    }
                    let _ = child.on_text("a").await;
                    match number % 3 {
                        0 => drop(child.end(json!(1)).await),
                        1 => drop(child.fail("broken").await),
                        _ => drop(child),
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            for _ in 0..round % 5 {
                yield_now().await;
            }
            parent.end(json!(1)).await.unwrap();
            forest.assert_whole(7).await;
            join_all(tasks).await;
            forest.assert_whole(7).await;
        }
    }

    /// Runs that start while their parent ends are either below it, and end before it, or are
    /// detached.
    async fn a_start_beside_the_end_of_its_parent_is_heard_whole(rt) {
        for round in 0..20 {
            let watched = Watched::new(&rt);
            let parent = chain(&watched.callbacks, "parent").await;
            let children = parent.child();
            let task = rt.go(async move {
                for _ in 0..round % 4 {
                    yield_now().await;
                }
                if let Ok(child) = children.on_tool_start(ToolStart::new("child", "input")).await {
                    drop(child.end("out").await);
                }
            });
            for _ in 0..round % 3 {
                yield_now().await;
            }
            parent.end(json!(1)).await.unwrap();
            task.await;
            watched.callbacks.flush().await.unwrap();
            for (handler, lines) in watched.of("child") {
                // If the parent's end came before its acceptance, it has not happened.
                let Some(start) = lines.first() else { continue };
                assert_eq!(start, "tool_start: input", "{handler}");
                assert_eq!(lines.len(), 2, "{handler}: {lines:?}");
            }
            for (handler, lines) in watched.of("parent") {
                assert_eq!(lines, ["chain_start: 0", "chain_end: 1"], "{handler}");
            }
        }
    }

    async fn a_shutdown_beside_running_work_closes_it_from_the_deepest_up(rt) {
        for round in 0..10 {
            let forest = Forest::new(&rt);
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let callbacks = forest.callbacks.clone();
                    rt.go(async move {
                        let body = async {
                            let current = CallbackManager::current().unwrap();
                            endless_model(current.clone()).in_tool(&current, "tool", "input").await
                        };
                        body.in_chain(&callbacks, "chain", 0).await.unwrap_err()
                    })
                })
                .collect();
            for _ in 0..round * 3 {
                yield_now().await;
            }
            forest.callbacks.shutdown(Duration::ZERO).await.unwrap();
            join_all(tasks).await;
            forest.assert_in_order().await;
        }
    }
}
