//! What happened in a simulation: what a witness saw of each run, and what each handler was given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use rappel_core::prelude::*;
use rappel_core::{FailureCause, Losses, RunId, RunKind};

/// An event, as far as its order and its text are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Start,
    Token {
        choice: u32,
        number: usize,
    },
    Other(usize),
    End,
    /// An event without a run.
    Only,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Result,
    Failed,
    Cancelled,
    Stopped,
    Panicked,
}

/// An event that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) what: What,
    pub(super) kind: EventKind,
    pub(super) at: usize,
    sequence: Option<u64>,
    /// The current run, as the witness saw it.
    current: Option<String>,
}

/// A run, or an event without a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) events: Vec<Accepted>,
    /// The run that it is under. Absent if it is detached, or if its parent may have ended when it
    /// started.
    pub(super) parent: Option<String>,
    /// Whether its parent may have ended when it started. Then it may be detached or not.
    pub(super) loose: bool,
    /// Whether it is an event without a run.
    pub(super) alone: bool,
    /// How it ended.
    how: Option<How>,
}

impl Run {
    pub(super) fn at(&self, what: What) -> Option<usize> {
        self.events.iter().find(|event| event.what == what).map(|event| event.at)
    }
}

/// What its emitter is about to do with a run.
#[derive(Debug, Clone, Default)]
struct Plan {
    parent: Option<String>,
    detached: bool,
    /// It is detached if it starts inside a handler's call, and that is not known.
    perhaps_in_call: bool,
    /// What ends it, decided first.
    end: Option<How>,
    /// The future of its end, or its handle, was leaked.
    leaked: bool,
}

/// A call of a handler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// One event, or the tokens that were joined to one.
    pub(super) told: Vec<What>,
    pub(super) losses: Losses,
    sequence: Option<u64>,
    current: Option<String>,
    pub(super) began: usize,
    /// When the handler returned or was dropped.
    pub(super) over: Option<usize>,
}

/// The calls of a handler, by the run's name.
pub(super) type Calls = BTreeMap<String, Vec<Call>>;

#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Books>>);

#[derive(Default)]
pub(super) struct Books {
    names: BTreeMap<RunId, String>,
    /// All accepted events: what a handler saw that is called where events are accepted.
    pub(super) runs: BTreeMap<String, Run>,
    plans: BTreeMap<String, Plan>,
    pub(super) handlers: Vec<Calls>,
    /// Failures by the handler's name, and whether the handler was not called.
    pub(super) failures: Vec<(String, FailureKind)>,
    /// Events that were emitted in calls and that may be accepted later.
    pub(super) deferred: Vec<(String, What)>,
    /// What must never happen.
    pub(super) wrongs: Vec<String>,
    pub(super) shut_down: bool,
    clock: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    Returned,
    TimedOut,
    NotCalled,
}

impl Books {
    fn now(&mut self) -> usize {
        self.clock += 1;
        self.clock
    }

    /// Whether a run may have ended: its owner, its parent or a shutdown is about to end it.
    pub(super) fn may_be_closed(&self, name: &str) -> bool {
        let mut next = Some(name.to_owned());
        while let Some(name) = next {
            let Some(plan) = self.plans.get(&name) else {
                break;
            };
            if plan.end.is_some() {
                return true;
            }
            next = plan.parent.clone().filter(|_| !plan.detached);
        }
        self.shut_down
    }

    /// The trace of a run: its root. `None` if that is not certain.
    pub(super) fn trace<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut name = name;
        loop {
            let run = self.runs.get(name)?;
            if run.loose {
                return None;
            }
            match &run.parent {
                Some(parent) => name = parent,
                None => return Some(name),
            }
        }
    }
}

