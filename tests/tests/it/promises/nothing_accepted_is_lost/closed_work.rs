//! A shutdown ends the work under the runs that it closes: instrumented futures and streams
//! resolve with an error, and drop what they wrap. (Fault 10.)

use std::future::pending;

use futures_channel::oneshot;
use futures_util::{StreamExt, stream};
use rappel_openai::ChatOpenAi;
use rappel_tests::openai_server::{Fault, Script, Server};

use super::*;

/// A peer that never answers.
struct Silent {
    asked: oneshot::Sender<()>,
    socket: Socket,
}

/// What a call to the peer wraps. Dropping it closes it.
struct Socket(#[allow(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>);

/// What the peer sees.
struct Peer {
    is_asked: oneshot::Receiver<()>,
    is_closed: oneshot::Receiver<()>,
}

impl Silent {
    fn new() -> (Self, Peer) {
        let ((asked, is_asked), (open, is_closed)) = (oneshot::channel(), oneshot::channel());
        (Self { asked, socket: Socket(open) }, Peer { is_asked, is_closed })
    }

    async fn answer<T>(self) -> Result<T, RunError> {
        let _socket = self.socket;
        self.asked.send(()).unwrap();
        pending().await
    }
}

/// How long the server may take to see that its client has gone.
const NOTICES: Duration = Duration::from_secs(30);

fn question() -> Vec<Message> {
    vec![Message::human("hi")]
}

/// Shuts down, and asserts that the work has resolved as cancelled and has dropped what it wraps.
async fn assert_closes<T: std::fmt::Debug>(
    callbacks: &CallbackManager,
    work: impl Future<Output = Result<T, RunError>>,
    peer: Peer,
) {
    let shutdown = async {
        peer.is_asked.await.unwrap();
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        assert!(peer.is_closed.await.is_err());
    };
    let (output, ()) = futures_util::future::join(work, shutdown).await;
    assert!(matches!(output, Err(RunError::Cancelled)), "{output:?}");
}

on_every_runtime! {
    async fn instrumented_futures_resolve_when_their_run_is_closed(rt) {
        let callbacks = || rt.callbacks().with_handler(sync(Log::new()));
        let ((silent, peer), manager) = (Silent::new(), callbacks());
        let chain = silent.answer::<i32>().in_chain(&manager, "chain", 0);
        assert_closes(&manager, chain, peer).await;
        let ((silent, peer), manager) = (Silent::new(), callbacks());
        let tool = silent.answer::<i32>().in_tool(&manager, "tool", "input");
        assert_closes(&manager, tool, peer).await;
        let ((silent, peer), manager) = (Silent::new(), callbacks());
        let pages = silent.answer::<Vec<Document>>().in_retriever(&manager, "pages", "query");
        assert_closes(&manager, pages, peer).await;
    }

    /// Nested work resolves from the inside out, and its runs end in that order.
    async fn nested_futures_resolve_when_their_runs_are_closed(rt) {
        let watched = Watched::new(&rt);
        let (silent, peer) = Silent::new();
        let body = async {
            let current = CallbackManager::current().unwrap();
            silent.answer::<i32>().in_tool(&current, "tool", "input").await
        };
        let chain = body.in_chain(&watched.callbacks, "chain", 0);
        assert_closes(&watched.callbacks, chain, peer).await;
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "chain: chain_start: 0", "tool: tool_start: input",
            "tool: tool_error: cancelled", "chain: chain_error: cancelled",
        ]);
    }

    /// A task that waits for something else is woken by the shutdown.
    async fn a_task_under_a_closed_run_is_woken(rt) {
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let (silent, peer) = Silent::new();
        let task = rt.go({
            let callbacks = callbacks.clone();
            async move {
                silent.answer::<i32>().in_chain(&callbacks, "chain", 0).await
            }
        });
        peer.is_asked.await.unwrap();
        let report = callbacks.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(report.closed_runs, 1);
        assert!(peer.is_closed.await.is_err());
        assert!(matches!(task.await, Err(RunError::Cancelled)));
    }

    /// The end of a parent closes the work under its children as well.
    async fn work_resolves_when_the_end_of_a_parent_closes_its_run(rt) {
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let parent = chain(&callbacks, "parent").await;
        let (silent, peer) = Silent::new();
        let task = rt.go({
            let children = parent.child();
            async move {
                silent.answer::<i32>().in_tool(&children, "tool", "input").await
            }
        });
        peer.is_asked.await.unwrap();
        parent.end(json!(1)).await.unwrap();
        assert!(peer.is_closed.await.is_err());
        assert!(matches!(task.await, Err(RunError::Cancelled)));
    }

    /// The item that says so is an error, and the last one.
    async fn streams_resolve_when_their_run_is_closed(rt) {
        for of_chain in [false, true] {
            let callbacks = rt.callbacks().with_handler(sync(Log::new()));
            let (silent, peer) = Silent::new();
            let silent = stream::once(silent.answer::<String>());
            let task = rt.go({
                let callbacks = callbacks.clone();
                async move {
                    if of_chain {
                        let run = chain(&callbacks, "chain").await;
                        silent.boxed().with_chain_callbacks(run).collect::<Vec<_>>().await
                    } else {
                        let run = model(&callbacks, "model").await;
                        silent.boxed().with_callbacks(run).collect::<Vec<_>>().await
                    }
                }
            });
            peer.is_asked.await.unwrap();
            callbacks.shutdown(Duration::ZERO).await.unwrap();
            assert!(peer.is_closed.await.is_err());
            let items = task.await;
            assert!(matches!(items[..], [Err(RunError::Cancelled)]), "{items:?}");
        }
    }

    async fn until_closed_resolves_when_its_run_is_closed(rt) {
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let run = model(&callbacks, "run").await;
        let (silent, peer) = Silent::new();
        assert_eq!(run.until_closed(async { 1 }).await.unwrap(), 1);
        let answer = async { run.until_closed(silent.answer::<i32>()).await? };
        assert_closes(&callbacks, answer, peer).await;
        // Of a run that is closed already, at once.
        let closed = run.until_closed(pending::<()>()).await;
        assert!(matches!(closed, Err(RunError::Cancelled)), "{closed:?}");
    }

    /// What is wrapped is dropped with the poll that resolves, not with the future around it.
    async fn work_is_dropped_when_it_resolves_although_its_future_is_kept(rt) {
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let run = model(&callbacks, "run").await;
        let ((silent, mut peer), (in_chain, mut chains_peer)) = (Silent::new(), Silent::new());
        let mut work = Box::pin(run.until_closed(silent.answer::<i32>()));
        let mut chain = Box::pin(in_chain.answer::<i32>().in_chain(&callbacks, "chain", 0));
        assert!(poll_once(&mut work).await.is_none());
        while chains_peer.is_asked.try_recv().unwrap().is_none() {
            assert!(poll_once(&mut chain).await.is_none());
            yield_now().await;
        }
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(peer.is_closed.try_recv(), Ok(None), "it is dropped at its next poll");
        assert!(matches!(work.as_mut().await, Err(RunError::Cancelled)));
        assert!(peer.is_closed.try_recv().is_err());
        assert!(matches!(chain.as_mut().await, Err(RunError::Cancelled)));
        assert!(chains_peer.is_closed.try_recv().is_err());
    }

    /// A model that waits for a silent server closes its socket.
    async fn a_models_call_resolves_and_closes_its_socket(rt) {
        for streaming in [false, true] {
            let server = Server::start(Script::tokens(["a", "b"]).gated()).unwrap();
            let callbacks = rt.callbacks().with_handler(sync(Log::new()));
            let builder = ChatOpenAi::builder().model("m").base_url(server.base_url());
            let chat = builder.streaming(streaming).callbacks(&callbacks).build().unwrap();
            let task = rt.go(async move { chat.generate(vec![question()]).await.remove(0) });
            while server.requests().is_empty() {
                yield_now().await;
            }
            let report = callbacks.shutdown(Duration::ZERO).await.unwrap();
            assert_eq!(report.closed_runs, 1);
            let error = task.await.unwrap_err();
            assert!(matches!(error, RunError::Cancelled), "{error}");
            assert!(server.wait_broken_off(1, NOTICES), "streaming: {streaming}");
        }
    }

    async fn a_models_stream_ends_with_an_error_and_closes_its_socket(rt) {
        let server = Server::start(Script::tokens(["a", "b"]).fault(Fault::Stall(2))).unwrap();
        let callbacks = rt.callbacks().with_handler(sync(Log::new()));
        let builder = ChatOpenAi::builder().model("m").base_url(server.base_url());
        let chat = builder.callbacks(&callbacks).build().unwrap();
        let mut stream = chat.stream(question()).await.unwrap();
        stream.next().await.unwrap().unwrap();
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        let rest = stream.collect::<Vec<_>>().await;
        assert!(matches!(rest.last(), Some(Err(RunError::Cancelled))), "{rest:?}");
        assert!(server.wait_broken_off(1, NOTICES));
    }
}
