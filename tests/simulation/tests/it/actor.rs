//! A handler that draws what it does in each call.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::prelude::*;
use rappel_core::{HandlerFuture, Timer};
use rappel_simulation::Simulator;

use super::bomb::{Armed, Bomb};
use super::history::{Alone, History};
use super::nested::{Nested, depth_of};
use super::world::{Plan, Way};

/// Longer than any time-out.
const HANG: Duration = Duration::from_millis(100);

thread_local! {
    /// Whether a sync handler's call is on this thread's stack.
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

pub(super) struct Actor {
    simulator: Simulator,
    history: History,
    number: usize,
    plan: Plan,
    nested: Arc<Mutex<Option<Nested>>>,
    _bomb: Option<Bomb>,
    _exists: Arc<()>,
}

/// What a handler does in a call.
enum Mood {
    Quick,
    /// It takes so long.
    Takes(Duration),
    Yields(usize),
    Fails,
    Panics,
    Emits,
}

impl Actor {
    pub(super) fn new(
        simulator: &Simulator,
        history: &History,
        (number, plan): (usize, &Plan),
        nested: &Arc<Mutex<Option<Nested>>>,
        exists: &Arc<()>,
    ) -> Self {
        Self {
            simulator: simulator.clone(),
            history: history.clone(),
            number,
            plan: plan.clone(),
            nested: nested.clone(),
            _bomb: plan.bombs.then(|| Bomb),
            _exists: exists.clone(),
        }
    }

    fn mood(&self, cx: &EventContext) -> Mood {
        let simulator = &self.simulator;
        match simulator.draw(16) {
            0 => Mood::Fails,
            1 => Mood::Panics,
            2..=4 => Mood::Takes(Duration::from_millis(1 + simulator.draw(4) as u64)),
            5 if simulator.one_in(3) => Mood::Takes(HANG),
            6..=8 => Mood::Yields(1 + simulator.draw(3)),
            9..=11 if self.plan.emits && depth_of(cx.name()) < 2 => Mood::Emits,
            _ => Mood::Quick,
        }
    }

    fn begin(&self, event: &Event, cx: &EventContext) -> Begun<'_> {
        let alone = if self.plan.sync { Alone::Everywhere } else { Alone::InItsRun };
        Begun {
            actor: self,
            run: cx.name().to_owned(),
            call: self.history.begin(self.number, alone, event, cx),
            finished: false,
        }
    }

    fn bomb(&self, one_in: usize) -> Option<Bomb> {
        (self.plan.bombs && self.simulator.one_in(one_in)).then(|| Bomb)
    }

    fn error(&self) -> HandlerError {
        match self.bomb(2) {
            Some(bomb) => HandlerError::new(bomb),
            None => HandlerError::new("drawn"),
        }
    }

    fn panic(&self) -> ! {
        // Without the hook, which would print it.
        match self.bomb(2) {
            Some(bomb) => resume_unwind(Box::new(bomb)),
            None => resume_unwind(Box::new("drawn")),
        }
    }

    fn nested(&self) -> Option<Nested> {
        self.nested.lock().unwrap().clone()
    }
}

/// A call that has begun.
struct Begun<'a> {
    actor: &'a Actor,
    run: String,
    call: usize,
    finished: bool,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Actor { history, number, plan, .. } = self.actor;
        history.over(*number, &self.run, self.call);
        // Only a time-out cuts a call short.
        if !self.finished && !std::thread::panicking() && plan.timeout.is_none() {
            history.wrong(format!("a call of handler {number} for {} is cut short", self.run));
        }
    }
}

/// A sync handler's call on this thread's stack.
struct OnStack;

impl OnStack {
    fn enter(history: &History) -> Self {
        if IN_CALL.replace(true) {
            history.wrong("a handler is called on the stack of another");
        }
        Self
    }
}

impl Drop for OnStack {
    fn drop(&mut self) {
        IN_CALL.set(false);
    }
}

impl CallbackHandler for Actor {
    fn interest(&self) -> Interest {
        self.plan.interest
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let _on_stack = OnStack::enter(&self.history);
        let mut begun = self.begin(event, cx);
        let on_the_loop = self.plan.way == Way::Inline;
        let mood = self.mood(cx);
        begun.finished = true;
        match mood {
            Mood::Fails => return Err(self.error()),
            Mood::Panics => self.panic(),
            Mood::Takes(duration) if !on_the_loop => self.simulator.block_for(duration),
            Mood::Emits => {
                if let Some(nested) = self.nested() {
                    let emit = nested.emit(cx.name());
                    // A handler on the loop must not block it. It polls once, and drops.
                    match on_the_loop {
                        true => drop(self.simulator.block_on(poll_once(emit))),
                        false => self.simulator.block_on(emit),
                    }
                }
            }
            Mood::Quick | Mood::Yields(_) | Mood::Takes(_) => {}
        }
        Ok(())
    }
}

impl AsyncCallbackHandler for Actor {
    fn interest(&self) -> Interest {
        self.plan.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        let future = Box::pin(async move {
            let mut begun = self.begin(event, cx);
            match self.mood(cx) {
                Mood::Quick => {}
                Mood::Takes(duration) => self.simulator.sleep(duration).await,
                Mood::Yields(times) => {
                    for _ in 0..times {
                        yield_now().await;
                    }
                }
                Mood::Emits => {
                    if let Some(nested) = self.nested() {
                        nested.emit(cx.name()).await;
                    }
                }
                Mood::Fails => {
                    begun.finished = true;
                    return Err(self.error());
                }
                Mood::Panics => {
                    begun.finished = true;
                    self.panic()
                }
            }
            begun.finished = true;
            Ok(())
        });
        match self.bomb(8) {
            Some(bomb) => HandlerFuture::new(Armed { future, _bomb: Some(bomb) }),
            None => HandlerFuture::new(future),
        }
    }
}
