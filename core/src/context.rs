//! Which run the code on this thread is in, so that nested calls find their parent without passing it.
//!
//! It is in force during a poll of a future that is in a run, and during a handler's call; never between polls. So nothing leaks to a neighbour
//! on the same thread, and a task that moves to another thread takes it along. Without `std` there are no thread-locals, and no current run.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::registration::HandlerId;
use crate::scope::Facts;

/// Where code is.
#[derive(Clone, Default)]
pub(crate) struct Current {
    /// The run that it is in, if it is in one.
    pub(crate) run: Option<Arc<Facts>>,
    /// The handler's call that it is in, if it is in one.
    call: Option<Arc<Link>>,
    /// How many calls led here: a handler's call for an event that was emitted in a call for an event, and so on; also such as are over.
    depth: u8,
}

/// How many calls may lead to an event: beyond this, handlers go in a circle.
const MOST_CALLS: u8 = 32;

/// A handler's call, as the code inside it knows it; and through that the calls that it is in itself.
///
/// It is over when the call is: code that was spawned by a handler, and goes on after it, is in no call.
pub(crate) struct Link {
    /// The run whose event is being handled.
    run: Arc<Facts>,
    /// Who handles it, if only one call of that goes on at a time: over all runs, or over this one.
    busy: Option<Busy>,
    outer: Option<Arc<Link>>,
    over: AtomicBool,
}

/// A handler that can take no other event meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// None at all.
    Everywhere(HandlerId),
    /// None of this run.
    InThisRun(HandlerId),
}

impl Current {
    /// The same place, in that run.
    pub(crate) fn in_run(self, run: Option<Arc<Facts>>) -> Self {
        Self { run, ..self }
    }

    /// The same place, inside the call of a handler for an event of `run`.
    pub(crate) fn in_call(&self, run: &Arc<Facts>, busy: Option<Busy>) -> Self {
        let link = Link {
            run: run.clone(),
            busy,
            // Calls that are over are left out, or a line of tasks that spawn each other would drag them all along.
            outer: self.calls().next().cloned(),
            over: AtomicBool::new(false),
        };
        Self {
            run: self.run.clone(),
            call: Some(Arc::new(link)),
            depth: self.depth.saturating_add(1),
        }
    }

    #[inline]
    fn is_too_deep(&self) -> bool {
        self.depth >= MOST_CALLS
    }

    /// Whether the handler is being called further out, and can take no event of `run` before that call is over: who waits here for it to do so
    /// waits for himself.
    pub(crate) fn waits_for(&self, handler: HandlerId, run: &Arc<Facts>) -> bool {
        self.calls().any(|call| match call.busy {
            Some(Busy::Everywhere(busy)) => busy == handler,
            Some(Busy::InThisRun(busy)) => busy == handler && Arc::ptr_eq(&call.run, run),
            None => false,
        })
    }

    fn is_handling(&self, run: &Arc<Facts>) -> bool {
        self.calls().any(|call| Arc::ptr_eq(&call.run, run))
    }

    /// Whether this is inside a handler's call.
    pub(crate) fn is_in_a_call(&self) -> bool {
        self.calls().next().is_some()
    }

    /// The calls that this is in, from the innermost out.
    fn calls(&self) -> impl Iterator<Item = &Arc<Link>> {
        core::iter::successors(self.call.as_ref(), |link| link.outer.as_ref()).filter(|link| !link.over.load(Ordering::Acquire))
    }
}

impl Current {
    /// The call that this is in is over, whatever goes on with that at hand.
    pub(crate) fn call_is_over(&self) {
        if let Some(link) = &self.call {
            link.over.swap(true, Ordering::AcqRel);
        }
    }

    /// Whether nobody else has the call that this is in: no code goes on with that.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.call.as_ref().is_some_and(|link| Arc::strong_count(link) == 1)
    }

    /// Whether it is the same place.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_run = match (&self.run, &other.run) {
            (Some(run), Some(other)) => Arc::ptr_eq(run, other),
            (None, None) => true,
            _ => false,
        };
        let same_call = match (&self.call, &other.call) {
            (Some(call), Some(other)) => Arc::ptr_eq(call, other),
            (None, None) => true,
            _ => false,
        };
        same_run && same_call && self.depth == other.depth
    }
}

/// Whether it does no harm to make sync handlers' calls on this thread: it is calling one, off any event loop, and we are inside of that; then that may
/// be the only way to get them made. Or it blocks for what is emitted here.
pub(crate) fn may_help() -> bool {
    is_serving() || is_helping_itself()
}

/// Whether this thread is calling a sync handler, off any event loop, and we are inside of that.
pub(crate) fn is_serving() -> bool {
    local::serving().is_some_and(|serving| current().calls().any(|call| call.busy == Some(Busy::Everywhere(serving))))
}

/// Whether this thread blocks for what is emitted here, and makes the calls of handlers that are awaited itself.
pub(crate) fn is_helping_itself() -> bool {
    local::helping().is_some_and(|place| is_here(&place))
}

/// Whether this thread blocks for what was emitted there.
pub(crate) fn is_helped(emitter: &Current) -> bool {
    local::helping().is_some_and(|place| place.is(emitter))
}

/// Says on drop that the call is over.
pub(crate) struct CallOver(pub(crate) Current);

impl Drop for CallOver {
    fn drop(&mut self) {
        self.0.call_is_over();
    }
}

#[cfg(feature = "std")]
mod local {
    use core::cell::{Cell, RefCell};

    use super::{Current, HandlerId};

