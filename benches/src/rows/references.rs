//! The same work without this library: what rows are compared with.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_util::future::join_all;
use rappel_core::{CallbackManager, LlmNewToken, RunInfo};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::start;
use super::work::Work;
use crate::handlers::{CAPACITY, DynHandler, Nothing, PlainHandler, Yields};

/// A load and a branch: the least that a check for listeners takes. The token's text is passed
/// around as in the rows that are compared with this.
pub(super) fn branch() -> Work {
    let listeners = Arc::new(AtomicUsize::new(0));
    Work::of_others("a load and a branch", move |events| {
        let listeners = listeners.clone();
        async move {
            for _ in 0..events {
                let token = black_box("token");
                if black_box(&listeners).load(Ordering::Relaxed) != 0 {
                    black_box(LlmNewToken::new(token));
                }
            }
        }
    })
}

/// Calls of `dyn` `#[async_trait]` handlers, one after another.
pub(super) fn dyn_calls(handlers: usize) -> Work {
    dyn_calls_of(
        Nothing,
        format!("{handlers} dyn async_trait call{} in a loop", plural(handlers)),
        handlers,
    )
}

/// The same with handlers that yield once.
pub(super) fn yielding_dyn_calls(handlers: usize) -> Work {
    let name = format!("{handlers} yielding dyn async_trait call{} in a loop", plural(handlers));
    dyn_calls_of(Yields, name, handlers)
}

fn dyn_calls_of(handler: impl DynHandler + Copy + 'static, name: String, handlers: usize) -> Work {
    let (info, handlers) = (info(), boxed(handler, handlers));
    Work::of_others(name, move |events| {
        let (info, handlers) = (info.clone(), handlers.clone());
        async move {
            let token = LlmNewToken::new("token");
            for _ in 0..events {
                for handler in black_box(&*handlers) {
                    let _ = black_box(handler.on_llm_new_token(&token, &info).await);
                }
            }
        }
    })
}

/// The same, concurrently.
pub(super) fn joined_dyn_calls(handlers: usize) -> Work {
    let name = format!("join_all of {handlers} dyn async_trait calls");
    let (info, handlers) = (info(), boxed(Nothing, handlers));
    Work::of_others(name, move |events| {
        let (info, handlers) = (info.clone(), handlers.clone());
        async move {
            let token = LlmNewToken::new("token");
            for _ in 0..events {
                let calls = black_box(&*handlers)
                    .iter()
                    .map(|handler| handler.on_llm_new_token(&token, &info));
                black_box(join_all(calls).await);
            }
        }
    })
}

fn boxed(handler: impl DynHandler + Copy + 'static, handlers: usize) -> Arc<[Box<dyn DynHandler>]> {
    (0..handlers).map(|_| Box::new(handler) as Box<dyn DynHandler>).collect()
}

/// A `tracing` event with one layer.
pub(super) fn tracing_event() -> Work {
    struct Looks;
    impl<S: tracing::Subscriber> Layer<S> for Looks {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            black_box(event);
        }
    }
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(Looks));
    Work::of_others("a tracing event with one layer", move |events| {
        let dispatch = dispatch.clone();
        async move {
            tracing::dispatcher::with_default(&dispatch, || {
                for _ in 0..events {
                    tracing::info!(token = black_box("token"));
                }
            });
        }
    })
}

/// A tokio broadcast whose receivers take the event on the same task.
pub(super) fn broadcast(receivers: usize) -> Work {
    Work::of_others(
        format!("tokio broadcast to {receivers} receiver{}", plural(receivers)),
        move |events| async move {
            let (sender, first) = tokio::sync::broadcast::channel(CAPACITY);
            let mut all: Vec<_> = (1..receivers).map(|_| sender.subscribe()).collect();
            all.push(first);
            for _ in 0..events {
                let _ = sender.send(LlmNewToken::new("token"));
                for receiver in &mut all {
                    let _ = black_box(receiver.recv().await);
                }
            }
        },
    )
}

/// A token for a thread. `tell` asks the thread to acknowledge it.
struct Order {
    token: LlmNewToken,
    tell: bool,
}

struct Served {
    orders: flume::Sender<Order>,
    told: flume::Receiver<()>,
}

/// A thread per handler behind a bounded flume channel. Only the last event is waited for.
pub(super) fn channels(handlers: usize) -> Work {
    let name = format!("a bounded flume channel to {handlers} thread{}", plural(handlers));
    threads(name, handlers, CAPACITY, |event, events| event + 1 == events)
}

/// A long-lived thread per handler that acknowledges each event.
pub(super) fn acknowledged(handlers: usize) -> Work {
    let name = format!("{handlers} acknowledging thread{}", plural(handlers));
    threads(name, handlers, 1, |_, _| true)
}

/// Threads that each handle every event. An event is waited for if `waits(event, events)` is true.
fn threads(name: String, handlers: usize, capacity: usize, waits: fn(u64, u64) -> bool) -> Work {
    let threads: Arc<[_]> = (0..handlers).map(|_| served(capacity)).collect();
    Work::of_others(name, move |events| {
        let threads = threads.clone();
        async move {
            for event in 0..events {
                let tell = waits(event, events);
                for thread in &*threads {
                    let token = LlmNewToken::new("token");
                    let _ = thread.orders.send_async(Order { token, tell }).await;
                }
                for thread in threads.iter().filter(|_| tell) {
                    let _ = thread.told.recv_async().await;
                }
            }
        }
    })
}

/// A thread that calls a handler for each order of a channel. It ends when the sender is dropped.
fn served(capacity: usize) -> Served {
    let (orders, taken) = flume::bounded::<Order>(capacity);
    let (tell, told) = flume::bounded(1);
    let info = info();
    thread::spawn(move || {
        for order in taken {
            let _ = black_box(PlainHandler::on_llm_new_token(&mut Nothing, &order.token, &info));
            if order.tell {
                let _ = tell.send(());
            }
        }
    });
    Served { orders, told }
}

/// A `spawn_blocking` per event, on tokio only.
pub(super) fn spawned_blocking() -> Work {
    let (info, handler) = (info(), Arc::new(Mutex::new(Nothing)));
    Work::of_others("one spawn_blocking an event", move |events| {
        let (info, handler) = (info.clone(), handler.clone());
        async move {
            for _ in 0..events {
                let (info, handler) = (info.clone(), handler.clone());
                let call = move || {
                    let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                    let token = LlmNewToken::new("token");
                    black_box(PlainHandler::on_llm_new_token(&mut *handler, &token, &info)).is_ok()
                };
                let _ = tokio::task::spawn_blocking(call).await;
            }
        }
    })
}

/// The info of some run.
fn info() -> RunInfo {
    let run = futures_lite::future::block_on(start(&CallbackManager::default()));
    RunInfo::clone(run.info())
}

fn plural(things: usize) -> &'static str {
    if things == 1 { "" } else { "s" }
}
