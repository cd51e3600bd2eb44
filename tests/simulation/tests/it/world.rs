//! What a seed draws: handlers of every kind, each registered in one of the ways there are.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{HandlerFuture, Interest};
use rappel_simulation::Simulator;

use super::actor::Actor;
use super::history::{Calls, History};
use super::nested::Nested;

/// How a handler is registered.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sync: bool,
    pub(super) way: Way,
    capacity: usize,
    overflow: Option<Overflow>,
    open_traces: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) raises: bool,
    /// Whether it emits in its calls.
    pub(super) emits: bool,
    /// Whether what it makes panics when it is dropped.
    pub(super) bombs: bool,
    pub(super) interest: Interest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Awaited,
    Inline,
    OnRuntime,
    Pipelined,
    Background,
}

impl Plan {
    fn draw(simulator: &Simulator, emits: bool, bombs: bool) -> Self {
        let way = simulator.pick(&[
            Way::Awaited,
            Way::Awaited,
            Way::Inline,
            Way::OnRuntime,
            Way::Pipelined,
            Way::Background,
        ]);
        let queued = matches!(way, Way::Pipelined | Way::Background);
        let overflows = [
            None,
            Some(Overflow::Wait),
            Some(Overflow::Coalesce),
            Some(Overflow::DropOldest),
            Some(Overflow::DropNewest),
        ];
        let limited = way == Way::Background && simulator.one_in(2);
        let timed = simulator.one_in(3);
        Self {
            sync: simulator.one_in(2),
            way,
            capacity: 1 + simulator.draw(4),
            overflow: simulator.pick(&overflows).filter(|_| queued),
            open_traces: limited.then(|| 1 + simulator.draw(3)),
            timeout: timed.then(|| Duration::from_millis(5 + simulator.draw(20) as u64)),
            raises: !queued && simulator.one_in(8),
            emits: emits && simulator.one_in(2),
            bombs: bombs && simulator.one_in(2),
            interest: interest(simulator),
        }
    }

    fn overflow(&self) -> Overflow {
        let usual = match self.way {
            Way::Background => Overflow::Coalesce,
            _ => Overflow::Wait,
        };
        self.overflow.unwrap_or(usual)
    }

    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self.way, Way::Pipelined | Way::Background)
    }

    /// Whether it is called on the task of the emitter.
    pub(super) fn is_in_place(&self) -> bool {
        self.way == Way::Inline || (self.way == Way::Awaited && !self.sync)
    }

    /// Whether calls of one trace are made one after the other.
    pub(super) fn is_lane(&self) -> bool {
        !self.is_in_place()
    }

    pub(super) fn joins(&self, nested: bool) -> bool {
        self.overflow() == Overflow::Coalesce || (nested && self.overflow() == Overflow::Wait)
    }

    /// Whether an event may be dropped for want of room.
    pub(super) fn may_drop_token(&self) -> bool {
        matches!(self.overflow(), Overflow::DropOldest | Overflow::DropNewest)
    }

    pub(super) fn may_drop_other(&self) -> bool {
        self.way == Way::Background && self.overflow() != Overflow::Wait
    }

    /// Whether whole traces may be refused.
    pub(super) fn may_refuse(&self) -> bool {
        self.open_traces.is_some()
    }

    /// Whether each event that it wants gets to it, apart from those that are emitted in calls.
    pub(super) fn gets_all(&self) -> bool {
        let drops = self.may_drop_token() || self.may_drop_other();
        !drops && !self.may_refuse() && self.timeout.is_none()
    }

    fn options(&self, number: usize) -> HandlerOptions {
        let options = HandlerOptions::new().name(format!("handler {number}"));
        let awaited = match self.raises {
            true => Awaited::new().raise_error(),
            false => Awaited::new(),
        };
        let mut background = Background::new(self.capacity);
        if let Some(limit) = self.open_traces {
            background = background.open_traces(limit);
        }
        let options = match self.way {
            Way::Awaited => options.delivery(awaited),
            Way::Inline => options.delivery(awaited.inline()),
            Way::OnRuntime => options.delivery(awaited).on_runtime(),
            Way::Pipelined => options.delivery(Pipelined::new(self.capacity)),
            Way::Background => options.delivery(background),
        };
        let options = self.overflow.into_iter().fold(options, HandlerOptions::overflow);
        self.timeout.into_iter().fold(options, HandlerOptions::timeout)
    }
}

