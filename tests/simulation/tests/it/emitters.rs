//! Applications that emit: they await, drop and leak what they emit, nest runs, end them with open
//! children, and flush. They check at once what they were promised.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::{poll_fn, poll_once, yield_now, zip};
use futures_lite::{FutureExt, StreamExt, stream};
use rappel_core::prelude::*;
use rappel_core::{End, Timer, json};
use rappel_simulation::Simulator;

use super::bomb::{Bomb, Own, defuse};
use super::held::{Held, Kind, Starting};
use super::history::{History, How, What, current, token};
use super::inside::{DropCheck, Inside};
use super::model;
use super::world::{Plan, Shutdown, World};

const MOST_TOKENS: usize = 7;

/// How many levels of runs a trace has at most.
const MOST_LEVELS: usize = 4;

/// Longer than anything that a handler does.
const LONG: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Emitter {
    simulator: Simulator,
    callbacks: CallbackManager,
    history: History,
    plans: Arc<[Plan]>,
    leaks: bool,
    bombs: bool,
    /// Whether a call of a model may never return, because a shutdown comes.
    silent: bool,
    /// The run that is current where it emits.
    inside: Option<String>,
}

/// Why an emitter stops.
pub(super) struct Stop;

/// Where runs are started.
struct Under<'a> {
    callbacks: CallbackManager,
    parent: Option<&'a str>,
    detached: bool,
    level: usize,
}

type Done = Result<(), Stop>;

impl Emitter {
    pub(super) fn new(world: &World) -> Self {
        Self {
            simulator: world.simulator.clone(),
            callbacks: world.callbacks.clone(),
            history: world.history.clone(),
            plans: world.plans.as_slice().into(),
            leaks: world.traits.leaks,
            bombs: world.traits.bombs,
            silent: world.traits.shutdown != Shutdown::No,
            inside: None,
        }
    }

    /// A few traces, one after the other.
    pub(super) async fn go(self, name: String) {
        for number in 0..=self.simulator.draw(2) {
            let name = format!("{name}.{number}");
            let under = self.top();
            if self.any(under, name).await.is_err() {
                return;
            }
            if self.simulator.one_in(4) {
                self.flush().await;
            }
        }
    }

