//! The current run, and the handlers' calls that code is in.
//!
//! A place is in force while a future is polled or dropped inside it, and during a handler's call.
//! It is never in force between polls. So it does not leak to other tasks on the thread, and it
//! moves with its task. Without `std` there are no thread-locals: no code has a current run, and
//! calls are not noticed.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::RunNode;
use crate::util::sync::{AtomicBool, Ordering};

/// What a place makes current.
#[derive(Clone)]
pub(crate) struct Scope {
    /// A `Run`, or the `Setup` of a manager: higher layers know them.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "there is no current place"))]
    pub(crate) of: Arc<dyn Any + Send + Sync>,
    /// The current run.
    pub(crate) node: Option<Arc<RunNode>>,
}

/// Where code is. `None` is outside of everything.
pub(crate) type Current = Option<Arc<Place>>;

/// A place in which code runs.
pub(crate) struct Place {
    scope: Option<Scope>,
    frame: Option<Arc<Frame>>,
    /// How many calls led here, those that have returned included.
    depth: u8,
}

/// A handler's call, as the code inside it sees it.
pub(crate) struct Frame {
    /// The run whose event is handled.
    node: Arc<RunNode>,
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "only waiting asks for it"))]
    kind: FrameKind,
    /// The call has returned. Code that was spawned in it and goes on is in no call.
    returned: AtomicBool,
    /// The call that the emitter is in.
    outer: Option<Arc<Frame>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// On the emitter's task, or on a task of the runtime.
    Task,
    /// On a thread of the blocking executor, which may block.
    Worker,
}

/// How many calls may lead to an event. Beyond this, handlers emit in a circle.
const MOST_CALLS: u8 = 32;

impl Place {
    /// The place inside `scope`, as seen from where this code is.
    pub(crate) fn inside(scope: Scope) -> Current {
        let outer = current();
        let frame = outer.as_ref().and_then(|place| place.live()).cloned();
        let depth = outer.map_or(0, |place| place.depth);
        Some(Arc::new(Self { scope: Some(scope), frame, depth }))
    }

    /// The call of a handler for an event of `node` that was emitted in `emitter`.
    pub(crate) fn in_call(emitter: &Current, node: &Arc<RunNode>, kind: FrameKind) -> Arc<Self> {
        let outer = emitter.as_ref();
        let frame = Frame {
            node: node.clone(),
            kind,
            returned: AtomicBool::new(false),
            // Calls that have returned are left out, or tasks that spawn each other would keep
            // all of them.
            outer: outer.and_then(|place| place.live()).cloned(),
        };
        Arc::new(Self {
            scope: outer.and_then(|place| place.scope.clone()),
            frame: Some(Arc::new(frame)),
            depth: outer.map_or(0, |place| place.depth).saturating_add(1),
        })
    }

    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// The call that the place was made for has returned.
    pub(crate) fn end_call(&self) {
        if let Some(frame) = &self.frame {
            frame.returned.store(true, Ordering::Release);
        }
    }

    /// Whether no code has taken the place along.
    pub(crate) fn is_unshared(place: &Arc<Self>) -> bool {
        let frame = place.frame.as_ref();
        Arc::strong_count(place) == 1 && frame.is_none_or(|frame| Arc::strong_count(frame) == 1)
    }

    /// The innermost call that has not returned.
    fn live(&self) -> Option<&Arc<Frame>> {
        self.calls().next()
    }

    /// The calls that have not returned, from the innermost to the outermost.
    fn calls(&self) -> impl Iterator<Item = &Arc<Frame>> {
        core::iter::successors(self.frame.as_ref(), |frame| frame.outer.as_ref())
            .filter(|frame| !frame.returned.load(Ordering::Acquire))
    }
}

/// Whether the two are the same place.
#[inline]
pub(crate) fn is_same(one: &Current, other: &Current) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(feature = "std")]
mod local {
    use core::cell::Cell;
    use core::mem::ManuallyDrop;

    use super::Current;

    std::thread_local! {
        /// Every guard that puts a place in force takes it away again. So nothing is left to drop
        /// when the thread ends, and a value without a destructor is quicker to reach.
        static CURRENT: Cell<ManuallyDrop<Current>> = const { Cell::new(ManuallyDrop::new(None)) };
        /// Whether there is a current place.
        static IS_SOMEWHERE: Cell<bool> = const { Cell::new(false) };
        static READY_EVENTS: Cell<u32> = const { Cell::new(0) };
    }

    /// Puts `current` in force. What was in force is in `current` then.
    #[inline]
    pub(crate) fn swap(current: &mut Current) {
        let new = current.take();
        IS_SOMEWHERE.set(new.is_some());
        *current = ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(new)));
    }

    /// Whether there is no current place.
    #[inline]
    pub(crate) fn is_nowhere() -> bool {
        !IS_SOMEWHERE.get()
    }

    #[inline]
    pub(crate) fn look<O>(f: impl FnOnce(&Current) -> O) -> O {
        // Put back if `f` panics. `f` does not look or swap.
        f(&Taken(CURRENT.replace(ManuallyDrop::new(None))).0)
    }

    struct Taken(ManuallyDrop<Current>);

    impl Drop for Taken {
        #[inline]
        fn drop(&mut self) {
            CURRENT.set(core::mem::replace(&mut self.0, ManuallyDrop::new(None)));
        }
    }

    /// The count is the thread's.
    pub(crate) type Ticks = ();

    /// Counts a ready event of this thread. Whether the emitter should yield.
    #[inline]
    pub(crate) fn tick((): &mut Ticks) -> bool {
        READY_EVENTS.with(super::count)
    }
}

