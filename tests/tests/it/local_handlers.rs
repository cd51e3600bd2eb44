//! Handlers that are not `Send`: on tokio's `LocalSet`, smol's `LocalExecutor` and futures' `LocalPool`.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::{CustomEvent, EmitError, FailureCause, HandlerFailure, Interest, Threads, for_each_event, json};
use rappel_local::prelude::*;
use rappel_local::{ForeignThread, FromFuturesLocalSpawn, Inbox, LocalHandlerFuture, LocalSpawner};
use rappel_tests::record::line;
use rappel_tests::runtimes::{Watchdog, run_smol_local, run_tokio_local_set};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::every_handler_is_called::emit_everything;

assert_not_impl_any!(LocalCallbackManager: Send, Sync);
assert_not_impl_any!(LocalCallbackManager<Threads>: Send, Sync);
assert_not_impl_any!(LocalHandlerFuture<'static>: Send);
assert_not_impl_any!(Inbox: Send);
assert_impl_all!(Local: Send, Sync, Unpin, Clone);
assert_impl_all!(Local<Threads>: Send, Sync, Unpin, Clone, rappel_core::Timer);
assert_impl_all!(ForeignThread: Send, Sync, std::error::Error);

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

fn sync(lines: &Lines) -> impl LocalCallbackHandler + use<> {
    let lines = lines.clone();
    local_handler_fn(move |event, run| {
        lines.borrow_mut().push(format!("{}: {}", run.name(), line(event)));
        Ok(())
    })
}

/// Holds its `Rc` across an `await`.
fn asynchronous(lines: &Lines) -> impl LocalAsyncCallbackHandler + use<> {
    let lines = lines.clone();
    local_async_handler_fn(move |event, run| {
        let (lines, line) = (lines.clone(), format!("{}: {}", run.name(), line(event)));
        async move {
            yield_now().await;
            lines.borrow_mut().push(line);
            Ok(())
        }
    })
}

type Failures = Arc<Mutex<Vec<HandlerFailure>>>;

fn reporting<T>(callbacks: LocalCallbackManager<T>) -> (LocalCallbackManager<T>, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let callbacks = callbacks.on_handler_failure(move |failure| kept.lock().unwrap().push(failure.clone()));
    (callbacks, failures)
}

fn manager(spawner: impl LocalSpawner) -> (LocalCallbackManager, Failures) {
    reporting(LocalCallbackManager::new(Local::new(spawner)))
}

fn causes(failures: &Failures) -> Vec<String> {
    let failures = failures.lock().unwrap();
    failures
        .iter()
        .map(|failure| format!("{} in {}: {}", failure.handler, failure.event, failure.cause))
        .collect()
}

async fn streamed(callbacks: &CallbackManager, name: &'static str, tokens: usize) -> Result<(), RunError> {
    let run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
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

/// What `f` gives on another thread.
fn elsewhere<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// A value that notes the threads which it is dropped on.
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
        /// Has each method that core's table has: a twin that lacks one does not compile.
        struct Methods(Lines);

        impl LocalCallbackHandler for Methods {
            $(fn $method(&mut self, event: &rappel_core::$variant, _: &RunInfo) -> HandlerResult {
                assert_eq!(Event::from(event.clone()).kind().method(), stringify!($method));
                self.0.borrow_mut().push(stringify!($method).to_owned());
                Ok(())
            })+
        }

        impl LocalAsyncCallbackHandler for Methods {
            $(async fn $method(&self, event: &rappel_core::$variant, _: &RunInfo) -> HandlerResult {
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
    /// Every kind of event that core has comes to the method of that name, in core's order.
    async fn the_twins_have_every_event(spawner) {
        let (callbacks, failures) = manager(spawner);
        let (sync, asynchronous) = (Lines::default(), Lines::default());
        let core = Arc::new(Mutex::new(Vec::new()));
        let log = core.clone();
        let callbacks = callbacks
            .with_handler(Methods(sync.clone()))
            .with_async_handler(Methods(asynchronous.clone()))
            .map(|callbacks| callbacks.with_handler(handler_fn(move |event, _| { log.lock().unwrap().push(event.kind()); Ok(()) })))
            .into_manager()
            .erase();
        emit_everything(&callbacks).await.unwrap();
        callbacks.on_custom_event(CustomEvent::new("mine", json!(0))).await.unwrap();
        let core = core.lock().unwrap();
        let missing: Vec<_> = EventKind::ALL.iter().filter(|kind| !core.contains(kind)).collect();
        assert!(missing.is_empty(), "core has events that this test does not emit: {missing:?}");
        let expected: Vec<_> = core.iter().map(|kind| kind.method()).collect();
        assert_eq!(*sync.borrow(), expected);
        assert_eq!(*asynchronous.borrow(), expected);
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    async fn see_a_runs_events_in_order_in_every_delivery(spawner) {
        let narrow = Pipelined { capacity: 1 };
        let background = Background { capacity: 4, open_runs: 100 };
        let lines: [Lines; 8] = Default::default();
        let (callbacks, failures) = manager(spawner);
        let callbacks = callbacks
            .with_handler(sync(&lines[0]))
            .with_handler_options(sync(&lines[1]), HandlerOptions::new().run_inline(true))
            .with_handler_options(sync(&lines[2]), HandlerOptions::new().delivery(narrow))
            .with_handler_options(sync(&lines[3]), HandlerOptions::new().delivery(background).overflow(Overflow::Wait))
            .with_async_handler(asynchronous(&lines[4]))
            .with_async_handler_options(asynchronous(&lines[5]), HandlerOptions::new().on_runtime())
            .with_async_handler_options(asynchronous(&lines[6]), HandlerOptions::new().delivery(narrow))
            .with_async_handler_options(asynchronous(&lines[7]), HandlerOptions::new().delivery(background).overflow(Overflow::Wait));
        let erased = callbacks.clone().into_callbacks();
        futures_util::future::join(streamed(&erased, "one", 30), streamed(&erased, "two", 30)).await.0.unwrap();
        callbacks.flush().await;
        for (handler, lines) in lines.iter().enumerate() {
            for name in ["one", "two"] {
                let of: Vec<_> = lines.borrow().iter().filter(|line| line.starts_with(name)).cloned().collect();
                assert_eq!(of, whole(name, 30), "{handler}");
            }
        }
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    async fn a_run_that_is_dropped_is_cancelled_once(spawner) {
        let lines: [Lines; 2] = Default::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks.with_handler(sync(&lines[0])).with_async_handler(asynchronous(&lines[1]));
        let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        run.on_llm_new_token("a").await.unwrap();
        let token = run.on_llm_new_token("b");
        drop(token);
        drop(run);
        callbacks.flush().await;
        for lines in &lines {
            assert_eq!(*lines.borrow(), ["run: llm_start: prompt", "run: token: a", "run: llm_error: cancelled: a"]);
        }
    }

    async fn a_failure_stays_where_it_is(spawner) {
        let (callbacks, failures) = manager(spawner);
        let (lines, state) = (Lines::default(), Rc::new(RefCell::new(sync(&Lines::default()))));
        let callbacks = callbacks
            .with_handler_options(local_handler_fn(|_, _| Err(HandlerError::new("broken"))), named("fails"))
            .with_handler_options(local_handler_fn(|_, _| panic!("oh")), named("panics"))
            .with_async_handler_options(local_async_handler_fn(|_, _| async { panic!("oh") }), named("panics, async"))
            .with_handler_options(state.clone(), named("borrowed"))
            .with_handler(sync(&lines));
        // Somebody has it, for good.
        std::mem::forget(state.borrow());
        callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap().end(LlmResult::from_text("all")).await.unwrap();
        assert_eq!(*lines.borrow(), whole("run", 0));
        let mut causes = causes(&failures);
        causes.retain(|cause| cause.contains("on_llm_end"));
        causes.sort();
        assert_eq!(causes.len(), 4, "{causes:?}");
        assert!(causes[0].starts_with("borrowed in on_llm_end: ") && causes[0].contains("borrowed"), "{causes:?}");
        assert_eq!(causes[1..], ["fails in on_llm_end: broken", "panics in on_llm_end: panicked: oh", "panics, async in on_llm_end: panicked: oh"]);
    }

    /// A handler is asked for what it is interested in, and it is called what it is called.
    async fn interest_and_name_are_the_handlers_own(spawner) {
        struct Tokens(Lines);

        impl LocalCallbackHandler for Tokens {
            fn name(&self) -> &str { "tokens" }
            fn interest(&self) -> Interest { Interest::only(EventKind::LlmNewToken).with_token_times() }
            fn on_event(&mut self, event: &Event, _: &RunInfo) -> HandlerResult {
                assert!(event.time().is_some());
                self.0.borrow_mut().push(event.kind().method().to_owned());
                Ok(())
            }
        }

        struct Ends(Lines);

        impl LocalAsyncCallbackHandler for Ends {
            fn interest(&self) -> Interest { Interest::none().with(EventKind::LlmEnd) }
            fn on_event<'a>(&'a self, event: &'a Event, _: &'a RunInfo) -> LocalHandlerFuture<'a> {
                LocalHandlerFuture::new(async { self.0.borrow_mut().push(event.kind().method().to_owned()); Ok(()) })
            }
        }

        let lines = Lines::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks.with_handler(Rc::new(RefCell::new(Tokens(lines.clone())))).with_async_handler(Rc::new(Ends(lines.clone())));
        let boxed: Box<dyn LocalCallbackHandler> = Box::new(Tokens(lines.clone()));
        let callbacks = callbacks.with_handler(boxed);
        let erased = callbacks.clone().into_callbacks();
        streamed(&erased, "run", 1).await.unwrap();
        assert_eq!(*lines.borrow(), ["on_llm_new_token", "on_llm_new_token", "on_llm_end"]);
        let names: Vec<_> = callbacks.stats().iter().map(|stats| stats.name.to_string()).collect();
        assert!(names[0].ends_with("Tokens") && names[1].ends_with("Ends") && names[2] == "tokens", "{names:?}");
    }

    async fn what_is_called_inside_a_chain_finds_them(spawner) {
        let lines = Lines::default();
        let (callbacks, _) = manager(spawner);
        let callbacks = callbacks.with_handler(sync(&lines)).with_inheritable_tags(["local"]);
        let answer = async {
            let inside = CallbackManager::current().unwrap();
            let run = inside.on_tool_start(ToolStart::new("tool", "in")).await?;
            assert_eq!(run.info().tags(), ["local"]);
            run.end("out").await?;
            Ok::<_, RunError>("42")
        };
        answer.in_chain(&callbacks, "chain", "question").await.unwrap();
        assert_eq!(*lines.borrow(), ["chain: chain_start: \"question\"", "tool: tool_start: in", "tool: tool_end: \"out\"", "chain: chain_end: \"42\""]);
    }

    /// A handler that is `Send` keeps the threads that it was registered with, beside others that stay here.
    async fn merged_handlers_are_called_where_they_were_registered(spawner) {
        let (local, lines, threads) = (Local::new(spawner), Lines::default(), Arc::new(Mutex::new(Vec::new())));
        let kept = threads.clone();
        let blocking = CallbackManager::new((local.clone(), Threads::new())).with_handler(handler_fn(move |_, _| {
            kept.lock().unwrap().push(thread::current().id());
            Ok(())
        }));
        let (callbacks, failures) = reporting(LocalCallbackManager::new(local));
        let callbacks = callbacks.with_handler(sync(&lines)).merge(&blocking);
        streamed(&callbacks.clone().into_callbacks(), "run", 3).await.unwrap();
        assert_eq!(*lines.borrow(), whole("run", 3));
        let threads = threads.lock().unwrap();
        assert!(threads.len() == 5 && !threads.contains(&thread::current().id()), "{threads:?}");
        assert_eq!(causes(&failures), Vec::<String>::new());
    }

    /// Who blocks here keeps the tasks from going on that it waits for.
    async fn code_that_blocks_is_for_other_threads(spawner) {
        let (local, inbox) = Local::with_inbox(spawner);
        let (callbacks, failures) = reporting(LocalCallbackManager::new(local));
        let lines = Lines::default();
        let callbacks = callbacks.with_async_handler_options(asynchronous(&lines), HandlerOptions::new().on_runtime());
        let start = || LlmStart::new("run", "prompt");
        let here = callbacks.blocking().on_llm_start(start());
        assert!(matches!(here.map_err(|error| error.error().clone()), Err(EmitError::WouldBlock)));
        assert_eq!(lines.borrow().len(), 0);
        drop(callbacks.clone().into_callbacks().on_llm_start(start()).await.unwrap());
        let (erased, (done, told)) = (callbacks.clone().into_callbacks(), futures_channel::oneshot::channel());
        let other = thread::spawn(move || {
            let run = erased.blocking().on_llm_start(LlmStart::new("other", "prompt"));
            let told = run.map(|run| run.end(LlmResult::from_text("all")).is_ok()).unwrap_or_default();
            let _ = done.send(told);
        });
        let told = futures_util::future::select(told, inbox).await;
        assert!(matches!(told, futures_util::future::Either::Left((Ok(true), _))));
        other.join().unwrap();
        let of: Vec<_> = lines.borrow().iter().filter(|line| line.starts_with("other")).cloned().collect();
        assert_eq!((of, causes(&failures)), (whole("other", 0), Vec::new()));
    }

    async fn a_handler_can_be_removed(spawner) {
        let lines = Lines::default();
        let (mut callbacks, _) = manager(spawner);
        let id = callbacks.add_handler(sync(&lines));
        let other = callbacks.add_async_handler(asynchronous(&lines));
        assert!(callbacks.remove_handler(id) && callbacks.remove_handler(other) && !callbacks.remove_handler(id));
        assert!(!callbacks.has_handlers());
    }

    async fn a_call_that_never_ends_is_given_up_after_its_time(spawner) {
        let local = Local::new(spawner).with_timer(Threads::new());
        let (callbacks, failures) = reporting(LocalCallbackManager::new(local));
        let options = named("hangs").timeout(Duration::from_millis(1));
        let callbacks = callbacks.with_async_handler_options(local_async_handler_fn(|_, _| pending()), options);
        let _run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        assert_eq!(causes(&failures), ["hangs in on_llm_start: no answer within 1ms"]);
    }

    async fn a_shutdown_delivers_and_tells(spawner) {
        let lines: [Lines; 2] = Default::default();
        let local = Local::new(spawner).with_timer(Threads::new());
        let background = || HandlerOptions::new().delivery(Background { capacity: 64, open_runs: 10 });
        let callbacks = LocalCallbackManager::new(local)
            .with_handler_options(sync(&lines[0]), background())
            .with_async_handler_options(asynchronous(&lines[1]), background());
        let open = callbacks.on_llm_start(LlmStart::new("open", "prompt")).await.unwrap();
        let report = callbacks.shutdown(Duration::from_secs(60));
        drop(open);
        let report = report.await;
        assert!(report.is_clean(), "{report:?}");
        for lines in &lines {
            assert_eq!(*lines.borrow(), ["open: llm_start: prompt", "open: llm_error: cancelled: "]);
        }
        let late = callbacks.on_llm_start(LlmStart::new("late", "prompt")).await;
        assert!(matches!(late.unwrap_err().error(), EmitError::ShutDown));
    }

    /// What is emitted on another thread is that handler's failure, and never touches it. Others hear of it.
    async fn on_another_thread_a_call_fails(spawner) {
        let (callbacks, failures) = manager(spawner);
        let lines = Lines::default();
        let seen = Arc::new(Mutex::new(0));
        let count = seen.clone();
        let callbacks = callbacks
            .with_async_handler_options(asynchronous(&lines), named("async"))
            .with_handler_options(sync(&lines), named("inline").run_inline(true))
            .with_handler_options(sync(&lines), named("lane"))
            .map(|callbacks| callbacks.with_async_handler(async_handler_fn(move |_, _| {
                *count.lock().unwrap() += 1;
                async { Ok(()) }
            })));
        let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        assert_eq!((lines.borrow_mut().drain(..).count(), *seen.lock().unwrap()), (3, 1));

        let emitted = elsewhere(|| block_on(run.on_llm_new_token("a")));
        // The lane is served on its thread only, to which nothing leads from there.
        assert!(matches!(emitted, Err(EmitError::RuntimeGone(failure)) if *failure.handler == *"lane"));
        assert_eq!((lines.borrow().len(), *seen.lock().unwrap()), (0, 2));
        {
            let failures = failures.lock().unwrap();
            assert_eq!(failures.len(), 3);
            for failure in failures.iter().filter(|failure| *failure.handler != *"lane") {
                let FailureCause::Error(cause) = &failure.cause else { panic!("{failure}") };
                assert!(cause.downcast_ref::<ForeignThread>().is_some(), "{failure}");
            }
        }
        run.on_llm_new_token("b").await.unwrap();
        assert_eq!(*lines.borrow(), ["run: token: b"; 3], "at home all is as before");
        assert_eq!(callbacks.stats().iter().map(|stats| stats.failed).collect::<Vec<_>>(), [1, 1, 1, 0]);
    }

    /// Through the inbox, calls that are not the emitter's own come home.
    async fn through_the_inbox_other_threads_reach_them(spawner) {
        let (local, inbox) = Local::with_inbox(spawner);
        let (callbacks, failures) = reporting(LocalCallbackManager::new(local));
        let (lines, home) = (Lines::default(), thread::current().id());
        let (kept, kept_async) = (lines.clone(), lines.clone());
        let callbacks = callbacks
            .with_handler(local_handler_fn(move |event, _| {
                assert_eq!(thread::current().id(), home);
                kept.borrow_mut().push(format!("sync {}", line(event)));
                Ok(())
            }))
            .with_async_handler_options(local_async_handler_fn(move |event, _| {
                assert_eq!(thread::current().id(), home);
                kept_async.borrow_mut().push(format!("async {}", line(event)));
                async { Ok(()) }
            }), HandlerOptions::new().on_runtime());
        let erased = callbacks.clone().into_callbacks();
        let (done, told) = futures_channel::oneshot::channel();
        let other = thread::spawn(move || {
            let told = block_on(async {
                streamed(&erased, "run", 1).await?;
                drop(erased.on_llm_start(LlmStart::new("dropped", "prompt")).await?);
                erased.flush().await;
                Ok::<_, RunError>(())
            });
            drop(erased);
            let _ = done.send(told);
        });
        let mut inbox = inbox;
        let told = futures_util::future::select(told, &mut inbox).await;
        let futures_util::future::Either::Left((told, _)) = told else { panic!("the inbox is there for as long as a manager is") };
        told.unwrap().unwrap();
        other.join().unwrap();
        let mut seen = lines.borrow_mut().drain(..).collect::<Vec<_>>();
        seen.sort();
        let mut expected = Vec::new();
        for who in ["async", "sync"] {
            expected.extend(["llm_end: all", "llm_error: cancelled: ", "llm_start: prompt", "llm_start: prompt", "token: 0 "].map(|line| format!("{who} {line}")));
        }
        assert_eq!(seen, expected);
        assert_eq!(causes(&failures), Vec::<String>::new());
        drop(callbacks);
        inbox.await; // and that is all of them
    }

    /// A call that began here, and is polled on another thread, fails there; what it has is not dropped there.
    async fn a_call_that_moves_to_another_thread_fails(spawner) {
        let (callbacks, failures) = manager(spawner);
        let drops = Arc::new(Mutex::new(Vec::new()));
        let noted = drops.clone();
        let hangs = local_async_handler_fn(move |_, _| {
            let noted = Noted(noted.clone());
            async move { let _noted = noted; pending().await }
        });
        let callbacks = callbacks.with_async_handler_options(hangs, named("moved"));
        let mut start = callbacks.on_llm_start(LlmStart::new("run", "prompt"));
        assert!(poll_once(&mut start).await.is_none());
        let run = elsewhere(|| block_on(start)).unwrap();
        assert_eq!(causes(&failures), ["moved in on_llm_start: called on another thread than the one it belongs to"]);
        assert_eq!(*drops.lock().unwrap(), []);
        // At home it is dropped, as ever.
        let mut token = run.on_llm_new_token("a");
        assert!(poll_once(&mut token).await.is_none());
        drop(token);
        drop(run);
        assert_eq!(*drops.lock().unwrap(), []);
    }

    /// The last that has a handler goes on another thread: the handler is leaked there, and nothing panics.
    async fn a_handler_is_never_dropped_on_another_thread(spawner) {
        let drops = Arc::new(Mutex::new(Vec::new()));
        let handler = |of: &Arc<Mutex<Vec<_>>>| {
            let noted = Noted(of.clone());
            local_handler_fn(move |_, _| { let _ = &noted; Ok(()) })
        };
        let (callbacks, failures) = manager(spawner);
        let callbacks = callbacks.with_handler(handler(&drops));
        let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        drop(callbacks);
        elsewhere(move || drop(run));
        assert_eq!(*drops.lock().unwrap(), []);
        assert_eq!(failures.lock().unwrap().len(), 1, "its end could not be told");

        let again = LocalCallbackManager::new(Local::new(local_spawn_fn(|task| { drop(task); Ok(()) }))).with_handler(handler(&drops));
        drop(again);
        assert_eq!(*drops.lock().unwrap(), [thread::current().id()], "at home it is");
    }

    /// Calls of a sync handler do not overlap, and what one emits to itself is queued.
    async fn a_handler_that_emits_to_itself_gets_that_later(spawner) {
        let (callbacks, failures) = manager(spawner);
        let own = Rc::new(RefCell::new(None::<CallbackManager>));
        let (lines, depth) = (Lines::default(), Rc::new(Cell::new(0)));
        let (emits, log, within) = (own.clone(), lines.clone(), depth.clone());
        let callbacks = callbacks.with_handler(local_handler_fn(move |event, run| {
            assert_eq!(within.replace(1), 0, "a call inside a call");
            log.borrow_mut().push(format!("{}: {}", run.name(), line(event)));
            if let (Event::LlmStart(_), "outer", Some(callbacks)) = (event, run.name(), &*emits.borrow()) {
                block_on(streamed(callbacks, "inner", 1))?;
            }
            within.set(0);
            Ok(())
        }));
        *own.borrow_mut() = Some(callbacks.clone().into_callbacks());
        let erased = callbacks.clone().into_callbacks();
        streamed(&erased, "outer", 1).await.unwrap();
        callbacks.flush().await;
        own.borrow_mut().take();
        let of = |name: &str| lines.borrow().iter().filter(|line| line.starts_with(name)).cloned().collect::<Vec<_>>();
        assert_eq!((of("outer"), of("inner")), (whole("outer", 1), whole("inner", 1)));
        assert_eq!(causes(&failures), Vec::<String>::new());
    }
}

/// An executor that is gone takes no tasks: what it should call is reported, and nobody hangs.
#[test]
fn an_executor_that_is_gone_is_told_of() {
    let _watchdog = Watchdog::start("FuturesLocalPool");
    let mut pool = futures_executor::LocalPool::new();
    let (callbacks, failures) = manager(FromFuturesLocalSpawn(pool.spawner()));
    let lines = Lines::default();
    let callbacks = callbacks.with_handler_options(sync(&lines), named("lane"));
    let run = pool.run_until(callbacks.on_llm_start(LlmStart::new("run", "prompt"))).unwrap();
    drop(pool);
    assert!(matches!(block_on(run.on_llm_new_token("a")), Err(EmitError::RuntimeGone(_))));
    drop(run);
    block_on(callbacks.flush());
    assert_eq!(lines.borrow().len(), 1);
    let gone = "the runtime was shut down before the call";
    assert_eq!(
        causes(&failures),
        [format!("lane in on_llm_new_token: {gone}"), format!("lane in on_llm_error: {gone}")]
    );
}
