//! How a handler is registered.

use alloc::sync::Arc;
use core::time::Duration;

use crate::deadline::Deadline;
use crate::lane::Overflow;
use crate::runtime::Timer;

/// The delivery in which emitting returns once the handler has handled the event: the default, as in LangChain.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Awaited;

/// [`Awaited`] for good: the handler is called inline, or its failure is raised, so that no other delivery will do.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AwaitedOnly;

/// The delivery in which emitting returns once the event is queued; a run's end returns once the handler has handled all of the run.
#[derive(Debug, Clone, Copy)]
pub struct Pipelined {
    /// How many events of a run wait at most, at least 1; its start and its end have room beside them. What becomes of more says
    /// [`overflow`](HandlerOptions::overflow).
    pub capacity: usize,
}

/// The delivery that nobody waits for, but a [`flush`](crate::CallbackManager::flush).
///
/// Where there is no room, it has to let go of something; each time it is counted, and the handler is told with its next event
/// ([`Event::losses`](crate::Event::losses)). Starts and ends of runs that it has taken are never dropped.
#[derive(Debug, Clone, Copy)]
pub struct Background {
    /// How many events of a run wait at most, at least 1; its start and its end have room beside them. What becomes of more says
    /// [`overflow`](HandlerOptions::overflow). Where that drops tokens, another event takes the place of one, or is dropped where there is none.
    pub capacity: usize,
    /// How many runs it takes at a time, from their start until their end is handled; at least 1. More are refused: the handler hears nothing of them.
    pub open_runs: usize,
}

/// No time-out.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Untimed;

/// A time-out, which needs a runtime that is a [`Timer`].
#[derive(Debug, Clone, Copy)]
pub struct Timed(Duration);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Awaited {}
    impl Sealed for super::AwaitedOnly {}
    impl Sealed for super::Pipelined {}
    impl Sealed for super::Background {}
    impl Sealed for super::Untimed {}
    impl Sealed for super::Timed {}
}

/// How events come to a handler: [`Awaited`], [`Pipelined`] or [`Background`].
pub trait IntoDelivery: sealed::Sealed {
    #[doc(hidden)]
    fn into_delivery(self) -> Delivery;
}

impl IntoDelivery for Awaited {
    fn into_delivery(self) -> Delivery {
        Delivery::AWAITED
    }
}

impl IntoDelivery for Pipelined {
    fn into_delivery(self) -> Delivery {
        Delivery {
            mode: Mode::Pipelined,
            capacity: self.capacity.max(1),
            open_runs: MOST_RUNS,
            overflow: Overflow::Wait,
        }
    }
}

impl IntoDelivery for Background {
    fn into_delivery(self) -> Delivery {
        Delivery {
            mode: Mode::Background,
            capacity: self.capacity.max(1),
            open_runs: self.open_runs.max(1),
            overflow: Overflow::Coalesce,
        }
    }
}

/// Deliveries in which events wait in a mailbox.
pub trait Queued: sealed::Sealed {}
impl Queued for Pipelined {}
impl Queued for Background {}

/// Deliveries in which emitters wait.
pub trait Waits: sealed::Sealed {}
impl Waits for Awaited {}
impl Waits for AwaitedOnly {}
impl Waits for Pipelined {}

/// [`Awaited`], committed or not.
pub trait IsAwaited: sealed::Sealed {}
impl IsAwaited for Awaited {}
impl IsAwaited for AwaitedOnly {}

/// What a handler's time-out asks of the runtime `R`: nothing, or a [`Timer`].
pub trait TimedBy<R>: sealed::Sealed {
    #[doc(hidden)]
    fn deadline(self, runtime: &Arc<R>) -> Option<DeadlineOf>;
}

impl<R> TimedBy<R> for Untimed {
    fn deadline(self, _: &Arc<R>) -> Option<DeadlineOf> {
        None
    }
}