#[cfg(not(feature = "std"))]
mod local {
    use core::cell::Cell;

    use super::Current;

    #[inline]
    pub(crate) fn swap(_: &mut Current) {}

    #[inline]
    pub(crate) fn is_nowhere() -> bool {
        true
    }

    #[inline]
    pub(crate) fn look<O>(f: impl FnOnce(&Current) -> O) -> O {
        f(&None)
    }

    /// The ready events of a run.
    pub(crate) type Ticks = u32;

    /// Counts a ready event of a run. Whether the emitter should yield.
    #[inline]
    pub(crate) fn tick(events: &mut Ticks) -> bool {
        let cell = Cell::new(*events);
        let yields = super::count(&cell);
        *events = cell.get();
        yields
    }
}

pub(crate) use local::{Ticks, tick};
use local::{is_nowhere, look, swap};

/// How many events an emitter may find ready before it yields.
const EVENTS_BETWEEN_YIELDS: u32 = 64;

#[inline]
fn count(events: &core::cell::Cell<u32>) -> bool {
    let count = events.get() + 1;
    events.set(if count >= EVENTS_BETWEEN_YIELDS { 0 } else { count });
    count >= EVENTS_BETWEEN_YIELDS
}

/// Where the code on this thread is.
pub(crate) fn current() -> Current {
    look(Current::clone)
}

/// Where an emitter is, as its run has to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// It is in another place than the one that was given.
    pub(crate) moved: bool,
    pub(crate) in_call: bool,
    /// An event that is emitted here is one too many.
    pub(crate) too_deep: bool,
}

/// Where the code on this thread is, compared with `place`.
#[inline]
pub(crate) fn here(place: &Current) -> Here {
    match place {
        None if is_nowhere() => Here { moved: false, in_call: false, too_deep: false },
        place => look(|current| here_in(current, place)),
    }
}

#[cold]
fn here_in(current: &Current, place: &Current) -> Here {
    let now = current.as_ref();
    Here {
        moved: !is_same(current, place),
        in_call: now.is_some_and(|place| place.live().is_some()),
        too_deep: now.is_some_and(|place| place.depth >= MOST_CALLS),
    }
}

/// Whether the code on this thread is in `place`.
#[inline]
pub(crate) fn is_here(place: &Current) -> bool {
    look(|current| is_same(current, place))
}

/// Whether an event that is emitted here is one too many.
pub(crate) fn is_too_deep() -> bool {
    here(&None).too_deep
}

/// Whether the code on this thread is inside a handler's call.
#[inline]
pub(crate) fn is_in_call() -> bool {
    look(|current| current.as_ref().is_some_and(|place| place.live().is_some()))
}

/// Whether an event of `node` is being handled further out.
pub(crate) fn is_handling(node: &Arc<RunNode>) -> bool {
    look(|current| {
        let is_it = |frame: &Arc<Frame>| Arc::ptr_eq(&frame.node, node);
        current.as_ref().is_some_and(|place| place.calls().any(is_it))
    })
}

/// Whether this thread may block, as far as calls are concerned: a worker's call has a thread of
/// its own. Code around any other call waits for it.
#[cfg(feature = "std")]
pub(crate) fn may_wait_here() -> bool {
    look(|current| {
        let live = current.as_ref().and_then(|place| place.live());
        live.is_none_or(|frame| frame.kind == FrameKind::Worker)
    })
}

/// Puts a place in force until it is dropped, and then the one before again.
pub(crate) struct Entered(Current);

pub(crate) fn enter(mut current: Current) -> Entered {
    swap(&mut current);
    Entered(current)
}

impl Drop for Entered {
    fn drop(&mut self) {
        swap(&mut self.0);
        let place = self.0.take();
        // A scope's drop may be user code.
        crate::util::drop_quietly(place);
    }
}

/// Puts a place in force until it is dropped, and then takes it back.
pub(crate) struct Swapped<'a>(&'a mut Current);

impl<'a> Swapped<'a> {
    #[inline]
    pub(crate) fn new(current: &'a mut Current) -> Self {
        swap(current);
        Self(current)
    }
}

impl Drop for Swapped<'_> {
    #[inline]
    fn drop(&mut self) {
        swap(self.0);
    }
}

pin_project! {
    /// A future that is polled, and dropped, with a current run or manager:
    /// see [`InRun`](crate::InRun).
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Scoped<F> {
        // `None` once it is dropped.
        #[pin]
        future: Option<F>,
        current: Current,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _place = Swapped::new(this.current);
                this.future.set(None);
            }
        }
    }
}

impl<F> Scoped<F> {
    pub(crate) fn new(future: F, current: Current) -> Self {
        Self { future: Some(future), current }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _place = Swapped::new(this.current);
        let future = this.future.as_mut().as_pin_mut();
        let poll = future.expect("it is not polled after it was ready").poll(cx);
        if poll.is_ready() {
            this.future.set(None);
        }
        poll
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.current.as_ref().and_then(|place| place.scope()?.node.as_ref());
        f.debug_struct("Scoped").field("run", &node.map(|node| &node.info)).finish_non_exhaustive()
    }
}
