//! Handlers that are not `Send`, on tokio's `LocalSet`, smol's `LocalExecutor` and the `LocalPool`
//! of `futures`.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::{FailureCause, for_each_event};
use rappel_local::prelude::*;
use rappel_local::{FromFuturesLocalSpawn, Inbox, LocalHandlerFuture, LocalSpawner, WrongThread};
use rappel_tests::record::line;
use rappel_tests::runtimes::{Watchdog, run_smol_local, run_tokio_local_set};
use rappel_threads::Threads;
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::every_handler_is_called::emit_everything;

assert_not_impl_any!(LocalCallbackManager: Send, Sync);
assert_not_impl_any!(LocalHandlerFuture<'static>: Send);
assert_not_impl_any!(Inbox: Send);
assert_impl_all!(Local: Send, Sync, Unpin, Clone);
assert_impl_all!(Local<Threads>: Send, Sync, Unpin, Clone, rappel_core::Timer);
assert_impl_all!(WrongThread: Send, Sync, std::error::Error);

type Lines = Rc<RefCell<Vec<String>>>;

macro_rules! on_every_local_executor {
    ($($(#[$meta:meta])* async fn $name:ident($spawner:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($spawner: impl LocalSpawner) $body

            #[test]
            fn tokio_local_set() {
                let _watchdog = Watchdog::start("TokioLocalSet");
                run_tokio_local_set(body);
            }

            #[test]
            fn smol_local_executor() {
                let _watchdog = Watchdog::start("SmolLocal");
                run_smol_local(body);
            }

            #[test]
            fn futures_local_pool() {
                let _watchdog = Watchdog::start("FuturesLocalPool");
                let mut pool = futures_executor::LocalPool::new();
                let spawner = FromFuturesLocalSpawn(pool.spawner());
                pool.run_until(body(spawner));
            }
        }
    )+};
}

fn sync(lines: &Lines) -> impl CallbackHandler + use<> {
    let lines = lines.clone();
    handler_fn(move |event, cx| {
        lines.borrow_mut().push(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

/// Holds its `Rc` across an `await`.
fn asynchronous(lines: &Lines) -> impl LocalAsyncCallbackHandler + use<> {
    let lines = lines.clone();
    local_async_handler_fn(async move |event, cx| {
        let line = format!("{}: {}", cx.name(), line(event));
        yield_now().await;
        lines.borrow_mut().push(line);
        Ok(())
    })
}

type Failures = Arc<Mutex<Vec<HandlerFailure>>>;

fn reporting(callbacks: LocalCallbackManager) -> (LocalCallbackManager, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let callbacks =
        callbacks.on_handler_failure(move |failure| kept.lock().unwrap().push(failure.clone()));
    (callbacks, failures)
}

fn manager(spawner: impl LocalSpawner) -> (LocalCallbackManager, Failures) {
    reporting(LocalCallbackManager::without_timer(Local::new(spawner)))
}

fn causes(failures: &Failures) -> Vec<String> {
    let failures = failures.lock().unwrap();
    failures
        .iter()
        .map(|failure| format!("{} in {}: {}", failure.handler, failure.event, failure.cause))
        .collect()
}

async fn streamed(
    callbacks: &CallbackManager,
    name: &'static str,
    tokens: usize,
) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
    for number in 0..tokens {
        run.on_llm_new_token(format!("{number} ")).await?;
    }
    run.end(LlmResult::from_text("all")).await?;
    Ok(())
}

fn whole(name: &str, tokens: usize) -> Vec<String> {
    let mut lines = vec![format!("{name}: llm_start: prompt")];
    lines.extend((0..tokens).map(|number| format!("{name}: token: {number} ")));
    lines.push(format!("{name}: llm_end: all"));
    lines
}

/// Runs `f` on another thread.
fn elsewhere<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// A value that notes the thread on which it is dropped.
struct Noted(Arc<Mutex<Vec<thread::ThreadId>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

fn named(name: &str) -> HandlerOptions {
    HandlerOptions::new().name(name)
}

macro_rules! every_method {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// Has each method of core's table. It does not compile if a trait lacks one.
        struct Methods(Lines);

        impl CallbackHandler for Methods {
            $(fn $method(&mut self, event: &rappel_core::$variant, _: &EventContext) -> HandlerResult {
                assert_eq!(Event::from(event.clone()).kind().method(), stringify!($method));
                self.0.borrow_mut().push(stringify!($method).to_owned());
                Ok(())
            })+
        }

        impl LocalAsyncCallbackHandler for Methods {
            $(async fn $method(&self, event: &rappel_core::$variant, _: &EventContext) -> HandlerResult {
                assert_eq!(Event::from(event.clone()).kind().method(), stringify!($method));
                yield_now().await;
                self.0.borrow_mut().push(stringify!($method).to_owned());
                Ok(())
            })+
        }
    };
}
for_each_event!(every_method);

on_every_local_executor! {
    /// Events of every kind come to the method of that name, in core's order.
    async fn local_handlers_get_every_kind_of_event(spawner) {
        let (callbacks, failures) = manager(spawner);
        let (sync, asynchronous) = (Lines::default(), Lines::default());
        let core = Arc::new(Mutex::new(Vec::new()));
        let log = core.clone();
        let callbacks = callbacks
            .with_handler(Methods(sync.clone()))
            .with_async_handler(Methods(asynchronous.clone()))
            .map(|callbacks| {
                callbacks.with_handler(handler_fn(move |event, _| {
                    log.lock().unwrap().push(event.kind());
                    Ok(())
                }))
            })
            .into_manager();
        emit_everything(&callbacks).await.unwrap();
        let core = core.lock().unwrap();
        let missing: Vec<_> = EventKind::ALL
            .iter()
            .filter(|kind| !core.contains(kind))
            .collect();
        assert!(missing.is_empty(), "this test does not emit: {missing:?}");
        let expected: Vec<_> = core.iter().map(|kind| kind.method()).collect();
        assert_eq!(*sync.borrow(), expected);
        assert_eq!(*asynchronous.borrow(), expected);
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    async fn local_handlers_see_a_runs_events_in_order_in_every_delivery(spawner) {
        let narrow = Pipelined::new(1);
        let background = Background::new(4).open_traces(100).overflow(Overflow::Wait);
        let lines: [Lines; 8] = Default::default();
        let (callbacks, failures) = manager(spawner);
        let callbacks = callbacks
            .with_handler(sync(&lines[0]))
            .with_handler_options(sync(&lines[1]), Awaited::new().inline())
            .with_handler_options(sync(&lines[2]), narrow)
            .with_handler_options(sync(&lines[3]), background)
            .with_async_handler(asynchronous(&lines[4]))
            .with_async_handler_options(asynchronous(&lines[5]), HandlerOptions::new().on_runtime())
            .with_async_handler_options(asynchronous(&lines[6]), narrow)
            .with_async_handler_options(asynchronous(&lines[7]), background);
        let manager = CallbackManager::from(&callbacks);
        futures_util::future::join(streamed(&manager, "one", 30), streamed(&manager, "two", 30))
            .await
            .0
            .unwrap();
        callbacks.flush().await.unwrap();
        for (handler, lines) in lines.iter().enumerate() {
            for name in ["one", "two"] {
                let of: Vec<_> = lines
                    .borrow()
                    .iter()
                    .filter(|line| line.starts_with(name))
                    .cloned()
                    .collect();
                assert_eq!(of, whole(name, 30), "{handler}");
            }
        }
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    async fn a_dropped_run_is_cancelled_once_for_local_handlers(spawner) {
        let lines: [Lines; 2] = Default::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks
            .with_handler(sync(&lines[0]))
            .with_async_handler(asynchronous(&lines[1]));
        let mut run = callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .await
            .unwrap();
        run.on_llm_new_token("a").await.unwrap();
        drop(run.on_llm_new_token("b"));
        drop(run);
        callbacks.flush().await.unwrap();
        for lines in &lines {
            assert_eq!(
                *lines.borrow(),
                [
                    "run: llm_start: prompt",
                    "run: token: a",
                    "run: llm_error: cancelled: a"
                ]
            );
        }
    }

    async fn a_failure_of_a_local_handler_harms_no_other(spawner) {
        let (callbacks, failures) = manager(spawner);
        let (lines, state) = (
            Lines::default(),
            Rc::new(RefCell::new(sync(&Lines::default()))),
        );
        let callbacks = callbacks
            .with_handler_options(handler_fn(|_, _| Err("broken".into())), named("fails"))
            .with_handler_options(handler_fn(|_, _| panic!("oh")), named("panics"))
            .with_async_handler_options(
                local_async_handler_fn(async |_, _| panic!("oh")),
                named("panics, async"),
            )
            .with_handler_options(state.clone(), named("borrowed"))
            .with_handler(sync(&lines));
        // The handler stays borrowed.
        std::mem::forget(state.borrow());
        callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .await
            .unwrap()
            .end(LlmResult::from_text("all"))
            .await
            .unwrap();
        assert_eq!(*lines.borrow(), whole("run", 0));
        let mut causes = causes(&failures);
        causes.retain(|cause| cause.contains("on_llm_end"));
        causes.sort();
        assert_eq!(causes.len(), 4, "{causes:?}");
        assert!(
            causes[0].starts_with("borrowed in on_llm_end: ") && causes[0].contains("borrowed"),
            "{causes:?}"
        );
        assert_eq!(
            causes[1..],
            [
                "fails in on_llm_end: broken",
                "panics in on_llm_end: panicked: oh",
                "panics, async in on_llm_end: panicked: oh"
            ]
        );
    }

    async fn a_local_handler_has_its_own_interest_and_name(spawner) {
        struct Tokens(Lines);

        impl CallbackHandler for Tokens {
            fn name(&self) -> &str {
                "tokens"
            }
            fn interest(&self) -> Interest {
                Interest::only(EventKind::LlmNewToken).with_token_times()
            }
            fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
                assert!(cx.time().is_some());
                self.0.borrow_mut().push(event.kind().method().to_owned());
                Ok(())
            }
        }

        struct Ends(Lines);

        impl LocalAsyncCallbackHandler for Ends {
            fn interest(&self) -> Interest {
                Interest::none().with(EventKind::LlmEnd)
            }
            fn on_event<'a>(
                &'a self,
                event: &'a Event,
                _: &'a EventContext,
            ) -> LocalHandlerFuture<'a> {
                LocalHandlerFuture::new(async {
                    self.0.borrow_mut().push(event.kind().method().to_owned());
                    Ok(())
                })
            }
        }

        let lines = Lines::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks
            .with_handler(Rc::new(RefCell::new(Tokens(lines.clone()))))
            .with_async_handler(Rc::new(Ends(lines.clone())));
        let boxed: Box<dyn CallbackHandler> = Box::new(Tokens(lines.clone()));
        let callbacks = callbacks.with_handler(boxed);
        let manager = CallbackManager::from(&callbacks);
        streamed(&manager, "run", 1).await.unwrap();
        assert_eq!(
            *lines.borrow(),
            ["on_llm_new_token", "on_llm_new_token", "on_llm_end"]
        );
        let names: Vec<_> = callbacks
            .stats()
            .iter()
            .map(|stats| stats.name.to_string())
            .collect();
        assert!(
            names[0].ends_with("Tokens") && names[1].ends_with("Ends") && names[2] == "tokens",
            "{names:?}"
        );
    }

    async fn code_inside_a_chain_finds_local_handlers(spawner) {
        let lines = Lines::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks
            .with_handler(sync(&lines))
            .with_inheritable_tags(["local"]);
        let answer = async {
            let inside = CallbackManager::current().unwrap();
            let run = inside.on_tool_start(ToolStart::new("tool", "in")).await?;
            assert_eq!(run.info().tags(), ["local"]);
            run.end("out").await?;
            Ok::<_, RunError>("42")
        };
        answer
            .in_chain(&callbacks, "chain", "question")
            .await
            .unwrap();
        assert_eq!(
            *lines.borrow(),
            [
                "chain: chain_start: \"question\"",
                "tool: tool_start: in",
                "tool: tool_end: \"out\"",
                "chain: chain_end: \"42\""
            ]
        );
    }

    /// A `Send` handler is called on the threads of the manager that it was registered with.
    async fn merged_handlers_keep_the_threads_of_their_managers(spawner) {
        let (local, lines, threads) = (
            Local::new(spawner),
            Lines::default(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let kept = threads.clone();
        let blocking = CallbackManager::new((local.clone(), Threads::new())).with_handler(
            handler_fn(move |_, _| {
                kept.lock().unwrap().push(thread::current().id());
                Ok(())
            }),
        );
        let (callbacks, failures) = reporting(LocalCallbackManager::without_timer(local));
        let callbacks = callbacks.with_handler(sync(&lines)).merge(&blocking);
        streamed(&CallbackManager::from(&callbacks), "run", 3)
            .await
            .unwrap();
        assert_eq!(*lines.borrow(), whole("run", 3));
        let threads = threads.lock().unwrap();
        assert!(
            threads.len() == 5 && !threads.contains(&thread::current().id()),
            "{threads:?}"
        );
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    /// A thread that waits keeps its own tasks from going on.
    async fn a_wait_is_for_other_threads_than_the_executors(spawner) {
        let (local, inbox) = Local::with_inbox(spawner);
        let (callbacks, failures) = reporting(LocalCallbackManager::without_timer(local));
        let lines = Lines::default();
        let callbacks = callbacks
            .with_async_handler_options(asynchronous(&lines), HandlerOptions::new().on_runtime());
        let here = callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .wait();
        assert!(matches!(here, Err(EmitError::WouldBlock)));
        assert_eq!(lines.borrow().len(), 0);
        drop(
            callbacks
                .on_llm_start(LlmStart::new("run", "prompt"))
                .await
                .unwrap(),
        );
        let manager = CallbackManager::from(&callbacks);
        let (done, output) = futures_channel::oneshot::channel();
        let other = thread::spawn(move || {
            let run = manager
                .on_llm_start(LlmStart::new("other", "prompt"))
                .wait();
            let _ = done.send(run.and_then(|run| run.end("all").wait()));
        });
        let output = futures_util::future::select(output, inbox).await;
        assert!(matches!(
            output,
            futures_util::future::Either::Left((Ok(Ok(())), _))
        ));
        other.join().unwrap();
        let of: Vec<_> = lines
            .borrow()
            .iter()
            .filter(|line| line.starts_with("other"))
            .cloned()
            .collect();
        assert_eq!((of, causes(&failures)), (whole("other", 0), Vec::new()));
    }

    async fn a_local_manager_is_built_as_any_other(spawner) {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let (first, second, last) = (reports.clone(), reports.clone(), reports.clone());
        let local = Local::new(spawner).with_timer(Threads::new());
        let callbacks = LocalCallbackManager::new(local)
            .on_handler_failure(move |_| first.lock().unwrap().push("first"))
            .also_on_handler_failure(move |_| second.lock().unwrap().push("second"))
            .on_shutdown(move |_| {
                last.lock().unwrap().push("shutdown");
                Ok(())
            })
            .with_handler(handler_fn(|_, _| Err("broken".into())));
        let custom = CustomEvent::new("own", 1);
        callbacks.on_custom_event(custom).await.unwrap();
        assert!(callbacks.shutdown(Duration::from_secs(60)).await.unwrap().unfinished.is_empty());
        assert_eq!(*reports.lock().unwrap(), ["first", "second", "shutdown"]);
    }

    async fn a_local_handler_can_be_removed(spawner) {
        let lines = Lines::default();
        let (mut callbacks, _) = manager(spawner);
        let id = callbacks.add_handler(sync(&lines));
        let other = callbacks.add_async_handler(asynchronous(&lines));
        assert!(
            callbacks.remove_handler(id)
                && callbacks.remove_handler(other)
                && !callbacks.remove_handler(id)
        );
        assert!(!callbacks.has_handlers());
    }

    async fn a_call_of_a_local_handler_times_out(spawner) {
        let local = Local::new(spawner).with_timer(Threads::new());
        let (callbacks, failures) = reporting(LocalCallbackManager::new(local));
        let options = named("hangs").timeout(Duration::from_millis(1));
        let callbacks = callbacks.with_async_handler_options(
            local_async_handler_fn(async |_, _| pending().await),
            options,
        );
        let _run = callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .await
            .unwrap();
        assert_eq!(
            causes(&failures),
            ["hangs in on_llm_start: no answer within 1ms"]
        );
    }

    async fn a_shutdown_delivers_to_local_handlers_and_reports(spawner) {
        let lines: [Lines; 2] = Default::default();
        let local = Local::new(spawner).with_timer(Threads::new());
        let background = Background::new(64).open_traces(10);
        let callbacks = LocalCallbackManager::new(local)
            .with_handler_options(sync(&lines[0]), background)
            .with_async_handler_options(asynchronous(&lines[1]), background);
        let open = callbacks
            .on_llm_start(LlmStart::new("open", "prompt"))
            .await
            .unwrap();
        let report = callbacks.shutdown(Duration::from_secs(60));
        drop(open);
        let report = report.await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        for lines in &lines {
            assert_eq!(
                *lines.borrow(),
                ["open: llm_start: prompt", "open: llm_error: cancelled: "]
            );
        }
        let late = callbacks
            .on_llm_start(LlmStart::new("late", "prompt"))
            .await;
        assert!(matches!(late, Err(EmitError::ShutDown)));
    }

    /// An event that another thread emits is a failure of the local handlers. Other handlers get
    /// it.
    async fn a_call_on_another_thread_fails(spawner) {
        let (callbacks, failures) = manager(spawner);
        let lines = Lines::default();
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let callbacks = callbacks
            .with_async_handler_options(asynchronous(&lines), named("async"))
            .with_handler_options(
                sync(&lines),
                named("inline").delivery(Awaited::new().inline()),
            )
            .with_handler_options(sync(&lines), named("lane"))
            .map(|callbacks| {
                callbacks.with_async_handler(async_handler_fn(async move |_, _| {
                    *count.lock().unwrap() += 1;
                    Ok(())
                }))
            });
        let mut run = callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .await
            .unwrap();
        assert_eq!(
            (lines.borrow_mut().drain(..).count(), *seen.lock().unwrap()),
            (3, 1)
        );

        let emitted = elsewhere(|| block_on(run.on_llm_new_token("a")));
        // Only the handler's own thread serves its lane, and no task can be spawned there.
        assert!(
            matches!(emitted, Err(EmitError::RuntimeGone(failure)) if *failure.handler == *"lane")
        );
        assert_eq!((lines.borrow().len(), *seen.lock().unwrap()), (0, 2));
        {
            let failures = failures.lock().unwrap();
            assert_eq!(failures.len(), 3);
            for failure in failures
                .iter()
                .filter(|failure| *failure.handler != *"lane")
            {
                let FailureCause::Error(cause) = &failure.cause else {
                    panic!("{failure}")
                };
                assert!(cause.downcast_ref::<WrongThread>().is_some(), "{failure}");
            }
        }
        run.on_llm_new_token("b").await.unwrap();
        assert_eq!(
            *lines.borrow(),
            ["run: token: b"; 3],
            "on their own thread they are called again"
        );
        assert_eq!(
            callbacks
                .stats()
                .iter()
                .map(|stats| stats.failed)
                .collect::<Vec<_>>(),
            [1, 1, 1, 0]
        );
    }

    /// Calls that are not polled by the emitter go through the inbox to the handlers' thread.
    async fn other_threads_reach_local_handlers_through_the_inbox(spawner) {
        let (local, inbox) = Local::with_inbox(spawner);
        let (callbacks, failures) = reporting(LocalCallbackManager::without_timer(local));
        let (lines, home) = (Lines::default(), thread::current().id());
        let (kept, kept_async) = (lines.clone(), lines.clone());
        let callbacks = callbacks
            .with_handler(handler_fn(move |event, _| {
                assert_eq!(thread::current().id(), home);
                kept.borrow_mut().push(format!("sync {}", line(event)));
                Ok(())
            }))
            .with_async_handler_options(
                local_async_handler_fn(async move |event, _| {
                    assert_eq!(thread::current().id(), home);
                    kept_async
                        .borrow_mut()
                        .push(format!("async {}", line(event)));
                    Ok(())
                }),
                HandlerOptions::new().on_runtime(),
            );
        let manager = CallbackManager::from(&callbacks);
        let (done, emitted) = futures_channel::oneshot::channel();
        let other = thread::spawn(move || {
            let emitted = block_on(async {
                streamed(&manager, "run", 1).await?;
                drop(
                    manager
                        .on_llm_start(LlmStart::new("dropped", "prompt"))
                        .await?,
                );
                manager.flush().await?;
                Ok::<_, RunError>(())
            });
            drop(manager);
            let _ = done.send(emitted);
        });
        let mut inbox = inbox;
        let emitted = futures_util::future::select(emitted, &mut inbox).await;
        let futures_util::future::Either::Left((emitted, _)) = emitted else {
            panic!("the inbox ended before the manager was dropped")
        };
        emitted.unwrap().unwrap();
        other.join().unwrap();
        let mut seen = lines.borrow_mut().drain(..).collect::<Vec<_>>();
        seen.sort();
        let mut expected = Vec::new();
        for kind in ["async", "sync"] {
            expected.extend(
                [
                    "llm_end: all",
                    "llm_error: cancelled: ",
                    "llm_start: prompt",
                    "llm_start: prompt",
                    "token: 0 ",
                ]
                .map(|line| format!("{kind} {line}")),
            );
        }
        assert_eq!(seen, expected);
        assert_eq!(causes(&failures), Vec::<String>::new());
        drop(callbacks);
        // It was the last manager.
        inbox.await;
    }

    /// A call that began on its own thread fails if another thread polls it. Its values are not
    /// dropped there.
    async fn a_call_that_moves_to_another_thread_fails(spawner) {
        let (callbacks, failures) = manager(spawner);
        let drops = Arc::new(Mutex::new(Vec::new()));
        let noted = drops.clone();
        let hangs = local_async_handler_fn(async move |_, _| {
            let _noted = Noted(noted.clone());
            pending().await
        });
        let callbacks = callbacks.with_async_handler_options(hangs, named("moved"));
        let mut start = callbacks.on_llm_start(LlmStart::new("run", "prompt"));
        assert!(poll_once(&mut start).await.is_none());
        let mut run = elsewhere(|| block_on(start)).unwrap();
        assert_eq!(
            causes(&failures),
            ["moved in on_llm_start: called on another thread than the one it belongs to: emit and poll on that thread"]
        );
        assert_eq!(*drops.lock().unwrap(), []);
        // On its own thread such a call goes on after its emit was dropped.
        let mut token = run.on_llm_new_token("a");
        assert!(poll_once(&mut token).await.is_none());
        drop(token);
        drop(run);
        assert_eq!(*drops.lock().unwrap(), []);
    }

    /// A handler whose last owner is dropped on another thread is leaked, and nothing panics.
    async fn a_local_handler_is_never_dropped_on_another_thread(spawner) {
        let drops = Arc::new(Mutex::new(Vec::new()));
        let handler = |of: &Arc<Mutex<Vec<_>>>| {
            let noted = Noted(of.clone());
            handler_fn(move |_, _| {
                let _ = &noted;
                Ok(())
            })
        };
        let (callbacks, failures) = manager(spawner);
        let callbacks = callbacks.with_handler(handler(&drops));
        let run = callbacks
            .on_llm_start(LlmStart::new("run", "prompt"))
            .await
            .unwrap();
        drop(callbacks);
        elsewhere(move || drop(run));
        assert_eq!(*drops.lock().unwrap(), []);
        assert_eq!(
            failures.lock().unwrap().len(),
            1,
            "its end could not be delivered"
        );

        let again = LocalCallbackManager::without_timer(Local::new(local_spawn_fn(|task| {
            drop(task);
            Ok(())
        })))
        .with_handler(handler(&drops));
        drop(again);
        assert_eq!(
            *drops.lock().unwrap(),
            [thread::current().id()],
            "it is dropped on its own thread"
        );
    }

    /// The calls of a sync handler do not overlap. An event that it emits in a call is queued for
    /// itself.
    async fn a_local_handler_that_emits_to_itself_gets_the_event_later(spawner) {
        let (callbacks, failures) = manager(spawner);
        let own = Rc::new(RefCell::new(None::<CallbackManager>));
        let (lines, depth) = (Lines::default(), Rc::new(Cell::new(0)));
        let (emits, log, within) = (own.clone(), lines.clone(), depth.clone());
        let callbacks = callbacks.with_handler(handler_fn(move |event, cx| {
            assert_eq!(within.replace(1), 0, "a call inside a call");
            log.borrow_mut()
                .push(format!("{}: {}", cx.name(), line(event)));
            if let (Event::LlmStart(_), "outer", Some(callbacks)) =
                (event, cx.name(), &*emits.borrow())
            {
                block_on(streamed(callbacks, "inner", 1))?;
            }
            within.set(0);
            Ok(())
        }));
        *own.borrow_mut() = Some(CallbackManager::from(&callbacks));
        let manager = CallbackManager::from(&callbacks);
        streamed(&manager, "outer", 1).await.unwrap();
        callbacks.flush().await.unwrap();
        own.borrow_mut().take();
        let of = |name: &str| {
            lines
                .borrow()
                .iter()
                .filter(|line| line.starts_with(name))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (of("outer"), of("inner")),
            (whole("outer", 1), whole("inner", 1))
        );
        assert_eq!(causes(&failures), Vec::<String>::new());
    }
}

/// An executor that is gone takes no tasks. The calls that it lost are reported, and nothing hangs.
#[test]
fn a_local_executor_that_is_gone_is_reported() {
    let _watchdog = Watchdog::start("FuturesLocalPool");
    let mut pool = futures_executor::LocalPool::new();
    let (callbacks, failures) = manager(FromFuturesLocalSpawn(pool.spawner()));
    let lines = Lines::default();
    let callbacks = callbacks.with_handler_options(sync(&lines), named("lane"));
    let mut run = pool.run_until(callbacks.on_llm_start(LlmStart::new("run", "prompt"))).unwrap();
    drop(pool);
    assert!(matches!(block_on(run.on_llm_new_token("a")), Err(EmitError::RuntimeGone(_))));
    drop(run);
    block_on(callbacks.flush()).unwrap();
    assert_eq!(lines.borrow().len(), 1);
    let gone = FailureCause::RuntimeGone;
    assert_eq!(
        causes(&failures),
        [format!("lane in on_llm_new_token: {gone}"), format!("lane in on_llm_error: {gone}")]
    );
}