impl<R: Timer> TimedBy<R> for Timed {
    fn deadline(self, runtime: &Arc<R>) -> Option<DeadlineOf> {
        Some(DeadlineOf(Deadline::new(self.0, runtime.clone())))
    }
}

/// A deadline on its way from the options to the registration.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "nobody sees it")]
pub struct DeadlineOf(pub(crate) Deadline);

/// More runs than a process has. It is a bound all the same.
const MOST_RUNS: usize = 1 << 20;

/// How many events of a run an awaited handler's mailbox has room for: more than one only where they are emitted inside a call of the handler itself,
/// and so cannot be waited for.
const AWAITED_ROOM: usize = 64;

/// A delivery with all that belongs to it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    mode: Mode,
    capacity: usize,
    open_runs: usize,
    overflow: Overflow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Awaited,
    Pipelined,
    Background,
}

impl Delivery {
    const AWAITED: Self = Self {
        mode: Mode::Awaited,
        capacity: AWAITED_ROOM,
        open_runs: MOST_RUNS,
        overflow: Overflow::Wait,
    };

    pub(crate) fn is_awaited(self) -> bool {
        self.mode == Mode::Awaited
    }

    pub(crate) fn mode(self) -> Mode {
        self.mode
    }

    pub(crate) fn is_background(self) -> bool {
        self.mode == Mode::Background
    }

    pub(crate) fn capacity(self) -> usize {
        self.capacity
    }

    pub(crate) fn open_runs(self) -> usize {
        self.open_runs
    }

    pub(crate) fn is_limited(self) -> bool {
        self.open_runs < MOST_RUNS
    }

    pub(crate) fn overflow(self) -> Overflow {
        self.overflow
    }

    /// Whether an emitter may be made to wait for room.
    pub(crate) fn waits_for_room(self) -> bool {
        !self.is_background() || self.overflow == Overflow::Wait
    }
}

/// Where a handler is called, if not where its kind usually is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Usual,
    Inline,
    Runtime,
}

/// How a handler is registered.
///
/// `D` is its delivery, `T` its time-out: what makes sense for one delivery only exists for that one only, and a time-out needs a runtime that is a
/// [`Timer`].
///
/// ```
/// use core::time::Duration;
/// use rappel_core::{Background, HandlerOptions, Overflow, Pipelined};
///
/// let gate = HandlerOptions::new().name("gate").run_inline(true).raise_error(true).inherit(false);
/// let page = HandlerOptions::new().delivery(Pipelined { capacity: 256 }).overflow(Overflow::Coalesce);
/// let traces = HandlerOptions::new().delivery(Background { capacity: 256, open_runs: 1024 }).timeout(Duration::from_secs(5));
/// # let _ = (gate, page, traces);
/// ```
///
/// What nobody waits for has nobody to raise an error to:
///
/// ```compile_fail
/// # use rappel_core::{HandlerOptions, Pipelined};
/// HandlerOptions::new().raise_error(true).delivery(Pipelined { capacity: 256 });
/// ```
///
/// ```compile_fail
/// # use rappel_core::{HandlerOptions, Pipelined};
/// HandlerOptions::new().delivery(Pipelined { capacity: 256 }).raise_error(true);
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a handler is registered with them"]
pub struct HandlerOptions<D = Awaited, T = Untimed> {
    common: Common,
    /// `D` is a promise that `common` keeps.
    mark: core::marker::PhantomData<D>,
    timeout: T,
}

/// The options without their types.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) inherit: bool,
    pub(crate) raise_error: bool,
    pub(crate) place: Place,
    pub(crate) delivery: Delivery,
}

impl HandlerOptions {
    /// The defaults: awaited, inherited by children, not inline, without a time-out, and a failure is reported but not raised.
    pub fn new() -> Self {
        Self {
            common: Common {
                name: None,
                inherit: true,
                raise_error: false,
                place: Place::Usual,
                delivery: Delivery::AWAITED,
            },
            mark: core::marker::PhantomData,
            timeout: Untimed,
        }
    }
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<D, T> HandlerOptions<D, T> {
    /// The handler's name in reports, instead of its own.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.common.name = Some(name.into());
        self
    }

