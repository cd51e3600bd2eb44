//! A run as its events and its lanes see it, and its place in the tree of open runs.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use slab::Slab;

use super::Reporter;
use crate::handler::HandlerId;
use crate::model::error::{EmitError, HandlerFailure};
use crate::model::run_info::RunInfo;
use crate::util::sync::{AtomicBool, Ordering};
use crate::util::{Mutex, WaitGroup, WaitGuard, WakerKey, WakerSet, drop_quietly, wake, wake_all};

/// A run that its parent can close.
pub(crate) trait OpenRun: Send + Sync {
    /// Closes the run if it is open. Runs that have to be closed before it are added to `more`.
    fn close_by_parent(self: Arc<Self>, more: &mut Vec<Arc<dyn OpenRun>>);
}

/// What a run's events and lanes share. It does not keep the run open, nor its ancestors.
pub(crate) struct RunNode {
    pub(crate) info: Arc<RunInfo>,
    /// Identifies the trace: one allocation for a local root and all runs under it.
    pub(crate) trace: Arc<Trace>,
    pub(crate) reporter: Reporter,
    /// Whether it was started inside a handler's call.
    pub(crate) nested: bool,
    /// What the emitter of the event in flight waits for. Absent if no handler has a lane.
    answers: Option<Arc<WaitGroup>>,
    /// Whether there is anything in `raised`.
    is_raised: AtomicBool,
    /// The first failure that concerns the emitter, by weight and by the handler's number.
    raised: Mutex<Option<Box<(Rank, EmitError)>>>,
    /// Whether there is anything in `refused`.
    any_refused: AtomicBool,
    /// The handlers that did not get the run's start.
    #[expect(clippy::box_collection, reason = "most runs have none, and it is 16 bytes smaller")]
    refused: Mutex<Option<Box<Vec<HandlerId>>>>,
    tree: Mutex<Tree>,
    /// Whether the run is closed for the work inside it.
    closed: AtomicBool,
    /// Made for the first future that waits for that.
    closed_wakers: Mutex<Option<Box<WakerSet>>>,
}

/// A local root run and all runs under it that are not detached.
pub(crate) struct Trace {
    /// Held while an event is queued in several lanes.
    pub(crate) order: Mutex<()>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { order: Mutex::new(()) }
    }
}

/// The lower, the sooner it is returned: by its weight, then inline handlers, then registration.
pub(crate) type Rank = (u8, bool, HandlerId);

#[derive(Default)]
struct Tree {
    /// Where the run is attached: its parent, and its key there.
    parent: Option<Weak<RunNode>>,
    key: u32,
    /// Made for the first child.
    children: Option<Box<Slab<Weak<dyn OpenRun>>>>,
    /// Whether no more children are taken.
    closed: bool,
    /// Waits until the last child is closed.
    waker: Option<Waker>,
}

impl Tree {
    fn is_childless(&self) -> bool {
        self.children.as_ref().is_none_or(|children| children.is_empty())
    }
}

impl RunNode {
    /// A run of its parent's trace. It has to be [attached](Self::attach) when it starts.
    pub(crate) fn under(parent: &Self, info: Arc<RunInfo>, reporter: Reporter) -> Self {
        let node = Self::new(parent.trace.clone(), info, reporter, false);
        if parent.any_refused.load(Ordering::Acquire) {
            let refused = parent.refused.with(|refused| refused.clone());
            node.refused.with(|handlers| *handlers = refused);
            node.any_refused.store(true, Ordering::Release);
        }
        node
    }

    /// A run that no parent waits for: the first one of its trace, or a replayed one.
    pub(crate) fn new(
        trace: Arc<Trace>,
        info: Arc<RunInfo>,
        reporter: Reporter,
        nested: bool,
    ) -> Self {
        Self {
            info,
            trace,
            reporter,
            nested,
            answers: None,
            is_raised: AtomicBool::new(false),
            raised: Mutex::new(None),
            any_refused: AtomicBool::new(false),
            refused: Mutex::new(None),
            tree: Mutex::new(Tree::default()),
            closed: AtomicBool::new(false),
            closed_wakers: Mutex::new(None),
        }
    }

    /// Makes room for answers of handlers with a lane.
    pub(crate) fn with_answers(mut self) -> Self {
        self.answers = Some(Arc::new(WaitGroup::new()));
        self
    }

    pub(crate) fn trace_id(&self) -> usize {
        Arc::as_ptr(&self.trace).addr()
    }

    /// Keeps the emitter waiting until the guard is dropped.
    pub(crate) fn answer(&self) -> Option<WaitGuard> {
        self.answers.as_ref().map(WaitGuard::new)
    }

    /// Ready when no handler with a lane keeps the emitter waiting.
    pub(crate) fn poll_answers(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.answers.as_ref().map_or(Poll::Ready(()), |answers| answers.poll(cx))
    }

