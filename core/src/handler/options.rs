//! How a handler is registered.

use alloc::sync::Arc;
use core::time::Duration;

use crate::util::{conversions, setters};

/// How events get to a handler, and who waits for it.
///
/// Each delivery has its own options, so that an option cannot be combined with a delivery that it
/// makes no sense for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Emitting returns after the handler has handled the event. This is the default, as in
    /// LangChain.
    Awaited(Awaited),
    /// Emitting returns when the event is queued. The end of a run returns after the handler has
    /// handled all of the run's events.
    Pipelined(Pipelined),
    /// Nothing waits for the handler except a [`flush`](crate::CallbackManager::flush).
    Background(Background),
}

impl Delivery {
    /// Emitting returns after the handler has handled the event.
    #[must_use]
    pub const fn awaited() -> Awaited {
        Awaited::new()
    }

    /// Emitting returns when the event is queued. A run has at most `capacity` queued events.
    #[must_use]
    pub const fn pipelined(capacity: usize) -> Pipelined {
        Pipelined::new(capacity)
    }

    /// Nothing waits for the handler. A run has at most `capacity` queued events.
    #[must_use]
    pub const fn background(capacity: usize) -> Background {
        Background::new(capacity)
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Awaited::new().into()
    }
}

/// The options of [`Delivery::Awaited`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Awaited {
    inline: bool,
    raise_error: bool,
}

impl Awaited {
    /// The defaults: not inline, and failures are not raised.
    #[must_use]
    pub const fn new() -> Self {
        Self { inline: false, raise_error: false }
    }

    /// Calls the handler on the emitter's own task. Inline handlers are called before all others, in
    /// the order of registration.
    ///
    /// An inline sync handler runs *on the event loop* and must not block.
    #[must_use]
    pub const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Returns the handler's failure to the emitter as
    /// [`EmitError::Raised`](crate::EmitError::Raised), after all other handlers have seen the
    /// event.
    #[must_use]
    pub const fn raise_error(mut self) -> Self {
        self.raise_error = true;
        self
    }
}

/// The options of [`Delivery::Pipelined`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipelined {
    capacity: usize,
    overflow: Overflow,
}

impl Pipelined {
    /// A run has at most `capacity` queued events (minimum 1), not counting its start and end. An
    /// emitter waits if its run's queue is full.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { capacity: at_least_one(capacity), overflow: Overflow::Wait }
    }

    /// Sets what happens to a run's tokens when its queue is full. The default is
    /// [`Overflow::Wait`].
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// The options of [`Delivery::Background`].
///
/// When a queue is full, events are dropped, coalesced or refused. Each of them is counted, and the
/// handler gets the counts with its next event ([`EventContext::losses`](crate::EventContext::losses)).
/// The starts and ends of accepted runs are never dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Background {
    capacity: usize,
    open_traces: usize,
    overflow: Overflow,
}

impl Background {
    /// A run has at most `capacity` queued events (minimum 1), not counting its start and end. If
    /// the queue is full, tokens are coalesced. An event that is not a token then takes the place of
    /// a token, or is dropped if there is none.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { capacity: at_least_one(capacity), open_traces: 1024, overflow: Overflow::Coalesce }
    }

    /// Sets how many traces the handler accepts at a time (minimum 1, default 1024). A trace is a
    /// root run and all runs under it. It counts from its first start until all of its runs have
    /// ended and are handled. Further traces are refused: the handler gets no event of them.
    #[must_use]
    pub const fn open_traces(mut self, limit: usize) -> Self {
        self.open_traces = at_least_one(limit);
        self
    }

    /// Sets what happens to a run's tokens when its queue is full. The default is
    /// [`Overflow::Coalesce`]. With [`Overflow::Wait`] emitters wait for room, and for nothing else.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

const fn at_least_one(count: usize) -> usize {
    if count == 0 { 1 } else { count }
}

conversions! {
    impl From<Awaited> for Delivery = Self::Awaited;
    impl From<Pipelined> for Delivery = Self::Pipelined;
    impl From<Background> for Delivery = Self::Background;
}

/// What happens to a run's tokens when the run's queue is full.
///
/// It applies to the run's own tokens only: starts and ends always have room, and other runs have
/// their own capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The emitter waits until there is room. Nothing is lost.
    Wait,
    /// The token is joined to the run's last queued token, if both belong to the same choice. No
    /// text is lost, and there are fewer calls. The joined token has the number and the time of its
    /// first piece. Tokens are not joined across another event of the run. If a background handler's
    /// queue has no token to join, it takes one more token of each choice. Other events are dropped.
    Coalesce,
    /// The run's oldest queued token is dropped.
    DropOldest,
    /// The new token is dropped.
    DropNewest,
}

/// The delivery without its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Awaited,
    Pipelined,
    Background,
}

/// Capacity of an awaited handler's queue. It has more than one event of a run only if events are
/// emitted inside a call, where nothing may wait.
const AWAITED_CAPACITY: usize = 64;

impl Delivery {
    pub(crate) const fn mode(self) -> Mode {
        match self {
            Self::Awaited(_) => Mode::Awaited,
            Self::Pipelined(_) => Mode::Pipelined,
            Self::Background(_) => Mode::Background,
        }
    }

    /// Whether the handler is called on the emitter's task, before all others.
    pub(crate) const fn is_inline(self) -> bool {
        matches!(self, Self::Awaited(Awaited { inline: true, .. }))
    }