impl History {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.books().wrongs.push(what.into());
    }

    /// A run is about to be started.
    pub(super) fn announce(&self, name: &str, parent: Option<&str>, detached: bool) {
        let plan = Plan { parent: parent.map(str::to_owned), detached, ..Plan::default() };
        self.books().plans.insert(name.to_owned(), plan);
    }

    /// A run is about to be started under the current run, or inside a handler's call.
    pub(super) fn announce_perhaps_in_call(&self, name: &str) {
        let plan = Plan { parent: current(), perhaps_in_call: true, ..Plan::default() };
        self.books().plans.insert(name.to_owned(), plan);
    }

    /// A run is about to be ended by its owner. The first that is said counts.
    pub(super) fn intend(&self, name: &str, how: How) {
        let mut books = self.books();
        books.plans.entry(name.to_owned()).or_default().end.get_or_insert(how);
    }

    /// A run's handle or the future of its end is about to be leaked.
    pub(super) fn leak(&self, name: &str) {
        self.books().plans.entry(name.to_owned()).or_default().leaked = true;
    }

    /// An event was accepted.
    pub(super) fn accept(&self, event: &Event, cx: &EventContext) {
        let mut books = self.books();
        let (name, at) = (cx.name().to_owned(), books.now());
        let alone = cx.kind() == RunKind::None;
        if event.kind().is_start() {
            books.names.insert(cx.id(), name.clone());
        }
        let what = told(event, cx);
        if event.kind().is_start() || alone {
            let plan = books.plans.get(&name).cloned().unwrap_or_default();
            let under = plan.parent.clone().filter(|_| !plan.detached);
            let closed = |parent: &String| plan.perhaps_in_call || books.may_be_closed(parent);
            // An event without a run stands in the trace of its manager's run, also if that manager's
            // runs are detached. So it is refused with that run, or by itself.
            let of_detached = alone && plan.parent.is_some() && plan.detached;
            let loose = under.as_ref().is_some_and(closed) || of_detached;
            let run = books.runs.entry(name.clone()).or_default();
            (run.parent, run.loose, run.alone) = (under.filter(|_| !loose), loose, alone);
        }
        let current = current();
        let run = books.runs.entry(name.clone()).or_default();
        let mut wrong = None;
        if let Event::LlmError(error) = event {
            if !is_partial(&run.events, &error.partial) {
                wrong = Some(format!("the partial result of {name} is another: {event:?}"));
            }
        }
        if !alone && cx.sequence() != Some(run.events.len() as u64) {
            wrong = Some(format!("{event:?} of {name} has the number {:?}", cx.sequence()));
        }
        if event.kind().is_end() {
            run.how = Some(how(event));
        }
        run.events.extend(what.into_iter().map(|what| Accepted {
            what,
            kind: event.kind(),
            at,
            sequence: cx.sequence(),
            current: current.clone(),
        }));
        books.wrongs.extend(wrong);
    }

    /// A call of handler number `handler` begins. Returns the call's number.
    pub(super) fn begin(
        &self,
        handler: usize,
        alone: Alone,
        event: &Event,
        cx: &EventContext,
    ) -> usize {
        let current = current();
        let mut books = self.books();
        let began = books.now();
        let calls = &mut books.handlers[handler];
        let open = |call: &Call| call.over.is_none();
        let overlaps = match alone {
            Alone::Everywhere => calls.values().flatten().any(open),
            Alone::InItsRun if cx.kind() == RunKind::None => false,
            Alone::InItsRun => calls.get(cx.name()).into_iter().flatten().any(open),
        };
        let of_run = calls.entry(cx.name().to_owned()).or_default();
        of_run.push(Call {
            told: told(event, cx),
            losses: cx.losses(),
            sequence: cx.sequence(),
            current,
            began,
            over: None,
        });
        let number = of_run.len() - 1;
        if overlaps {
            let name = cx.name();
            books.wrongs.push(format!("calls of handler {handler} overlap: {name}, {event:?}"));
        }
        number
    }

    pub(super) fn over(&self, handler: usize, run: &str, call: usize) {
        let mut books = self.books();
        let now = books.now();
        if let Some(calls) = books.handlers[handler].get_mut(run) {
            calls[call].over = Some(now);
        }
    }

    /// A handler's failure was reported.
    pub(super) fn fail(&self, failure: &HandlerFailure) {
        let kind = match failure.cause {
            FailureCause::Error(_) | FailureCause::Panicked(_) => FailureKind::Returned,
            FailureCause::TimedOut(_) => FailureKind::TimedOut,
            _ => FailureKind::NotCalled,
        };
        self.books().failures.push((failure.handler.to_string(), kind));
    }
}

impl Books {
    /// Looks at each run from its start to its end.
    pub(super) fn check_runs(&self, raises: bool) -> Result<(), String> {
        for (name, run) in &self.runs {
            let events = &run.events;
            let count = |what: What| events.iter().filter(|event| event.what == what).count();
            let whole = match run.alone {
                true => count(What::Only) == events.len(),
                false => {
                    events.first().is_some_and(|event| event.what == What::Start)
                        && events.last().is_some_and(|event| event.what == What::End)
                        && count(What::End) == 1
                        && count(What::Start) == 1
                }
            };
            let once: BTreeSet<What> = events.iter().map(|event| event.what).collect();
            if !whole || once.len() != events.len() {
                return Err(format!("{name} is not whole: {events:?}"));
            }
            if let (Some(parent), false) = (&run.parent, run.alone) {
                let parent_run = self.runs.get(parent);
                let at = |what| parent_run.and_then(|parent| parent.at(what));
                if at(What::Start) >= run.at(What::Start) || at(What::End) <= run.at(What::End) {
                    return Err(format!("{name} is not within {parent}: {run:?}, {parent_run:?}"));
                }
            }
            self.check_end(name, run, raises)?;
        }
        let is_lost = |(name, what): &&(String, What)| {
            let accepted = self.runs.get(name).is_some_and(|run| run.at(*what).is_some());
            !accepted && !self.may_be_closed_by_others(name)
        };
        match self.deferred.iter().find(is_lost) {
            Some(lost) => Err(format!("{lost:?} was emitted in a call, and is lost")),
            None => Ok(()),
        }
    }