    /// Keeps a failure for the emitter, unless one that comes before it is kept.
    pub(crate) fn raise(&self, rank: Rank, error: EmitError) {
        let new = Box::new((rank, error));
        let replaced = self.raised.with(|first| match first {
            Some(known) if known.0 <= rank => Some(new),
            _ => first.replace(new),
        });
        self.is_raised.store(true, Ordering::Release);
        // The cause is a handler's.
        drop_quietly(replaced);
    }

    /// Takes the failure that was kept for the emitter.
    #[inline(always)]
    pub(crate) fn take_raised(&self) -> Option<EmitError> {
        match self.is_raised.load(Ordering::Acquire) {
            true => self.take_first_raised(),
            false => None,
        }
    }

    #[cold]
    fn take_first_raised(&self) -> Option<EmitError> {
        self.is_raised.store(false, Ordering::Release);
        self.raised.with(Option::take).map(|raised| raised.1)
    }

    /// The handler gets nothing of the run, nor of any run under it.
    pub(crate) fn refuse(&self, handler: HandlerId) {
        self.refused.with(|refused| refused.get_or_insert_default().push(handler));
        self.any_refused.store(true, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_refused(&self, handler: HandlerId) -> bool {
        self.any_refused.load(Ordering::Acquire)
            && self
                .refused
                .with(|refused| refused.as_ref().is_some_and(|refused| refused.contains(&handler)))
    }

    /// Attaches an open run to its parent. `false` if the parent has ended: then the run is
    /// detached.
    pub(crate) fn attach(&self, parent: &Arc<Self>, run: Weak<dyn OpenRun>) -> bool {
        let key = parent
            .tree
            .with(|tree| (!tree.closed).then(|| tree.children.get_or_insert_default().insert(run)));
        if let Some(key) = key {
            // More children than that are not open at a time.
            self.tree.with(|tree| {
                (tree.parent, tree.key) = (Some(Arc::downgrade(parent)), key as u32);
            });
        }
        key.is_some()
    }

    /// Detaches a run from its parent. Its end has been handled in place and queued in every lane.
    pub(crate) fn detach(&self) {
        let (parent, key) = self.tree.with(|tree| (tree.parent.take(), tree.key as usize));
        let Some(parent) = parent.and_then(|parent| parent.upgrade()) else { return };
        let (_child, waker) = parent.tree.with(|tree| {
            let child = tree.children.as_mut().and_then(|children| children.try_remove(key));
            (child, if tree.is_childless() { tree.waker.take() } else { None })
        });
        waker.into_iter().for_each(wake);
    }

    /// Whether the run is attached to no parent.
    #[cfg(feature = "serde")]
    pub(crate) fn is_top(&self) -> bool {
        self.tree.with(|tree| tree.parent.is_none())
    }

    /// Takes no more children. Returns those that are open.
    pub(crate) fn close_tree(&self) -> Vec<Arc<dyn OpenRun>> {
        self.tree.with(|tree| {
            tree.closed = true;
            let children = tree.children.iter().flat_map(|children| children.iter());
            children.filter_map(|(_, child)| child.upgrade()).collect()
        })
    }

    pub(crate) fn is_childless(&self) -> bool {
        self.tree.with(|tree| tree.is_childless())
    }

    /// Whether the run takes no more children.
    pub(crate) fn has_ended(&self) -> bool {
        self.tree.with(|tree| tree.closed)
    }

    /// Ready when no child is open.
    pub(crate) fn poll_childless(&self, cx: &mut Context<'_>) -> Poll<()> {
        // The waker is user code: it is cloned and dropped outside the lock.
        let waker = cx.waker().clone();
        let (poll, _replaced) = self.tree.with(|tree| {
            if tree.is_childless() {
                return (Poll::Ready(()), Some(waker));
            }
            (Poll::Pending, tree.waker.replace(waker))
        });
        poll
    }

    /// Whether the run was closed by its parent or by a shutdown.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the run for the work inside it: instrumented futures and streams resolve.
    pub(crate) fn close_work(&self) {
        // First the mark, then the wakers, so that a future that registers later sees the mark.
        self.closed.swap(true, Ordering::AcqRel);
        let wakers = self.closed_wakers.with(Option::take);
        wake_all(wakers.into_iter().flat_map(|mut wakers| wakers.take()));
    }

    /// Ready when the run was closed by its parent or by a shutdown.
    pub(crate) fn poll_closed(&self, key: &mut WakerKey, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_closed() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let _replaced =
            self.closed_wakers.with(|wakers| wakers.get_or_insert_default().register(key, waker));
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Forgets a waker that [`poll_closed`](Self::poll_closed) registered.
    pub(crate) fn forget_closed(&self, key: &mut WakerKey) {
        let _waker = self.closed_wakers.with(|wakers| wakers.as_mut()?.remove(key));
    }

    pub(crate) fn report(&self, failure: &HandlerFailure) {
        self.reporter.report(failure);
    }
}

impl Drop for RunNode {
    fn drop(&mut self) {
        drop_quietly(self.raised.get_mut().take());
    }
}
