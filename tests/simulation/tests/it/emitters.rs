//! Applications that emit: they await, drop and leak what they emit, nest runs, and flush; and they look at once whether what they were promised is so.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_lite::future::{poll_once, yield_now, zip};
use rappel_core::prelude::*;
use rappel_core::{ChainRun, EmitError, LlmChunk, LlmRun, json};
use rappel_simulation::Simulator;

use super::history::{History, What, token};
use super::model;
use super::world::{Plan, World};

const MOST_TOKENS: usize = 7;

#[derive(Clone)]
pub(super) struct Emitter {
    simulator: Simulator,
    callbacks: CallbackManager,
    history: History,
    plans: Vec<Plan>,
    limited: bool,
}

/// Why an emitter stops.
struct Stop;

impl Emitter {
    pub(super) fn new(world: &World) -> Self {
        Self {
            simulator: world.simulator.clone(),
            callbacks: world.callbacks.clone().erase(),
            history: world.history.clone(),
            plans: world.plans.clone(),
            limited: world.limited,
        }
    }

    /// A root run, or a few of them, one after the other.
    pub(super) async fn go(self, name: String) {
        for number in 0..=self.simulator.draw(2) {
            let name = format!("{name}.{number}");
            let done = match self.simulator.one_in(2) {
                true => self.chain(&name).await,
                false => self.model(&self.callbacks, &name).await,
            };
            if done.is_err() {
                return;
            }
            if self.simulator.one_in(4) {
                self.flush().await;
            }
        }
    }

    /// What was accepted before it has been handled when it returns.
    async fn flush(&self) {
        let before = self.history.books().accepted.clone();
        let handler = self.simulator.one_in(2).then(|| self.simulator.draw(self.plans.len()));
        match handler {
            Some(number) => {
                // The witness is the first.
                let id = self.callbacks.stats()[number + 1].id;
                self.callbacks.flush_handler(id).await;
            }
            None => self.callbacks.flush().await,
        }
        for (number, plan) in self.plans.iter().enumerate() {
            if handler.is_none_or(|flushed| flushed == number) {
                model::all_handled(&self.history, number, plan, &before, "a flush");
            }
        }
    }

    async fn chain(&self, name: &str) -> Result<(), Stop> {
        let start = self.callbacks.on_chain_start(ChainStart::new(name, json!(0)));
        let run = self.check(start.await.map_err(|error| error.error().clone()), name, What::Start)?;
        for number in 0..self.simulator.draw(3) {
            self.send(&run, name, number).await?;
            let child = run.child(None);
            let (first, second) = (format!("{name}.{number}a"), format!("{name}.{number}b"));
            // Two children at once; but one that takes the room which the other waits for would wait for itself.
            match self.simulator.one_in(3) && !self.limited {
                true => {
                    let (first, second) = zip(self.model(&child, &first), self.model(&child, &second)).await;
                    first.and(second)?;
                }
                false => self.model(&child, &first).await?,
            }
        }
        if self.simulator.one_in(4) {
            drop(run);
            return self.dropped(name).await;
        }
        self.check(run.end(json!(1)).await, name, What::End)
    }

    async fn send(&self, run: &ChainRun, name: &str, number: usize) -> Result<(), Stop> {
        let sent = self.poke(run.on_text(number.to_string())).await;
        sent.map_or(Ok(()), |sent| self.check(sent, name, What::Other(number)))
    }

    async fn model(&self, callbacks: &CallbackManager, name: &str) -> Result<(), Stop> {
        let start = callbacks.on_llm_start(LlmStart::new(name, "prompt"));
        let run = self.check(start.await.map_err(|error| error.error().clone()), name, What::Start)?;
        let mut number = 0;
        for _ in 0..self.simulator.draw(MOST_TOKENS + 1) {
            number += 1;
            if self.simulator.one_in(6) {
                let retry = run.on_retry(Retry::new(u32::try_from(number).unwrap(), "slow", std::time::Duration::ZERO));
                if let Some(sent) = self.poke(retry).await {
                    self.check(sent, name, What::Other(number))?;
                }
                continue;
            }
            let choice = u32::from(self.simulator.one_in(4));
            let what = What::Token { choice, number };
            let emit = run.on_llm_new_token(LlmChunk::new(token(number)).with_index(choice));
            if self.simulator.one_in(8) {
                // Two at a time: they come one after the other.
                number += 1;
                let next = run.on_llm_new_token(LlmChunk::new(token(number)).with_index(choice));
                let (first, second) = zip(emit, next).await;
                self.check(first, name, what)?;
                self.check(second, name, What::Token { choice, number })?;
            } else if let Some(sent) = self.poke(emit).await {
                self.check(sent, name, what)?;
            }
        }
        self.finish(run, name).await
    }