    /// Whether the handler's failure is returned to the emitter.
    pub(crate) const fn raises_error(self) -> bool {
        matches!(self, Self::Awaited(Awaited { raise_error: true, .. }))
    }

    /// Maximum number of queued events per run, not counting its start and end.
    pub(crate) const fn capacity(self) -> usize {
        match self {
            Self::Awaited(_) => AWAITED_CAPACITY,
            Self::Pipelined(delivery) => delivery.capacity,
            Self::Background(delivery) => delivery.capacity,
        }
    }

    /// Maximum number of open traces. `None` without a limit.
    pub(crate) const fn open_traces(self) -> Option<usize> {
        match self {
            Self::Background(delivery) => Some(delivery.open_traces),
            Self::Awaited(_) | Self::Pipelined(_) => None,
        }
    }

    pub(crate) const fn overflow(self) -> Overflow {
        match self {
            Self::Awaited(_) => Overflow::Wait,
            Self::Pipelined(delivery) => delivery.overflow,
            Self::Background(delivery) => delivery.overflow,
        }
    }

    /// Whether an event that finds the queue full may make its emitter wait.
    pub(crate) const fn waits_for_room(self) -> bool {
        !matches!(self, Self::Background(_)) || matches!(self.overflow(), Overflow::Wait)
    }

    const fn with_overflow(self, overflow: Overflow) -> Self {
        match self {
            Self::Awaited(_) => self,
            Self::Pipelined(delivery) => Self::Pipelined(delivery.overflow(overflow)),
            Self::Background(delivery) => Self::Background(delivery.overflow(overflow)),
        }
    }
}

/// How a handler is registered.
///
/// ```
/// use core::time::Duration;
/// use rappel_core::{Awaited, Delivery, HandlerOptions, Overflow};
///
/// let gate = HandlerOptions::new().name("gate").delivery(Awaited::new().inline().raise_error());
/// let page = HandlerOptions::new().delivery(Delivery::pipelined(64)).overflow(Overflow::Coalesce);
/// let traces = HandlerOptions::new()
///     .delivery(Delivery::background(256).open_traces(100))
///     .timeout(Duration::from_secs(5));
/// # let _ = (gate, page, traces);
/// ```
///
/// Only an awaited handler can raise an error, because no emitter waits for the others:
///
/// ```compile_fail
/// # use rappel_core::Pipelined;
/// Pipelined::new(256).raise_error();
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a handler is registered with them"]
pub struct HandlerOptions {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) inherit: bool,
    pub(crate) on_runtime: bool,
    delivery: Delivery,
    overflow: Option<Overflow>,
}

impl HandlerOptions {
    /// The defaults: awaited, inherited by child runs, not inline, without a time-out, and failures
    /// are reported but not raised.
    pub const fn new() -> Self {
        Self {
            name: None,
            timeout: None,
            inherit: true,
            on_runtime: false,
            delivery: Delivery::Awaited(Awaited::new()),
            overflow: None,
        }
    }

    setters! {
        /// Sets the handler's name for reports, instead of its own.
        name(name: impl Into<Arc<str>>) { self.name = Some(name.into()) }
        /// Sets how events get to the handler.
        delivery(delivery: impl Into<Delivery>) { self.delivery = delivery.into() }
        /// Sets what happens to a run's tokens when its queue is full, instead of the delivery's own
        /// setting. It changes nothing for an awaited handler.
        overflow(overflow: Overflow) { self.overflow = Some(overflow) }
        /// Sets how long a call of the handler may take. The call then fails as
        /// [`TimedOut`](crate::FailureCause::TimedOut), and an emitter that waits for it goes on.
        ///
        /// For an awaited handler the time counts from the acceptance of the event, so it includes
        /// waiting for a thread. For a queued handler it counts from the start of the call.
        ///
        /// An async call is dropped. A sync call cannot be stopped. Until it returns, other events of
        /// the handler fail at once as [`Busy`](crate::FailureCause::Busy) or are counted as dropped,
        /// except the ends of its runs, which are delivered when the call has returned. A sync handler
        /// that is called inline is only reported as too slow afterwards.
        ///
        /// It needs a runtime with a [`Timer`](crate::Timer). Without one, registering the handler is an
        /// error.
        timeout(after: Duration) { self.timeout = Some(after) }
        /// Sets whether the managers of child runs have the handler too. The default is `true`.
        inherit(inherit: bool) { self.inherit = inherit }
        /// Calls an async handler in tasks of the manager's runtime instead of the emitter's task. Use
        /// it for a handler that needs that runtime, if emitters may be polled elsewhere.
        ///
        /// Handlers that are not awaited are always called there. It changes nothing for a sync
        /// handler, or for one that is inline.
        on_runtime() { self.on_runtime = true }
    }

    /// The delivery, with the overflow of the options.
    pub(crate) fn resolved_delivery(&self) -> Delivery {
        self.overflow.map_or(self.delivery, |overflow| self.delivery.with_overflow(overflow))
    }
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self::new()
    }
}

conversions! {
    impl From<Delivery> for HandlerOptions = |delivery| Self::new().delivery(delivery);
    impl From<Awaited> for HandlerOptions = |delivery| Self::new().delivery(delivery);
    impl From<Pipelined> for HandlerOptions = |delivery| Self::new().delivery(delivery);
    impl From<Background> for HandlerOptions = |delivery| Self::new().delivery(delivery);
}