    std::thread_local! {
        static CURRENT: RefCell<Current> = const { RefCell::new(Current { run: None, call: None, depth: 0 }) };
    }

    std::thread_local! {
        /// The sync handler that this thread is calling, off any event loop.
        static SERVING: Cell<Option<HandlerId>> = const { Cell::new(None) };
    }

    pub(super) fn replace_serving(handler: Option<HandlerId>) -> Option<HandlerId> {
        SERVING.try_with(|cell| cell.replace(handler)).ok().flatten()
    }

    pub(super) fn serving() -> Option<HandlerId> {
        SERVING.try_with(Cell::get).ok().flatten()
    }

    std::thread_local! {
        /// Where this thread blocks for what is emitted there.
        static HELPING: RefCell<Option<Current>> = const { RefCell::new(None) };
    }

    pub(super) fn helping() -> Option<Current> {
        HELPING.try_with(|cell| cell.borrow().clone()).ok().flatten()
    }

    pub(super) fn replace_helping(place: Option<Current>) -> Option<Current> {
        HELPING.try_with(|cell| cell.replace(place)).ok().flatten()
    }

    /// Sets the current run and gives the one before. On a thread that is being torn down there is none.
    pub(super) fn replace(current: Current) -> Current {
        CURRENT.try_with(|cell| cell.replace(current)).unwrap_or_default()
    }

    /// As [`replace`]; what was in force stands in `current`.
    #[inline]
    pub(super) fn swap(current: &mut Current) {
        let _ = CURRENT.try_with(|cell| core::mem::swap(&mut *cell.borrow_mut(), current));
    }

    /// What `f` says of where we are. On a thread that is being torn down that is nowhere.
    #[inline]
    pub(super) fn look<O: Default>(f: impl FnOnce(&Current) -> O) -> O {
        CURRENT.try_with(|cell| f(&cell.borrow())).unwrap_or_default()
    }

    pub(crate) fn current() -> Current {
        look(Current::clone)
    }
}

#[cfg(not(feature = "std"))]
mod local {
    use super::{Current, HandlerId};

    pub(super) fn replace(_: Current) -> Current {
        Current::default()
    }

    #[inline]
    pub(super) fn swap(_: &mut Current) {}

    pub(super) fn replace_serving(_: Option<HandlerId>) -> Option<HandlerId> {
        None
    }

    pub(super) fn serving() -> Option<HandlerId> {
        None
    }

    pub(super) fn helping() -> Option<Current> {
        None
    }

    #[inline]
    pub(super) fn look<O: Default>(f: impl FnOnce(&Current) -> O) -> O {
        f(&Current::default())
    }

    pub(crate) fn current() -> Current {
        Current::default()
    }
}

pub(crate) use local::current;
use local::look;

/// Whether we are in that place.
#[inline]
pub(crate) fn is_here(place: &Current) -> bool {
    look(|current| current.is(place))
}

/// Whether an event that is emitted here is one too many.
#[inline]
pub(crate) fn is_too_deep() -> bool {
    look(Current::is_too_deep)
}

/// Whether an event of `run` is being handled further out.
pub(crate) fn is_handling(run: &Arc<Facts>) -> bool {
    look(|current| current.is_handling(run))
}

/// Puts a run in force until it is dropped, and then the one before again.
pub(crate) struct Entered(Current);

pub(crate) fn enter(current: Current) -> Entered {
    Entered(local::replace(current))
}

/// Puts a run in force where we are.
pub(crate) fn enter_run(run: &Arc<Facts>) -> Entered {
    enter(current().in_run(Some(run.clone())))
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(local::replace(core::mem::take(&mut self.0)));
    }
}

/// Puts a place in force on a thread that calls a sync handler, until it is dropped.
pub(crate) struct Serving<'a>(Option<HandlerId>, #[allow(dead_code, reason = "its drop does it")] Swapped<'a>);

pub(crate) fn enter_serving(current: &mut Current, handler: HandlerId) -> Serving<'_> {
    Serving(local::replace_serving(Some(handler)), Swapped::new(current))
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        local::replace_serving(self.0.take());
    }
}

/// Says that this thread blocks for what is emitted here, until it is dropped.
#[cfg(feature = "std")]
pub(crate) struct Helping(Option<Current>);

#[cfg(feature = "std")]
pub(crate) fn enter_helping() -> Helping {
    Helping(local::replace_helping(Some(current())))
}

#[cfg(feature = "std")]
impl Drop for Helping {
    fn drop(&mut self) {
        drop(local::replace_helping(self.0.take()));
    }
}

pin_project! {
    /// A future that is polled with a run in force.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct InCurrentRun<F> {
        #[pin]
        future: F,
        current: Current,
    }
}

impl<F> InCurrentRun<F> {
    pub(crate) fn new(future: F, current: Current) -> Self {
        Self { future, current }
    }
}

impl<F> fmt::Debug for InCurrentRun<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.current.run.as_ref().map(|facts| &facts.info);
        f.debug_struct("InCurrentRun").field("run", &run).finish_non_exhaustive()
    }
}

/// Puts a place in force until it is dropped, and then takes it back.
pub(crate) struct Swapped<'a>(&'a mut Current);

impl<'a> Swapped<'a> {
    #[inline]
    pub(crate) fn new(current: &'a mut Current) -> Self {
        local::swap(current);
        Self(current)
    }
}

impl Drop for Swapped<'_> {
    #[inline]
    fn drop(&mut self) {
        local::swap(self.0);
    }
}

impl<F: Future> Future for InCurrentRun<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _swapped = Swapped::new(this.current);
        this.future.poll(cx)
    }
}