    fn may_be_closed_by_others(&self, name: &str) -> bool {
        let plan = self.plans.get(name).cloned().unwrap_or_default();
        let parent = plan.parent.filter(|_| !plan.detached);
        self.shut_down || plan.leaked || parent.is_some_and(|parent| self.may_be_closed(&parent))
    }

    fn check_end(&self, name: &str, run: &Run, raises: bool) -> Result<(), String> {
        let Some(how) = run.how else { return Ok(()) };
        let Some(plan) = self.plans.get(name) else {
            return Ok(());
        };
        let by_others = self.may_be_closed_by_others(name);
        let right = match how {
            How::Cancelled if by_others => true,
            How::Stopped if raises => by_others || plan.end == Some(How::Cancelled),
            how => plan.end == Some(how),
        };
        match right {
            true => Ok(()),
            false => Err(format!("{name} ended as {how:?}: {plan:?}, {run:?}")),
        }
    }

    /// Whether a call was given the event as it was accepted.
    pub(super) fn check_call(&self, name: &str, call: &Call) -> Result<(), String> {
        let Some(first) = call.told.first() else {
            return Err("an empty call".into());
        };
        let accepted = self
            .runs
            .get(name)
            .and_then(|run| run.events.iter().find(|event| event.what == *first));
        let Some(accepted) = accepted else {
            return Err(format!("{first:?} of {name} was not emitted"));
        };
        if (accepted.sequence, &accepted.current) != (call.sequence, &call.current) {
            return Err(format!("of {name}: {accepted:?} became {call:?}"));
        }
        Ok(())
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        writeln!(f, "accepted:")?;
        for (name, run) in &books.runs {
            let events: Vec<_> = run.events.iter().map(|event| (event.at, event.what)).collect();
            let (parent, how, plan) = (&run.parent, run.how, books.plans.get(name));
            writeln!(f, "  {name} under {parent:?}, {how:?}, {plan:?}: {events:?}")?;
        }
        for (number, calls) in books.handlers.iter().enumerate() {
            writeln!(f, "handler {number}:")?;
            for (name, calls) in calls {
                let told = |call: &Call| {
                    let losses = (!call.losses.is_none()).then_some(call.losses);
                    format!("{}-{:?} {:?} {losses:?}", call.began, call.over, call.told)
                };
                let calls: Vec<_> = calls.iter().map(told).collect();
                writeln!(f, "  {name}: {calls:#?}")?;
            }
        }
        write!(f, "failures: {:?}", books.failures)
    }
}

/// Which calls of a handler never overlap.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alone {
    Everywhere,
    InItsRun,
}

/// The current run's name.
pub(super) fn current() -> Option<String> {
    RunInfo::current().map(|info| info.name().to_owned())
}

/// What an event says. A token's text is its number; joined, the numbers of all.
fn told(event: &Event, cx: &EventContext) -> Vec<What> {
    match event {
        Event::LlmNewToken(token) => {
            let numbers = token.token.split_whitespace().map(|number| number.parse().unwrap());
            let choice = token.choice();
            numbers.map(|number| What::Token { choice, number }).collect()
        }
        _ if cx.kind() == RunKind::None => vec![What::Only],
        Event::Text(text) => vec![What::Other(text.text.parse().unwrap())],
        Event::Retry(retry) => vec![What::Other(retry.attempt as usize)],
        Event::CustomEvent(custom) => vec![What::Other(custom.name.parse().unwrap())],
        event if event.kind().is_start() => vec![What::Start],
        event if event.kind().is_end() => vec![What::End],
        other => panic!("no emitter emits {other:?}"),
    }
}

/// How a run ended with this event.
fn how(event: &Event) -> How {
    let error = match event {
        Event::LlmError(error) => &error.error,
        Event::ChainError(error) => &error.error,
        Event::ToolError(error) => &error.error,
        Event::RetrieverError(error) => &error.error,
        _ => return How::Result,
    };
    match error {
        RunError::Cancelled => How::Cancelled,
        RunError::Panicked(_) => How::Panicked,
        RunError::Stopped(_) => How::Stopped,
        _ => How::Failed,
    }
}

/// Whether that is what the tokens make together.
fn is_partial(events: &[Accepted], partial: &LlmResult) -> bool {
    let mut texts = BTreeMap::<u32, String>::new();
    for event in events {
        if let What::Token { choice, number } = event.what {
            texts.entry(choice).or_default().push_str(&token(number));
        }
    }
    texts.into_iter().all(|(choice, text)| {
        let generation = partial.generations.get(choice as usize);
        generation.is_some_and(|generation| generation.text == text)
    })
}

/// A token's text.
pub(super) fn token(number: usize) -> String {
    format!("{number} ")
}
