//! What a seed draws: handlers of every kind, each registered in one of the ways there are, and what each makes of its calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{HandlerFuture, Interest, TimedBy, Timer, Untimed, json};
use rappel_simulation::Simulator;

use super::history::{Alone, History};

/// Longer than any time-out.
const HANG: Duration = Duration::from_millis(100);

/// How a handler is registered.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sync: bool,
    pub(super) way: Way,
    pub(super) capacity: usize,
    pub(super) overflow: Option<Overflow>,
    pub(super) open_runs: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) raises: bool,
    /// Whether it emits in its calls.
    pub(super) emits: bool,
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
    fn draw(simulator: &Simulator, limited: bool, emits: bool) -> Self {
        let way = simulator.pick(&[Way::Awaited, Way::Inline, Way::OnRuntime, Way::Pipelined, Way::Background]);
        let queued = matches!(way, Way::Pipelined | Way::Background);
        let overflows = [
            None,
            Some(Overflow::Wait),
            Some(Overflow::Coalesce),
            Some(Overflow::DropOldest),
            Some(Overflow::DropNewest),
        ];
        let ends = [EventKind::LlmEnd, EventKind::LlmError, EventKind::ChainEnd, EventKind::ChainError];
        let interests = [
            Interest::all(),
            Interest::all(),
            Interest::all().without(EventKind::LlmNewToken),
            Interest::all().without(EventKind::LlmStart).without(EventKind::ChainStart),
            ends.into_iter().fold(Interest::all(), Interest::without),
        ];
        Self {
            sync: simulator.one_in(2),
            way,
            capacity: 1 + simulator.draw(4),
            overflow: simulator.pick(&overflows).filter(|_| queued),
            open_runs: (limited && way != Way::Inline && simulator.one_in(2)).then(|| 1 + simulator.draw(3)),
            timeout: simulator.one_in(3).then(|| Duration::from_millis(5 + simulator.draw(20) as u64)),
            raises: !queued && simulator.one_in(8),
            // One on the loop must not block, and so cannot wait for what it emits.
            emits: emits && way != Way::Inline,
            interest: simulator.pick(&interests),
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self.way, Way::Pipelined | Way::Background)
    }

    pub(super) fn overflow(&self) -> Overflow {
        let usual = if self.way == Way::Background {
            Overflow::Coalesce
        } else {
            Overflow::Wait
        };
        self.overflow.unwrap_or(usual)
    }

    /// Whether some events may be dropped for want of room.
    pub(super) fn may_drop(&self) -> bool {
        match self.overflow() {
            Overflow::DropOldest | Overflow::DropNewest => true,
            // Tokens are joined; what cannot be is dropped.
            Overflow::Coalesce => self.way == Way::Background,
            _ => false,
        }
    }

    /// Whether runs may be refused.
    pub(super) fn may_refuse(&self) -> bool {
        self.way == Way::Background && self.open_runs.is_some()
    }

    /// Whether each event that it wants comes to it, come what may.
    pub(super) fn gets_all(&self) -> bool {
        !self.may_drop() && !self.may_refuse() && self.timeout.is_none() && !self.emits
    }
}

/// The managers, handlers and emitters of a seed.
pub(super) struct World {
    pub(super) simulator: Simulator,
    pub(super) callbacks: CallbackManager<Simulator>,
    pub(super) plans: Vec<Plan>,
    pub(super) history: History,
    /// Whether some handler takes a number of runs only: a task must not hold one, and wait for others.
    pub(super) limited: bool,
    own: Own,
}

type Own = Arc<Mutex<Option<CallbackManager>>>;

