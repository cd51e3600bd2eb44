//! A run that has ended keeps no other run. So a program can go from one run to the next, each in
//! the scope of the one before, for as long as it likes.

use std::pin::Pin;

use futures_channel::oneshot;

use super::*;

/// A turn of an endless program. It starts a run, ends it, and leaves the next turn in its scope.
type Turn = Pin<Box<dyn Future<Output = Option<Next>> + Send>>;

struct Next(Turn);

fn turn(mut managers: std::vec::IntoIter<CallbackManager>, ends: bool) -> Turn {
    Box::pin(async move {
        let callbacks = managers.next()?;
        let run = chain(&callbacks, "turn").await;
        let next = async { Next(Box::pin(turn(managers, ends).in_current_run())) };
        let next = next.in_run(&run).await;
        if ends {
            run.end(json!(1)).await.unwrap();
        } else {
            drop(run);
        }
        callbacks.flush().await.unwrap();
        Some(next)
    })
}

/// Asserts that the handlers of earlier turns are dropped while the program goes on.
async fn assert_dropped(
    rt: &Rt,
    ends: bool,
    add: impl Fn(CallbackManager, Arc<oneshot::Sender<()>>) -> CallbackManager,
) {
    let (managers, dropped): (Vec<_>, Vec<_>) = (0..4)
        .map(|_| {
            let (held, dropped) = oneshot::channel();
            (add(rt.callbacks(), Arc::new(held)), dropped)
        })
        .unzip();
    let mut next = Next(turn(managers.into_iter(), ends));
    for _ in 0..3 {
        next = next.0.await.unwrap();
    }
    for dropped in dropped.into_iter().take(2) {
        dropped.await.unwrap_err();
    }
    drop(next);
}

on_every_runtime! {
    async fn a_run_that_has_ended_keeps_no_run_around_it(rt) {
        for ends in [true, false] {
            // In place, queued, and with an end that concerns no handler.
            assert_dropped(&rt, ends, |callbacks, held| {
                callbacks.with_async_handler(async_handler_fn(async move |_: &Event, _: &EventContext| {
                    let _held = &held;
                    Ok(())
                }))
            })
            .await;
            assert_dropped(&rt, ends, |callbacks, held| {
                let handler = handler_fn(move |_, _| {
                    let _held = &held;
                    Ok(())
                });
                callbacks.with_handler_options(handler, Pipelined::new(4))
            })
            .await;
            assert_dropped(&rt, ends, |callbacks, held| {
                let starts = Starts { _held: held };
                callbacks.with_async_handler(starts)
            })
            .await;
        }
    }
}

struct Starts {
    _held: Arc<oneshot::Sender<()>>,
}

impl AsyncCallbackHandler for Starts {
    fn interest(&self) -> Interest {
        Interest::only(EventKind::ChainStart)
    }

    async fn on_chain_start(&self, _: &ChainStart, _: &EventContext) -> HandlerResult {
        Ok(())
    }
}