    /// Whether the managers of child runs have it too; they do by default.
    pub fn inherit(mut self, inherit: bool) -> Self {
        self.common.inherit = inherit;
        self
    }

    /// Has an async handler called in tasks of the manager's runtime, instead of on the emitter's task: for one that uses what that runtime offers, where
    /// emitters may be polled elsewhere. The calls of one run never overlap; those of several may. A handler that is not awaited is called so anyway; a
    /// sync handler has its lane, and this changes nothing for it.
    ///
    /// Of this and [`run_inline`](Self::run_inline), the later one counts.
    pub fn on_runtime(mut self) -> Self {
        self.common.place = Place::Runtime;
        self
    }

    /// How long a call of the handler may take, counted from its start. It then fails as [`TimedOut`](crate::FailureCause::TimedOut), and whoever waits for
    /// it goes on.
    ///
    /// An async call is dropped. A sync one cannot be stopped: until it comes back, the handler's other events fail at once as
    /// [`Busy`](crate::FailureCause::Busy), those that wait for it included; of a run whose start is among them it hears nothing. A sync handler that
    /// is called inline is only found to have been too slow, afterwards.
    ///
    /// It asks for a runtime that is a [`Timer`]: the adapters' are, a manager that was [erased](crate::CallbackManager::erase) is not.
    pub fn timeout(self, after: Duration) -> HandlerOptions<D, Timed> {
        HandlerOptions {
            common: self.common,
            mark: self.mark,
            timeout: Timed(after),
        }
    }

    fn with_mark<E>(self) -> HandlerOptions<E, T> {
        HandlerOptions {
            common: self.common,
            mark: core::marker::PhantomData,
            timeout: self.timeout,
        }
    }

    pub(crate) fn into_parts(self) -> (Common, T) {
        (self.common, self.timeout)
    }
}

impl<T> HandlerOptions<Awaited, T> {
    /// How events come to the handler: [`Awaited`], [`Pipelined`] or [`Background`].
    pub fn delivery<D: IntoDelivery>(mut self, delivery: D) -> HandlerOptions<D, T> {
        self.common.delivery = delivery.into_delivery();
        self.with_mark()
    }
}

impl<D: IsAwaited, T> HandlerOptions<D, T> {
    /// Whether it is called on the emitter's own task, before those that are not, one after the other in the order of registration.
    ///
    /// A sync handler then runs *on the event loop*, and must not block.
    pub fn run_inline(mut self, inline: bool) -> HandlerOptions<AwaitedOnly, T> {
        self.common.place = if inline { Place::Inline } else { Place::Usual };
        self.with_mark()
    }

    /// Whether its failure comes back to the emitter as [`EmitError::Raised`](crate::EmitError::Raised), once all others have seen the event.
    pub fn raise_error(mut self, raise: bool) -> HandlerOptions<AwaitedOnly, T> {
        self.common.raise_error = raise;
        self.with_mark()
    }
}

impl<D: Queued, T> HandlerOptions<D, T> {
    /// What becomes of a run's tokens that find its mailbox full: by default emitters wait where the handler is [`Pipelined`], and tokens are joined where
    /// it is in the [`Background`]. A background handler that says [`Overflow::Wait`] makes emitters wait for room, and for nothing else.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.common.delivery.overflow = overflow;
        self
    }
}

impl<D: Waits, T> HandlerOptions<D, T> {
    /// How many runs the handler takes at a time, from their start until their end is handled; at least 1. The start of one more waits, unless it is
    /// inside another run that is open, or inside a handler's call. For handlers that are not called on the emitter's task, and that want starts; by default they take a million.
    ///
    /// A task that starts more runs than this before it ends one waits for itself, for ever.
    pub fn open_runs(mut self, limit: usize) -> Self {
        self.common.delivery.open_runs = limit.max(1);
        self
    }
}