fn interest(simulator: &Simulator) -> Interest {
    let kinds = |test: fn(EventKind) -> bool| {
        EventKind::ALL.iter().copied().filter(move |kind| test(*kind))
    };
    match simulator.draw(8) {
        0 => Interest::all().without(EventKind::LlmNewToken),
        1 => kinds(EventKind::is_start).fold(Interest::all(), Interest::without),
        2 => kinds(EventKind::is_end).fold(Interest::all(), Interest::without),
        3 => {
            let some = kinds(|_| true).filter(|_| simulator.one_in(3));
            some.fold(Interest::all(), Interest::without)
        }
        _ => Interest::all(),
    }
}

/// The manager, the handlers and the history of a seed.
pub(super) struct World {
    pub(super) simulator: Simulator,
    pub(super) callbacks: CallbackManager,
    pub(super) plans: Vec<Plan>,
    pub(super) history: History,
    pub(super) traits: Traits,
    nested: Arc<Mutex<Option<Nested>>>,
    /// One for each handler that exists.
    actors: Arc<()>,
}

/// What is drawn once for all of a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    pub(super) preempts: bool,
    /// Whether the witness is asked before all others, or after the lanes.
    inline_witness: bool,
    /// Whether emitters leak what they have.
    pub(super) leaks: bool,
    /// Whether errors and others panic when they are dropped.
    pub(super) bombs: bool,
    pub(super) shutdown: Shutdown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shutdown {
    No,
    AnyTime,
    /// When all others are done or stuck.
    Last,
}

impl Traits {
    fn draw(simulator: &Simulator, preempts: bool) -> Self {
        let leaks = simulator.one_in(4);
        Self {
            preempts,
            inline_witness: simulator.one_in(3),
            leaks,
            bombs: simulator.one_in(3),
            shutdown: match simulator.draw(4) {
                0 => Shutdown::AnyTime,
                1 => Shutdown::Last,
                _ if leaks => Shutdown::Last,
                _ => Shutdown::No,
            },
        }
    }
}

impl World {
    pub(super) fn draw(seed: u64) -> Self {
        let (threads, preempts) = (if seed % 3 == 0 { 1 } else { 8 }, seed % 2 == 1);
        let simulator = Simulator::new(seed, threads);
        let simulator = if preempts { simulator.with_preemption(12) } else { simulator };
        let traits = Traits::draw(&simulator, preempts);
        let history = History::default();
        let emits = simulator.one_in(2);
        let count = 1 + simulator.draw(4);
        let plans: Vec<Plan> =
            (0..count).map(|_| Plan::draw(&simulator, emits, traits.bombs)).collect();
        history.books().handlers = vec![Calls::new(); count];
        let witness = match traits.inline_witness {
            true => Awaited::new().inline(),
            false => Awaited::new(),
        };
        let failures = history.clone();
        let sources = (simulator.clone(), simulator.clone());
        let mut callbacks = CallbackManager::with_sources(simulator.clone(), sources.0, sources.1)
            .on_handler_failure(move |failure| failures.fail(failure))
            .with_async_handler_options(Witness(history.clone()), witness);
        let nested = Arc::default();
        let actors = Arc::new(());
        for (number, plan) in plans.iter().enumerate() {
            let actor = Actor::new(&simulator, &history, (number, plan), &nested, &actors);
            let options = plan.options(number);
            callbacks = match plan.sync {
                true => callbacks.with_handler_options(actor, options),
                false => callbacks.with_async_handler_options(actor, options),
            };
        }
        let inside = Nested::new(&simulator, &history, &callbacks, &plans);
        *nested.lock().unwrap() = Some(inside);
        Self { simulator, callbacks, plans, history, traits, nested, actors }
    }

    /// Whether any handler's failure stops a run.
    pub(super) fn raises(&self) -> bool {
        self.plans.iter().any(|plan| plan.raises)
    }

    /// Whether lanes get events in the order in which the witness sees them.
    pub(super) fn witness_sees_order(&self) -> bool {
        let others = self.plans.iter().any(|plan| plan.way == Way::Inline);
        !self.traits.preempts && (!self.traits.inline_witness || !others)
    }

    /// Runs that handlers have kept are dropped.
    pub(super) fn let_go(&self) {
        let nested = self.nested.lock().unwrap().take();
        drop(nested);
    }

    /// Drops everything. Returns what still has the handlers.
    pub(super) fn take_down(self) -> (Simulator, Arc<()>) {
        (self.simulator, self.actors)
    }
}

/// Sees each event where it is accepted.
struct Witness(History);

impl AsyncCallbackHandler for Witness {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async {
            self.0.accept(event, cx);
            Ok(())
        })
    }
}
