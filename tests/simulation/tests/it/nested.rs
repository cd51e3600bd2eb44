//! What handlers emit in their calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_simulation::Simulator;

use super::bomb::defuse;
use super::held::{Held, Kind, Starting};
use super::history::{History, What};
use super::model;
use super::world::Plan;

/// Emits in handlers' calls. Nothing of it may wait for a handler with a lane.
#[derive(Clone)]
pub(super) struct Nested {
    simulator: Simulator,
    history: History,
    callbacks: CallbackManager,
    plans: Arc<[Plan]>,
    /// Runs that were started in a call and that later calls go on with.
    kept: Arc<Mutex<Vec<Held>>>,
}

/// How many calls led to a run, by its name.
pub(super) fn depth_of(name: &str) -> usize {
    match name.strip_prefix("in") {
        Some(rest) => rest.split('.').next().and_then(|depth| depth.parse().ok()).unwrap_or(1),
        None => 0,
    }
}

pub(super) fn is_nested(name: &str) -> bool {
    depth_of(name) > 0
}

impl Nested {
    pub(super) fn new(
        simulator: &Simulator,
        history: &History,
        callbacks: &CallbackManager,
        plans: &[Plan],
    ) -> Self {
        Self {
            simulator: simulator.clone(),
            history: history.clone(),
            callbacks: callbacks.clone(),
            plans: plans.into(),
            kept: Arc::default(),
        }
    }

    /// Emits something in the call for an event of `run`.
    pub(super) async fn emit(&self, run: &str) {
        let name = format!("in{}.{}", depth_of(run) + 1, self.simulator.number());
        let current = CallbackManager::current().filter(|_| self.simulator.one_in(2));
        let callbacks = current.unwrap_or_else(|| self.callbacks.clone());
        match self.simulator.draw(8) {
            0 => self.never_waits().await,
            1 | 2 => {
                self.history.announce(&name, None, true);
                let custom = CustomEvent::new(name.as_str(), json!(0));
                let sent = callbacks.on_custom_event(custom).await;
                self.check(sent, (&name, What::Only), false);
            }
            3 => {
                let kept = self.take_kept();
                match kept {
                    Some(mut kept) => {
                        kept.busy = true;
                        self.go_on(kept).await;
                    }
                    None => self.start(&callbacks, name, false).await,
                }
            }
            4 => {
                // A task of the call, which may go on after it.
                let (this, simulator) = (self.clone(), self.simulator.clone());
                let task = async move {
                    yield_now().await;
                    this.start(&callbacks, name, true).await;
                };
                simulator.go(task.in_current_run());
            }
            _ => self.start(&callbacks, name, false).await,
        }
    }

    /// Flushes, shutdowns and blocking waits are errors inside a call.
    async fn never_waits(&self) {
        let flushed = self.callbacks.flush().await;
        if !matches!(flushed, Err(EmitError::InsideCall)) {
            self.history.wrong(format!("a flush inside a call: {flushed:?}"));
        }
        let shut_down = self.callbacks.shutdown(Duration::ZERO).await;
        if !matches!(shut_down, Err(EmitError::InsideCall)) {
            self.history.wrong(format!("a shutdown inside a call: {shut_down:?}"));
        }
        let name = format!("blocked {}", self.simulator.number());
        let waited = self.callbacks.on_chain_start(ChainStart::new(name, json!(0))).wait();
        if !matches!(waited, Err(EmitError::WouldBlock)) {
            self.history.wrong(format!("a start has blocked a thread: {waited:?}"));
        }
    }

    fn take_kept(&self) -> Option<Held> {
        let mut kept = self.kept.lock().unwrap();
        let count = kept.len();
        if count == 0 {
            return None;
        }
        let drawn = self.simulator.draw(count);
        Some(kept.swap_remove(drawn))
    }

    async fn start(&self, callbacks: &CallbackManager, name: String, perhaps_in_call: bool) {
        let kind = self.simulator.pick(&[Kind::Chain, Kind::Tool, Kind::Llm, Kind::ChatModel]);
        match perhaps_in_call {
            true => self.history.announce_perhaps_in_call(&name),
            false => self.history.announce(&name, None, true),
        }
        let mut start = Starting::announced(&self.history, callbacks, kind, &name);
        let result = match self.simulator.one_in(8) {
            // Dropped after one poll.
            true => match poll_once(&mut start).await {
                Some(result) => result,
                None => return,
            },
            false => (&mut start).await,
        };
        let Some(held) = self.check(result, (&name, What::Start), false) else {
            return;
        };
        self.go_on(held).await;
    }

    async fn go_on(&self, mut held: Held) {
        for _ in 0..self.simulator.draw(4) {
            held.events += 1;
            let number = held.events;
            let what = held.what(number);
            let emit = held.run().emit(number);
            if self.simulator.one_in(6) {
                defuse(poll_once(emit).await);
                held.busy = true;
                continue;
            }
            let sent = emit.await;
            if self.check(sent, (&held.name, what), held.busy).is_none() {
                return;
            }
        }
        if self.simulator.one_in(4) {
            self.kept.lock().unwrap().push(held);
            return;
        }
        let end = match self.simulator.draw(4) {
            0 => return,
            1 => held.into_failure(false),
            _ => held.into_end(),
        };
        match self.simulator.one_in(4) {
            true => defuse(poll_once(end).await),
            false => defuse(end.await),
        }
    }

    /// Looks whether an emit inside a call may return that, and whether async handlers that are
    /// awaited where it is polled have handled it.
    fn check<T>(
        &self,
        sent: Result<T, EmitError>,
        (name, what): (&str, What),
        busy: bool,
    ) -> Option<T> {
        match sent {
            Ok(sent) => {
                model::emitted_in_call(&self.history, &self.plans, (name, what), busy);
                return Some(sent);
            }
            Err(EmitError::Raised(_)) if self.plans.iter().any(|plan| plan.raises) => {}
            Err(EmitError::ShutDown | EmitError::RunClosed)
                if self.history.books().may_be_closed(name) => {}
            Err(ref error) => {
                self.history.wrong(format!("{name} got {error:?} for {what:?} inside a call"));
            }
        }
        defuse(sent);
        None
    }
}
