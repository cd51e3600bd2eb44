//! The six handlers.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use rappel_core::{
    AsyncCallbackHandler, Background, CallbackHandler, CallbackManager, Event, EventContext,
    HandlerError, HandlerFuture, HandlerResult, Overflow, Pipelined, Timer,
};

use crate::load::{Call, Load, Size, Track};

/// The queue length of handlers that mostly keep up.
const ROOM: usize = 64;

/// The queue length of the slow handler: so short that its emitters have to wait.
const SLOW_ROOM: usize = 4;

/// Number of calls in a row that a run gets at most while another run waits.
const QUANTUM: usize = 64;

/// Number of sync handlers.
pub(crate) const SYNC_HANDLERS: usize = 4;

/// The name of the handler that fails.
const FAILING: &str = "failing";

/// Number of calls of a handler that fail: one in ten tokens of the failing handler.
pub(crate) fn failures(name: &str, size: Size) -> usize {
    if name == FAILING { size.runs * (size.tokens / 10) } else { 0 }
}

/// Adds the handlers. Returns their tracks in the order of registration.
pub(crate) fn register(
    callbacks: CallbackManager,
    timer: Arc<dyn Timer>,
    load: &Arc<Load>,
) -> (CallbackManager, Vec<Arc<Track>>) {
    // One event more waits: the one whose emitter waits for room.
    let track = |name, room| Track::new(name, room + 1, load);
    let tracks = vec![
        Track::new("async-awaited", 0, load),
        track("async-pipelined", ROOM),
        Track::new("sync-awaited", 0, load),
        track("sync-background", ROOM),
        Track::new(FAILING, 0, load),
        track("slow", SLOW_ROOM),
    ];
    let at = |index: usize| tracks[index].clone();
    let background = Background::new(ROOM).open_traces(load.size.runs).overflow(Overflow::Wait);
    let in_place = Async { track: at(0), timer: None };
    let in_tasks = Async { track: at(1), timer: Some(timer) };
    let sync = |index, manner| Sync::new(at(index), load, manner);
    let callbacks = callbacks
        .with_async_handler(in_place)
        .with_async_handler_options(in_tasks, Pipelined::new(ROOM))
        .with_handler(sync(2, Manner::Quick))
        .with_handler_options(sync(3, Manner::Late), background)
        .with_handler(sync(4, Manner::Failing))
        .with_handler_options(sync(5, Manner::Slow), Pipelined::new(SLOW_ROOM));
    (callbacks, tracks)
}

#[derive(Clone, Copy)]
enum Manner {
    Quick,
    /// Sleeps in each run's end, so that a flush has something to wait for.
    Late,
    Failing,
    /// Sleeps now and then, for longer in sum than all others take, so that emitters have to wait
    /// for room.
    Slow,
}

struct Sync {
    track: Arc<Track>,
    load: Arc<Load>,
    manner: Manner,
    /// Whether a call is out. `&mut self` promises that there is only one, and the lane must keep
    /// it.
    busy: AtomicBool,
    turns: Turns,
}

/// The calls so far, to check that runs are served in turn.
#[derive(Default)]
struct Turns {
    calls: usize,
    last: Option<usize>,
    /// Calls in a row for the last run.
    streak: usize,
    /// Those of them that began while another run waited.
    quantum: usize,
    /// Whether another run waited when the last call began.
    contended: bool,
}

impl Sync {
    fn new(track: Arc<Track>, load: &Arc<Load>, manner: Manner) -> Self {
        Self {
            track,
            load: load.clone(),
            manner,
            busy: AtomicBool::new(false),
            turns: Turns::default(),
        }
    }

    fn handle(&self, call: &Call<'_>) -> HandlerResult {
        let end = self.load.size.events() - 1;
        match self.manner {
            Manner::Late if call.position == end => thread::sleep(Duration::from_millis(1)),
            Manner::Slow if self.turns.calls % 100 == 0 => thread::sleep(Duration::from_millis(2)),
            Manner::Failing if (1..end).contains(&call.position) && call.position % 10 == 0 => {
                return Err(HandlerError::new("a tenth token"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl CallbackHandler for Sync {
    fn name(&self) -> &str {
        self.track.name
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let track = self.track.clone();
        let Some(call) = track.begin(event, cx) else {
            return Ok(());
        };
        if self.busy.swap(true, Ordering::AcqRel) {
            track.problem(call.run, "a call began inside another one");
        }
        self.turns.count(&call, &track);
        let result = self.handle(&call);
        self.busy.store(false, Ordering::Release);
        result
    }
}

impl Turns {
    /// Runs are served in turn. While another run waits, a run gets at most [`QUANTUM`] calls in a
    /// row.
    fn count(&mut self, call: &Call<'_>, track: &Track) {
        self.calls += 1;
        let again = self.last.replace(call.run) == Some(call.run);
        self.quantum = if again { self.quantum + usize::from(self.contended) } else { 0 };
        if self.quantum > QUANTUM {
            let calls = self.quantum;
            track.problem(call.run, &format!("{calls} calls in a row while another run waited"));
        }
        self.streak = if again && track.is_other_open() { self.streak + 1 } else { 1 };
        track.streak.fetch_max(self.streak, Ordering::Relaxed);
        self.contended = track.others_waiting(call, self.calls) > 0;
        track.contended.fetch_add(usize::from(self.contended), Ordering::Relaxed);
    }
}

struct Async {
    track: Arc<Track>,
    /// The timer that it sleeps with, if it does.
    timer: Option<Arc<dyn Timer>>,
}

impl Async {
    async fn handle(&self, event: &Event, cx: &EventContext) -> HandlerResult {
        let Some(call) = self.track.begin(event, cx) else {
            return Ok(());
        };
        // Calls that are ready at once cannot overlap.
        if call.position % 10 == 0 {
            yield_now().await;
        }
        if let Some(timer) = self.timer.as_ref().filter(|_| call.position % 100 == 0) {
            timer.sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl AsyncCallbackHandler for Async {
    fn name(&self) -> &str {
        self.track.name
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(self.handle(event, cx))
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