    async fn finish(&self, run: LlmRun, name: &str) -> Result<(), Stop> {
        match self.simulator.draw(6) {
            0 => {
                drop(run);
                self.dropped(name).await
            }
            1 => {
                let _ = poll_once(run.end(LlmResult::from_text("early"))).await;
                Ok(())
            }
            2 => {
                let mut end = pin!(run.end(LlmResult::from_text("early")));
                let _ = poll_once(&mut end).await;
                Ok(())
            }
            3 => self.check(run.error("broken").await, name, What::End),
            _ => self.check(run.end(LlmResult::from_text("whole")).await, name, What::End),
        }
    }

    /// The end of a run that was dropped is emitted: a flush waits for it. (Not by one who has another run open: what he leaked of that, or keeps from
    /// being admitted, waits for himself.)
    async fn dropped(&self, name: &str) -> Result<(), Stop> {
        let inside = name.matches('.').count() > 1;
        if inside || self.simulator.one_in(2) {
            return Ok(());
        }
        self.callbacks.flush().await;
        let events = self.history.books().accepted.get(name).cloned().unwrap_or_default();
        if events.last() != Some(&What::End) {
            self.history
                .wrong(format!("a flush came back before the end of {name}, which was dropped before it"));
        }
        let of_this = [(name.to_owned(), events)].into();
        for (number, plan) in self.plans.iter().enumerate() {
            model::all_handled(&self.history, number, plan, &of_this, "a flush");
        }
        Ok(())
    }

    /// Awaits an emit, or drops or leaks it after some polls.
    async fn poke<T>(&self, emit: impl Future<Output = Result<(), T>>) -> Option<Result<(), T>> {
        let leaks = match self.simulator.draw(8) {
            0 => false,
            1 => true,
            _ => return Some(emit.await),
        };
        let mut emit = Box::pin(emit);
        for _ in 0..=self.simulator.draw(3) {
            if let Some(sent) = poll_once(&mut emit).await {
                return Some(sent);
            }
            yield_now().await;
        }
        if leaks {
            std::mem::forget(emit);
        }
        None
    }

    /// Looks whether what has come back may, and whether all who were waited for have handled it.
    fn check<T>(&self, sent: Result<T, EmitError>, name: &str, what: What) -> Result<T, Stop> {
        match sent {
            Ok(sent) => {
                model::emitted(&self.history, &self.plans, name, what);
                Ok(sent)
            }
            Err(EmitError::Raised(_)) => {
                model::emitted(&self.history, &self.plans, name, what);
                if !self.plans.iter().any(|plan| plan.raises) {
                    self.history.wrong(format!("nobody raises, and {name} got {what:?} raised"));
                }
                Err(Stop)
            }
            Err(EmitError::ShutDown | EmitError::RunClosed) => Err(Stop),
            Err(error) => {
                self.history.wrong(format!("{name} got {error:?} for {what:?}"));
                Err(Stop)
            }
        }
    }
}

/// A future that is dropped after so many polls.
pub(super) struct DroppedAfter<F>(Option<Pin<Box<F>>>, usize);

impl<F> DroppedAfter<F> {
    pub(super) fn new(future: F, polls: usize) -> Self {
        Self(Some(Box::pin(future)), polls)
    }
}

impl<F: Future<Output = ()>> Future for DroppedAfter<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match (self.1.checked_sub(1), &mut self.0) {
            (Some(left), Some(future)) => {
                let poll = future.as_mut().poll(cx);
                self.1 = left;
                if left == 0 {
                    self.0 = None;
                    return Poll::Ready(());
                }
                poll
            }
            _ => Poll::Ready(()),
        }
    }
}