    fn top(&self) -> Under<'static> {
        Under { callbacks: self.callbacks.clone(), parent: None, detached: false, level: 0 }
    }

    /// What was accepted before it has been handled when it returns.
    pub(super) async fn flush(&self) {
        let before = self.history.books().runs.clone();
        if let Err(error) = self.callbacks.flush().await {
            self.history.wrong(format!("a flush failed: {error:?}"));
        }
        for (number, plan) in self.plans.iter().enumerate() {
            model::all_handled(&self.history, number, plan, &before, "a flush");
        }
    }

    /// A run of any kind, and what is under it.
    fn any<'a>(
        &'a self,
        under: Under<'a>,
        name: String,
    ) -> Pin<Box<dyn Future<Output = Done> + Send + 'a>> {
        let deep = under.level + 1 >= MOST_LEVELS;
        match self.simulator.draw(8) {
            0 | 1 => Box::pin(self.instrumented(under, name)),
            2 => Box::pin(self.stream(under, name)),
            3..=5 if !deep => Box::pin(self.tree(under, name)),
            _ => Box::pin(self.model(under, name)),
        }
    }

    /// A run with children.
    async fn tree(&self, under: Under<'_>, name: String) -> Done {
        let kind = self.simulator.pick(&[Kind::Chain, Kind::Chain, Kind::Tool, Kind::Retriever]);
        let Some(mut held) = self.start(kind, &under, &name).await? else {
            return Ok(());
        };
        for number in 0..self.simulator.draw(5) {
            if self.simulator.one_in(3) {
                if !self.emit(&mut held, true).await? {
                    break;
                }
                continue;
            }
            let callbacks = held.child();
            let done = self.child(callbacks, &name, number, under.level + 1).await;
            // An application may go on without what has failed under it.
            if self.simulator.one_in(2) {
                done?;
            }
        }
        self.finish(held).await
    }

    /// One or two runs under `parent`.
    async fn child(
        &self,
        callbacks: CallbackManager,
        parent: &str,
        number: usize,
        level: usize,
    ) -> Done {
        let name = |letter: char| format!("{parent}/{number}{letter}");
        let detached = self.simulator.one_in(8);
        let callbacks = if detached { callbacks.detached() } else { callbacks };
        let under =
            || Under { callbacks: callbacks.clone(), parent: Some(parent), detached, level };
        match self.simulator.draw(8) {
            0 | 1 => {
                let (first, second) =
                    zip(self.any(under(), name('a')), self.any(under(), name('b'))).await;
                first.and(second)
            }
            2 | 3 => {
                // Its parent may end first.
                let (this, parent, name) = (self.outside(), parent.to_owned(), name('t'));
                let callbacks = callbacks.clone();
                let task = async move {
                    let parent = Some(parent.as_str());
                    let _ = this.any(Under { callbacks, parent, detached, level }, name).await;
                };
                self.simulator.go(DroppedAfter::new(task, self.polls()));
                Ok(())
            }
            4 => {
                let child = async { drop(self.any(under(), name('d')).await) };
                DroppedAfter::new(child, 1 + self.simulator.draw(12)).await;
                Ok(())
            }
            5 => {
                let name = format!("custom {}", self.simulator.number());
                self.history.announce(&name, Some(parent), detached);
                let custom = CustomEvent::new(name.as_str(), json!(0));
                let sent = callbacks.on_custom_event(custom).await;
                self.check(sent, &name, What::Only)
            }
            _ => self.any(under(), name('c')).await,
        }
    }

    /// The same emitter, outside of every run.
    fn outside(&self) -> Self {
        Self { inside: None, ..self.clone() }
    }

    /// After how many polls a task is dropped.
    fn polls(&self) -> usize {
        match self.simulator.one_in(2) {
            true => usize::MAX,
            false => 1 + self.simulator.draw(40),
        }
    }

    /// A model's run.
    async fn model(&self, under: Under<'_>, name: String) -> Done {
        let kind = self.simulator.pick(&[Kind::Llm, Kind::Llm, Kind::ChatModel]);
        let Some(mut held) = self.start(kind, &under, &name).await? else {
            return Ok(());
        };
        for _ in 0..self.simulator.draw(MOST_TOKENS + 1) {
            let more = self.emit(&mut held, true).await?;
            if !more {
                break;
            }
        }
        if self.silent && self.simulator.one_in(6) {
            self.wait_until_closed(&mut held).await;
        }
        self.finish(held).await
    }

    /// A model that never answers. Its run is closed at last.
    async fn wait_until_closed(&self, held: &mut Held) {
        let closed = held.run().until_closed();
        if !closed.await {
            self.history.wrong(format!("{} goes on though it is closed", held.name));
        }
        if !self.history.books().may_be_closed(&held.name) {
            self.history.wrong(format!("{} is closed, and nothing has closed it", held.name));
        }
    }

    /// A stream that is a run.
    async fn stream(&self, under: Under<'_>, name: String) -> Done {
        let Some(held) = self.start(Kind::Llm, &under, &name).await? else {
            return Ok(());
        };
        let tokens = self.simulator.draw(MOST_TOKENS);
        let fails = self.simulator.one_in(6);
        let silent = self.silent && self.simulator.one_in(6);
        let end = if fails { How::Failed } else { How::Result };
        let (history, run) = (self.history.clone(), name.clone());
        let last = async move {
            if silent {
                std::future::pending::<()>().await;
            }
            history.intend(&run, end);
            fails.then_some(Err("broken"))
        };
        let chunks = stream::iter(1..=tokens).map(|number| Ok(token(number)));
        let last = stream::once_future(last).filter_map(|last| last);
        // Dropped before its end, the stream cancels its run.
        let guard = Inside::guard(&self.history, &name);
        let chunks = chunks.chain(last).map(move |item| {
            let _ = &guard;
            item
        });
        let Some(llm) = held.into_llm() else {
            return Ok(());
        };
        let mut stream = pin!(chunks.with_callbacks(llm));
        let takes = self.simulator.one_in(4).then(|| self.simulator.draw(tokens + 1));
        let mut number = 0;
        while takes.is_none_or(|takes| number < takes) {
            match stream.next().await {
                None => return Ok(()),
                Some(Ok(_)) => {
                    number += 1;
                    let what = What::Token { choice: 0, number };
                    self.check(Ok(()), &name, what)?;
                }
                Some(Err(error)) => return self.check_error(error, &name, fails),
            }
        }
        Ok(())
    }

    /// Looks whether an instrumented future or stream may fail with that.
    fn check_error(&self, error: RunError, name: &str, fails: bool) -> Done {
        let books = self.history.books();
        let closed = books.may_be_closed(name);
        let right = match &error {
            RunError::Cancelled => closed,
            RunError::Stopped(_) => self.plans.iter().any(|plan| plan.raises),
            RunError::Failed(cause) => {
                fails || (closed && cause.downcast_ref::<EmitError>().is_some())
            }
            _ => false,
        };
        drop(books);
        if !right {
            self.history.wrong(format!("{name} failed with {error:?}"));
        }
        defuse(error);
        Err(Stop)
    }

    /// A future that is a run.
    async fn instrumented(&self, under: Under<'_>, name: String) -> Done {
        self.history.announce(&name, under.parent, under.detached);
        let fails = self.simulator.one_in(6);
        let panics = self.simulator.one_in(8);
        let silent = self.silent && self.simulator.one_in(4);
        let emitter = Self { inside: Some(name.clone()), ..self.clone() };
        let (check, dropped) = DropCheck::new(&self.history, &name);
        let body = async {
            let check = check;
            check.started();
            for number in 0..self.simulator.draw(4) {
                emitter.check_place();
                let Some(callbacks) = CallbackManager::current() else {
                    emitter.history.wrong("an instrumented future has no manager");
                    break;
                };
                if under.level + 1 < MOST_LEVELS {
                    let _ = emitter.child(callbacks, &name, number, under.level + 1).await;
                }
                emitter.check_place();
            }
            if silent {
                std::future::pending::<()>().await;
            }
            if panics {
                emitter.history.intend(&name, How::Panicked);
                // Without the hook, which would print it.
                resume_unwind(Box::new("drawn"));
            }
            drop(check);
            match fails {
                true if self.bombs => Err(RunError::failed(Bomb)),
                true => Err(RunError::failed("broken")),
                false => Ok(json!(1)),
            }
        };
        let body = Inside::new(&self.history, &name, body);
        let future = body.in_chain(&under.callbacks, name.as_str(), json!(0));
        // The error is in the future until the run has ended.
        let future = Own { future: Some(Box::pin(future)), has_bomb: fails && self.bombs };
        let done = AssertUnwindSafe(future).catch_unwind().await;
        if !dropped.get() {
            self.history.wrong(format!("what {name} wraps is not dropped"));
        }
        match done {
            Ok(Ok(_)) => self.check(Ok(()), &name, What::End),
            Ok(Err(error)) => {
                self.history.intend(&name, How::Cancelled);
                self.check_error(error, &name, fails)
            }
            Err(panic) => {
                defuse(panic);
                if !panics {
                    self.history.wrong(format!("{name} panicked"));
                }
                Err(Stop)
            }
        }
    }

    /// Starts a run. `None` if the emitter has dropped or leaked the start.
    async fn start(&self, kind: Kind, under: &Under<'_>, name: &str) -> Result<Option<Held>, Stop> {
        self.check_place();
        let place = (under.parent, under.detached);
        let mut start = Starting::new(&self.history, &under.callbacks, kind, name, place);
        let gives_up = self.simulator.one_in(12);
        let polls = if gives_up { self.simulator.draw(4) } else { usize::MAX };
        let mut polled = 0;
        let result = poll_fn(|cx| {
            if polled == polls {
                return Poll::Ready(None);
            }
            polled += 1;
            Pin::new(&mut start).poll(cx).map(Some)
        });
        match result.await {
            Some(result) => self.check(result, name, What::Start).map(Some),
            None => {
                if self.leaks && self.simulator.one_in(2) {
                    start.leak();
                }
                Ok(None)
            }
        }
    }

    /// Emits an event, or two. `false` if the run must not emit any more.
    async fn emit(&self, held: &mut Held, hand_written: bool) -> Result<bool, Stop> {
        self.check_place();
        held.events += 1;
        let number = held.events;
        let name = held.name.clone();
        if self.simulator.one_in(6) {
            let sent = self.poke(held.run().retry(number)).await;
            return self.check_sent(sent, &name, What::Other(number));
        }
        let what = held.what(number);
        if hand_written && self.simulator.one_in(8) {
            let run = held.run();
            run.start_send(number);
            // A stream that is dropped in the middle of an event.
            let polls = if self.simulator.one_in(4) { self.simulator.draw(3) } else { usize::MAX };
            let mut polled = 0;
            let sent = poll_fn(|cx| {
                if polled == polls {
                    return Poll::Ready(None);
                }
                polled += 1;
                run.poll_flush(cx).map(Some)
            });
            let Some(sent) = sent.await else {
                return Ok(false);
            };
            return self.check_sent(Some(sent), &name, what);
        }
        let sent = self.poke(held.run().emit(number)).await;
        self.check_sent(sent, &name, what)
    }

    fn check_sent(
        &self,
        sent: Option<Result<(), EmitError>>,
        name: &str,
        what: What,
    ) -> Result<bool, Stop> {
        sent.map_or(Ok(()), |sent| self.check(sent, name, what)).map(|()| true)
    }

    /// Ends a run in one of the ways there are.
    async fn finish(&self, mut held: Held) -> Done {
        let name = held.name.clone();
        match self.simulator.draw(12) {
            0 | 1 => {
                drop(held);
                return self.dropped(&name).await;
            }
            2 => self.finish_child_first(&mut held).await,
            3 if self.leaks => {
                held.leak();
                return Ok(());
            }
            4 => {
                let mut end = Box::pin(held.into_end());
                for _ in 0..self.simulator.draw(4) {
                    if let Some(ended) = poll_once(&mut end).await {
                        return self.check(ended, &name, What::End);
                    }
                    yield_now().await;
                }
                self.give_up_end(end, &name);
                return Ok(());
            }
            5 | 6 => {
                let bomb = self.bombs && self.simulator.one_in(2);
                let ended = held.into_failure(bomb).await;
                return self.check(ended, &name, What::End);
            }
            _ => {}
        }
        self.check_place();
        let ended = held.into_end().await;
        self.check(ended, &name, What::End)
    }

    fn give_up_end(&self, end: Pin<Box<End>>, name: &str) {
        if self.leaks && self.simulator.one_in(2) {
            self.history.leak(name);
            std::mem::forget(end);
        } else {
            defuse(end);
        }
    }

    /// A child's run is open when the run ends. It is closed before.
    async fn finish_child_first(&self, held: &mut Held) {
        let callbacks = held.child();
        let name = format!("{}/open", held.name);
        let under = Under { callbacks, parent: Some(&held.name), detached: false, level: 0 };
        let Ok(Some(child)) = self.start(Kind::Llm, &under, &name).await else {
            return;
        };
        let this = self.outside();
        self.simulator.go(async move {
            let mut child = child;
            this.simulator.sleep(Duration::from_millis(this.simulator.draw(50) as u64)).await;
            while let Ok(true) = this.emit(&mut child, false).await {
                if child.events > 20 {
                    let _ = this.finish_later(child).await;
                    return;
                }
            }
        });
    }

    async fn finish_later(&self, held: Held) -> Done {
        let name = held.name.clone();
        let ended = held.into_end().await;
        self.check(ended, &name, What::End)
    }

    /// The end of a run that was dropped is emitted: a flush waits for it. An emitter that has
    /// another run open does not flush: an event that it has leaked there would keep it waiting.
    async fn dropped(&self, name: &str) -> Done {
        if name.contains('/') || self.simulator.one_in(2) {
            return Ok(());
        }
        self.flush().await;
        let books = self.history.books();
        let run = books.runs.get(name).cloned().unwrap_or_default();
        drop(books);
        if run.at(What::End).is_none() {
            let wrong = "a flush returned before the end of a run that was dropped before it";
            self.history.wrong(format!("{wrong}: {name}"));
        }
        let of_this = [(name.to_owned(), run)].into();
        for (number, plan) in self.plans.iter().enumerate() {
            model::all_handled(&self.history, number, plan, &of_this, "a flush");
        }
        Ok(())
    }

    /// Awaits an emit, or drops or leaks it after some polls.
    async fn poke(
        &self,
        emit: impl Future<Output = Result<(), EmitError>>,
    ) -> Option<Result<(), EmitError>> {
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
        } else {
            defuse(emit);
        }
        None
    }

    /// Looks whether the current run is the one that this emitter is in.
    fn check_place(&self) {
        let current = current();
        if current != self.inside {
            let inside = &self.inside;
            self.history.wrong(format!("inside {inside:?}, the current run is {current:?}"));
        }
    }

    /// Looks whether an emit may return that, and whether all handlers that it waits for have
    /// handled the event.
    fn check<T>(&self, sent: Result<T, EmitError>, name: &str, what: What) -> Result<T, Stop> {
        match sent {
            Ok(sent) => {
                model::emitted(&self.history, &self.plans, name, what);
                return Ok(sent);
            }
            Err(EmitError::Raised(_)) => {
                model::emitted(&self.history, &self.plans, name, what);
                if !self.plans.iter().any(|plan| plan.raises) {
                    self.history
                        .wrong(format!("no handler raises, and {name} got {what:?} raised"));
                }
            }
            Err(EmitError::ShutDown) if self.history.books().shut_down => {}
            Err(EmitError::RunClosed) if self.history.books().may_be_closed(name) => {}
            Err(ref error) => self.history.wrong(format!("{name} got {error:?} for {what:?}")),
        }
        defuse(sent);
        Err(Stop)
    }

    /// Shuts it all down. What was accepted is handled then, and nothing is accepted any more.
    pub(super) async fn shut_down(self, when: Shutdown) {
        let simulator = &self.simulator;
        match when {
            Shutdown::Last => simulator.sleep(100 * LONG).await,
            _ => {
                for _ in 0..simulator.draw(50) {
                    yield_now().await;
                }
                simulator.sleep(Duration::from_millis(simulator.draw(100) as u64)).await;
            }
        }
        // In one case nothing is too late, in the other perhaps everything.
        let enough = simulator.one_in(2) && when == Shutdown::AnyTime && !self.leaks;
        let deadline =
            if enough { 10 * LONG } else { Duration::from_millis(simulator.draw(20) as u64) };
        self.history.books().shut_down = true;
        let report = match self.callbacks.shutdown(deadline).await {
            Ok(report) => report,
            Err(error) => return self.history.wrong(format!("a shutdown failed: {error:?}")),
        };
        let handled = report.handlers.iter().all(|stats| stats.pending == 0);
        let delivered = handled && report.open_runs == 0;
        let accepted = self.history.books().runs.clone();
        if enough && !delivered {
            self.history.wrong(format!("there was time enough: {report:?}"));
        }
        if delivered {
            for (number, plan) in self.plans.iter().enumerate() {
                model::all_handled(&self.history, number, plan, &accepted, "a shutdown");
            }
        }
        let late = self.callbacks.on_chain_start(ChainStart::new("late", json!(0))).await;
        if !matches!(late, Err(EmitError::ShutDown)) {
            self.history.wrong(format!("a run after the shutdown: {late:?}"));
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
