//! Scopes: a manager or a run that code inside finds by itself, across tasks and closures.

use std::thread;

use futures_channel::oneshot;
use rappel_core::BlockingExecutor;
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Script, Server};

use super::*;

on_every_runtime! {
    /// Inside, starts without a manager of their own find the handlers; there is no run.
    async fn a_manager_applies_to_everything_in_its_scope(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(sync(log.clone())).with_tags(["scope"]);
        let inside = async {
            assert_eq!(here(), "nowhere");
            yield_now().await;
            let run = chain(&current(), "chain").await;
            assert_eq!(
                (run.info().parent_id(), run.info().tags()),
                (None, &["scope".to_owned()][..])
            );
            run.end(json!(1)).await.unwrap();
        };
        inside.in_scope(&callbacks).await;
        assert!(CallbackManager::current().is_none());
        assert_eq!(log.lines(), ["chain: chain_start: 0", "chain: chain_end: 1"]);
    }

    async fn a_model_in_a_scope_finds_its_handlers(rt) {
        let server = Server::start(Script::tokens(["hi"])).unwrap();
        let chat = ChatOpenAi::builder().model("m").base_url(server.base_url()).build().unwrap();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let answer = async { chat.invoke("hello").await }.in_scope(&callbacks).await.unwrap();
        assert_eq!(answer.text(), "hi");
        assert_eq!(log.lines(), ["chat_model_start: Human: hello", "llm_end: hi"]);
    }

    /// A scope inside a run hides that run until it ends.
    async fn a_scope_inside_a_run_applies_until_its_end(rt) {
        let (outer, inner) = (Log::new(), Log::new());
        let of_outer = rt.callbacks().with_handler(sync(outer.clone()));
        let of_inner = rt.callbacks().with_handler(sync(inner.clone()));
        let body = async {
            let inside = async { streamed(current(), "inside".into(), 0).await };
            inside.in_scope(&of_inner).await?;
            assert_eq!(here(), "chain");
            streamed(current(), "after".into(), 0).await
        };
        body.in_chain(&of_outer, "chain", 0).await.unwrap();
        assert_eq!(inner.lines(), ["inside: llm_start: prompt", "inside: llm_end: all"]);
        assert_eq!(outer.lines(), [
            "chain: chain_start: 0", "after: llm_start: prompt", "after: llm_end: all",
            "chain: chain_end: null",
        ]);
    }

    /// Tasks and closures take the scope along, and leave nothing behind on their threads.
    async fn a_scope_goes_along_to_tasks_and_closures(rt) {
        let callbacks = rt.callbacks();
        let tasks = rt.clone();
        let inside = async move {
            let has_one = || CallbackManager::current().is_some();
            let task = tasks.go(async move { has_one() }.in_current_run());
            let without = tasks.go(async move { has_one() });
            let thread = thread::spawn(has_one.in_current_run());
            [task.await, without.await, thread.join().unwrap()]
        };
        assert_eq!(inside.in_scope(&callbacks).await, [true, false, true]);
    }

    async fn a_run_goes_along_to_closures_on_other_threads(rt: with_blocking_threads) {
        let jobs = rt.clone();
        let inside = async move {
            let (told, seen) = oneshot::channel();
            let job = move || {
                let before = here();
                let nested = (|| here()).in_current_run();
                told.send((before, nested())).unwrap();
            };
            jobs.spawn_blocking_boxed(Box::new(job.in_current_run())).unwrap();
            let (told_without, seen_without) = oneshot::channel();
            jobs.spawn_blocking_boxed(Box::new(move || told_without.send(here()).unwrap()))
                .unwrap();
            let on_thread = thread::spawn((|| here()).in_current_run());
            let after = on_thread.join().unwrap();
            Ok::<_, RunError>((seen.await.unwrap(), seen_without.await.unwrap(), after))
        };
        let seen = inside.in_chain(&rt.callbacks(), "chain", 0).await.unwrap();
        let chain = "chain".to_owned();
        assert_eq!(seen, ((chain.clone(), chain.clone()), "nowhere".to_owned(), chain));
        assert_eq!(here(), "nowhere");
    }

    /// A closure of one run that is called inside another one is in its own.
    async fn a_closure_does_not_see_the_run_that_it_is_called_in(rt) {
        let callbacks = rt.callbacks();
        let own = async { Ok::<_, RunError>(()) };
        let closure = Arc::new(Mutex::new(None));
        let kept = closure.clone();
        let body = async move {
            *kept.lock().unwrap() = Some(here.in_current_run());
            own.await
        };
        body.in_chain(&callbacks, "own", 0).await.unwrap();
        let neighbour = async {
            let closure = closure.lock().unwrap().take().unwrap();
            assert_eq!(closure(), "own");
            assert_eq!(here(), "neighbour");
            Ok::<_, RunError>(())
        };
        neighbour.in_chain(&callbacks, "neighbour", 0).await.unwrap();
    }

    /// A handler's call may start tasks and closures that find the same parent as the call.
    async fn tasks_of_a_handlers_call_find_the_parent_of_the_call(rt) {
        let (told, mut seen) = futures_channel::mpsc::unbounded();
        let tasks = rt.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            if matches!(event, Event::LlmNewToken(_)) {
                let told = told.clone();
                let task = async move { told.unbounded_send(here()).unwrap() };
                drop(tasks.go(task.in_current_run()));
            }
            Ok(())
        }));
        let body = async { streamed(current(), "model".into(), 1).await };
        body.in_chain(&callbacks, "chain", 0).await.unwrap();
        assert_eq!(futures_util::StreamExt::next(&mut seen).await.unwrap(), "chain");
    }
}