impl World {
    pub(super) fn draw(simulator: &Simulator) -> Self {
        let history = History::default();
        let own = Own::default();
        let (limited, emits) = (simulator.one_in(3), simulator.one_in(3));
        // Two of them would wait for each other: A in its call for what B has to handle, B in its call for what A has to.
        let count = 1 + simulator.draw(4);
        let plans: Vec<Plan> = (0..count)
            .map(|number| Plan::draw(simulator, limited, emits && number == 0))
            .collect();
        history.books().handlers = vec![super::history::Calls::new(); count];
        let (failures, witness) = (history.clone(), history.clone());
        let callbacks = CallbackManager::new(simulator.clone())
            .on_handler_failure(move |failure| failures.books().failures.push(failure.clone()))
            .with_handler_options(
                handler_fn(move |event, run| {
                    witness.accept(event, run);
                    Ok(())
                }),
                HandlerOptions::new().run_inline(true).name("witness"),
            );
        let callbacks = plans.iter().enumerate().fold(callbacks, |callbacks, (number, plan)| {
            let actor = Actor {
                simulator: simulator.clone(),
                history: history.clone(),
                number,
                plan: plan.clone(),
                own: own.clone(),
            };
            register(callbacks, actor)
        });
        *own.lock().unwrap() = Some(callbacks.clone().erase());
        Self {
            simulator: simulator.clone(),
            callbacks,
            plans,
            history,
            limited,
            own,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A handler has a manager that has the handler.
        self.own.lock().unwrap().take();
    }
}

type Manager = CallbackManager<Simulator>;

fn register(callbacks: Manager, actor: Actor) -> Manager {
    let options = HandlerOptions::new().name(format!("handler {}", actor.number));
    let plan = actor.plan.clone();
    match plan.way {
        Way::Awaited | Way::Inline | Way::OnRuntime => {
            let options = if plan.way == Way::OnRuntime {
                options.on_runtime()
            } else {
                options
            };
            match (plan.way == Way::Inline, plan.raises) {
                (false, false) => match plan.open_runs {
                    Some(limit) => timed(callbacks, actor, options.open_runs(limit)),
                    None => timed(callbacks, actor, options),
                },
                (true, raises) => timed(callbacks, actor, options.run_inline(true).raise_error(raises)),
                (false, true) => timed(callbacks, actor, options.raise_error(true)),
            }
        }
        Way::Pipelined => {
            let options = options.delivery(Pipelined { capacity: plan.capacity });
            let options = plan.overflow.into_iter().fold(options, HandlerOptions::overflow);
            timed(
                callbacks,
                actor,
                plan.open_runs.into_iter().fold(options, HandlerOptions::open_runs),
            )
        }
        Way::Background => {
            let options = options.delivery(Background {
                capacity: plan.capacity,
                open_runs: plan.open_runs.unwrap_or(1_000),
            });
            timed(callbacks, actor, plan.overflow.into_iter().fold(options, HandlerOptions::overflow))
        }
    }
}

fn timed<D>(callbacks: Manager, actor: Actor, options: HandlerOptions<D, Untimed>) -> Manager {
    match actor.plan.timeout {
        Some(after) => add(callbacks, actor, options.timeout(after)),
        None => add(callbacks, actor, options),
    }
}

fn add<D, T: TimedBy<Simulator>>(callbacks: Manager, actor: Actor, options: HandlerOptions<D, T>) -> Manager {
    match actor.plan.sync {
        true => callbacks.with_handler_options(actor, options),
        false => callbacks.with_async_handler_options(actor, options),
    }
}

/// A handler that draws what it makes of each call.
struct Actor {
    simulator: Simulator,
    history: History,
    number: usize,
    plan: Plan,
    own: Own,
}

/// What a handler makes of a call.
enum Mood {
    Quick,
    /// It takes so long.
    Takes(Duration),
    Yields(usize),
    Fails,
    Panics,
    /// It emits a run of its own.
    Emits(usize),
}

impl Actor {
    fn mood(&self, run: &RunInfo) -> Mood {
        let simulator = &self.simulator;
        let in_its_own = run.name().starts_with("inner");
        match simulator.draw(16) {
            0 => Mood::Fails,
            1 => Mood::Panics,
            2..=4 => Mood::Takes(Duration::from_millis(1 + simulator.draw(4) as u64)),
            5 if simulator.one_in(3) => Mood::Takes(HANG),
            6..=8 => Mood::Yields(1 + simulator.draw(3)),
            9..=11 if self.plan.emits && !in_its_own => Mood::Emits(simulator.draw(4)),
            _ => Mood::Quick,
        }
    }

    fn begin(&self, event: &Event, run: &RunInfo) -> Begun<'_> {
        let alone = if self.plan.sync { Alone::Everywhere } else { Alone::InItsRun };
        Begun {
            actor: self,
            run: run.name().to_owned(),
            call: self.history.begin(self.number, alone, event, run),
            finished: false,
        }
    }

    async fn emit(&self, texts: usize) {
        let Some(callbacks) = self.own.lock().unwrap().clone() else {
            return;
        };
        let name = format!("inner {}", self.simulator.number());
        // Whatever fails of that is told where it fails.
        let Ok(run) = callbacks.on_chain_start(ChainStart::new(name, json!(0))).await else {
            return;
        };
        for text in 0..texts {
            let _ = run.on_text(text.to_string()).await;
        }
        let _ = run.end(json!(1)).await;
    }
}

/// A call that is on.
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

fn panic() -> ! {
    // Without the hook, which would print it.
    std::panic::resume_unwind(Box::new("drawn"))
}

impl CallbackHandler for Actor {
    fn interest(&self) -> Interest {
        self.plan.interest
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        let mut begun = self.begin(event, run);
        let on_the_loop = self.plan.way == Way::Inline;
        let mood = self.mood(run);
        begun.finished = true;
        match mood {
            Mood::Fails => return Err(HandlerError::new("drawn")),
            Mood::Panics => panic(),
            Mood::Takes(duration) if !on_the_loop => self.simulator.block_for(duration),
            Mood::Emits(texts) => self.simulator.block_on(self.emit(texts)),
            Mood::Quick | Mood::Yields(_) | Mood::Takes(_) => {}
        }
        Ok(())
    }
}

impl AsyncCallbackHandler for Actor {
    fn interest(&self) -> Interest {
        self.plan.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            let mut begun = self.begin(event, run);
            match self.mood(run) {
                Mood::Quick => {}
                Mood::Takes(duration) => self.simulator.sleep(duration).await,
                Mood::Yields(times) => {
                    for _ in 0..times {
                        futures_lite::future::yield_now().await;
                    }
                }
                Mood::Emits(texts) => self.emit(texts).await,
                Mood::Fails => {
                    begun.finished = true;
                    return Err(HandlerError::new("drawn"));
                }
                Mood::Panics => {
                    begun.finished = true;
                    panic()
                }
            }
            begun.finished = true;
            Ok(())
        })
    }
}
