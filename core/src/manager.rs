//! Who is registered, and what children inherit.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::time::Duration;

use futures_util::future::join_all;
use serde_json::{Map, Value};

use crate::deadline::Deadline;
use crate::engine::Engine;
use crate::error::{HandlerFailure, StartError};
use crate::event::{ChainStart, ChatModelStart, CustomEvent, LlmStart, RetrieverStart, ToolStart};
use crate::handler::{AsyncCallbackHandler, CallbackHandler, Common, HandlerOptions, TimedBy};
use crate::ledger::{Flush, Ledger};
use crate::registration::{HandlerId, Registration};
use crate::report::Reporter;
use crate::run_info::{RunId, RunInfo, RunKind};
use crate::runs::{ChainRun, LlmRun, RetrieverRun, ToolRun};
use crate::runtime::{BlockingExecutor, Clock, Entropy, Erased, Spawner, Timer};
use crate::scope::{Facts, Family, Places, Scope, SendEvent, Start};
use crate::shutdown::shut_down;
use crate::stats::{HandlerStats, ShutdownReport};

/// A manager's settings; shared with the runs that it started, and copied when it is changed after that.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) engine: Arc<Engine>,
    pub(crate) reporter: Reporter,
    handlers: Vec<Inheritable<Arc<Registration>>>,
    has_inline: bool,
    has_lanes: bool,
    tags: Vec<Inheritable<String>>,
    /// What this level's runs have: the inheritable metadata and its own.
    metadata: Map<String, Value>,
    inheritable_metadata: Map<String, Value>,
    pub(crate) parent: Ancestors,
    /// Whether its runs may outlive the parent.
    pub(crate) detached: bool,
}

/// The run whose children a manager is for, and through that its own ancestors.
#[derive(Clone)]
pub(crate) struct Ancestors(pub(crate) Option<Arc<Facts>>);

impl Drop for Ancestors {
    /// One after the other: a long line of ancestors that go together would overflow the stack, each inside the drop of the one before.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut facts) = next.and_then(Arc::into_inner) {
            next = Arc::get_mut(&mut facts.setup).and_then(|setup| setup.parent.0.take());
        }
    }
}

#[derive(Clone)]
struct Inheritable<T> {
    item: T,
    inherit: bool,
}

impl Setup {
    #[inline]
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.handlers.iter().map(|handler| &handler.item)
    }

    /// The handler with that number.
    pub(crate) fn handler(&self, number: usize) -> Option<&Arc<Registration>> {
        Some(&self.handlers.get(number)?.item)
    }

    #[inline]
    pub(crate) fn has_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// Whether any handler is asked before all others.
    #[inline]
    pub(crate) fn has_inline(&self) -> bool {
        self.has_inline
    }

    /// Whether any handler has a lane.
    #[inline]
    pub(crate) fn has_lanes(&self) -> bool {
        self.has_lanes
    }

    fn take_stock(self) -> Self {
        let has_inline = self.handlers().any(|handler| handler.run_inline);
        let has_lanes = self.handlers().any(|handler| handler.lane().is_some());
        Self {
            has_inline,
            has_lanes,
            ..self
        }
    }

    fn register(&mut self, registration: Arc<Registration>, inherit: bool) {
        self.has_inline |= registration.run_inline;
        self.has_lanes |= registration.lane().is_some();
        match self.handlers.iter_mut().find(|known| known.item.id == registration.id) {
            Some(known) => known.inherit |= inherit,
            None => self.handlers.push(Inheritable {
                item: registration,
                inherit,
            }),
        }
    }

    /// Takes over what `other` runs on, where we run on nothing.
    fn run_on(&mut self, other: &Self) {
        if !self.engine.real {
            self.engine = other.engine.clone();
        }
    }

    fn add_tag(&mut self, tag: String, inherit: bool) {
        self.tags.retain(|known| known.item != tag);
        self.tags.push(Inheritable { item: tag, inherit });
    }

    fn add_metadata(&mut self, key: String, value: Value, inherit: bool) {
        if inherit {
            self.inheritable_metadata.insert(key.clone(), value.clone());
        }
        self.metadata.insert(key, value);
    }

    /// What the manager of a run's children has.
    fn inherited(&self, parent: Arc<Facts>) -> Self {
        Self {
            engine: self.engine.clone(),
            reporter: self.reporter.clone(),
            handlers: self.handlers.iter().filter(|handler| handler.inherit).cloned().collect(),
            tags: self.tags.iter().filter(|tag| tag.inherit).cloned().collect(),
            metadata: self.inheritable_metadata.clone(),
            inheritable_metadata: self.inheritable_metadata.clone(),
            parent: Ancestors(Some(parent)),
            detached: false,
            has_inline: false,
            has_lanes: false,
        }
        .take_stock()
    }
}

/// The handlers that watch, and what their runs are tagged with.
///
/// A manager is cheap to clone, and a run keeps what it started with: a handler that is added later sees later runs only.
/// `R` is the runtime that handlers are called on; whatever *stores* a manager keeps the erased form, which has no parameter.
///
/// ```
/// # use rappel_core::{CallbackManager, handler_fn, async_handler_fn, SpawnError, Spawner, BlockingExecutor};
/// # fn example(runtime: impl Spawner + BlockingExecutor) {
/// let callbacks = CallbackManager::new(runtime)
///     .with_handler(handler_fn(|event, run| {
///         println!("{}: {}", run.name(), event.kind());
///         Ok(())
///     }))
///     .with_tags(["quickstart"]);
/// # }
/// ```
pub struct CallbackManager<R = Erased> {
    runtime: Arc<R>,
    setup: Arc<Setup>,
}

impl<R: Spawner + BlockingExecutor> CallbackManager<R> {
    /// A manager without handlers, with the system's clock and randomness.
    #[cfg(feature = "std")]
    pub fn new(runtime: R) -> Self {
        Self::with_sources(runtime, crate::runtime::SystemClock, crate::runtime::SystemEntropy)
    }

    /// A manager without handlers, with its own clock and source of random bytes: for targets without `std`, and for tests.
    pub fn with_sources(runtime: R, clock: impl Clock, entropy: impl Entropy) -> Self {
        Self::build(runtime, clock, entropy, true)
    }

    fn build(runtime: R, clock: impl Clock, entropy: impl Entropy, real: bool) -> Self {
        let runtime = Arc::new(runtime);
        let engine = Engine::new(runtime.clone(), Arc::new(clock), Arc::new(entropy), real);
        let setup = Arc::new(Setup {
            engine,
            reporter: Reporter::default(),
            handlers: Vec::new(),
            has_inline: false,
            has_lanes: false,
            tags: Vec::new(),
            metadata: Map::new(),
            inheritable_metadata: Map::new(),
            parent: Ancestors(None),
            detached: false,
        });
        Self { runtime, setup }
    }
}

impl<R> CallbackManager<R> {
    /// Adds a sync handler: called off the event loop, one call at a time, awaited, and inherited by children.
    #[must_use]
    pub fn with_handler(self, handler: impl CallbackHandler) -> Self {
        self.with_handler_options(handler, HandlerOptions::new())
    }

    /// Adds a sync handler with options.
    #[must_use]
    pub fn with_handler_options<D, T: TimedBy<R>>(mut self, handler: impl CallbackHandler, options: HandlerOptions<D, T>) -> Self {
        self.add_handler_options(handler, options);
        self
    }

    /// Adds an async handler: on the emitter's task, side by side with the others, awaited, and inherited by children.
    #[must_use]
    pub fn with_async_handler(self, handler: impl AsyncCallbackHandler) -> Self {
        self.with_async_handler_options(handler, HandlerOptions::new())
    }

    /// Adds an async handler with options.
    #[must_use]
    pub fn with_async_handler_options<D, T: TimedBy<R>>(
        mut self,
        handler: impl AsyncCallbackHandler,
        options: HandlerOptions<D, T>,
    ) -> Self {
        self.add_async_handler_options(handler, options);
        self
    }

    /// Adds a sync handler as [`with_handler`](Self::with_handler) does; the id removes it again.
    pub fn add_handler(&mut self, handler: impl CallbackHandler) -> HandlerId {
        self.add_handler_options(handler, HandlerOptions::new())
    }

    /// Adds a sync handler with options.
    pub fn add_handler_options<D, T: TimedBy<R>>(&mut self, handler: impl CallbackHandler, options: HandlerOptions<D, T>) -> HandlerId {
        let (options, deadline) = self.read(options);
        let inherit = options.inherit;
        self.register(Registration::sync(handler, options, deadline, &self.setup.engine), inherit)
    }

    /// Adds an async handler as [`with_async_handler`](Self::with_async_handler) does; the id removes it again.
    pub fn add_async_handler(&mut self, handler: impl AsyncCallbackHandler) -> HandlerId {
        self.add_async_handler_options(handler, HandlerOptions::new())
    }

    /// Adds an async handler with options.
    pub fn add_async_handler_options<D, T: TimedBy<R>>(
        &mut self,
        handler: impl AsyncCallbackHandler,
        options: HandlerOptions<D, T>,
    ) -> HandlerId {
        let (options, deadline) = self.read(options);
        let inherit = options.inherit;
        self.register(Registration::asynchronous(handler, options, deadline, &self.setup.engine), inherit)
    }

    fn read<D, T: TimedBy<R>>(&self, options: HandlerOptions<D, T>) -> (Common, Option<Deadline>) {
        let (common, timeout) = options.into_parts();
        (common, timeout.deadline(&self.runtime).map(|deadline| deadline.0))
    }

    fn register(&mut self, registration: Arc<Registration>, inherit: bool) -> HandlerId {
        let id = registration.id;
        self.setup.engine.register(&registration);
        self.change().register(registration, inherit);
        id
    }

    /// Removes a handler; false where it was not there. Runs that have started keep it.
    pub fn remove_handler(&mut self, id: HandlerId) -> bool {
        let known = self.setup.handlers().any(|handler| handler.id == id);
        if known {
            self.change().handlers.retain(|handler| handler.item.id != id);
        }
        known
    }

    /// Removes all handlers. Runs that have started keep them.
    pub fn clear_handlers(&mut self) {
        self.change().handlers.clear();
    }

    /// Adds what `other` has: its handlers, tags and metadata, after our own.
    ///
    /// A handler that both have comes once, at our place: the same handler, not one that is alike. A local one stays local; what either hands on
    /// to children is handed on. A tag that both have stays at our place. Of metadata under one key, `other`'s counts. The parent stays ours.
    #[must_use]
    pub fn merge<S>(mut self, other: &CallbackManager<S>) -> Self {
        let theirs = &other.setup;
        let setup = self.change();
        setup.run_on(theirs);
        for handler in &theirs.handlers {
            setup.register(handler.item.clone(), handler.inherit);
        }
        for tag in &theirs.tags {
            match setup.tags.iter_mut().find(|known| known.item == tag.item) {
                Some(known) => known.inherit |= tag.inherit,
                None => setup.tags.push(tag.clone()),
            }
        }
        setup.metadata.extend(theirs.metadata.clone());
        setup.inheritable_metadata.extend(theirs.inheritable_metadata.clone());
        self
    }

    /// Removes tags, at this level and for children; those that are not there are no error.
    pub fn remove_tags<T: AsRef<str>>(&mut self, tags: impl IntoIterator<Item = T>) {
        for tag in tags {
            self.change().tags.retain(|known| known.item != tag.as_ref());
        }
    }

    /// Removes metadata, at this level and for children; keys that are not there are no error.
    pub fn remove_metadata<K: AsRef<str>>(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            let setup = self.change();
            setup.metadata.remove(key.as_ref());
            setup.inheritable_metadata.remove(key.as_ref());
        }
    }

    /// Tags this level's runs. A tag that is there already moves to the end, and is no longer inherited.
    #[must_use]
    pub fn with_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        for tag in tags {
            self.change().add_tag(tag.into(), false);
        }
        self
    }

    /// Tags this level's runs and their children. A tag that is there already moves to the end.
    #[must_use]
    pub fn with_inheritable_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        for tag in tags {
            self.change().add_tag(tag.into(), true);
        }
        self
    }

    /// Adds metadata to this level's runs; a key that is there already gets the new value at this level, and keeps the old one for children.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        for (key, value) in metadata {
            self.change().add_metadata(key, value, false);
        }
        self
    }

    /// Adds metadata to this level's runs and their children; a key that is there already gets the new value.
    #[must_use]
    pub fn with_inheritable_metadata(mut self, metadata: Map<String, Value>) -> Self {
        for (key, value) in metadata {
            self.change().add_metadata(key, value, true);
        }
        self
    }

    /// Lets this manager's runs outlive the run whose children they are: for work that goes on in the background. They have it as their parent all
    /// the same. Without this, a parent that ends first cuts its open children off: they end as cancelled.
    ///
    /// What is started inside such a run hangs under that as usual.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.change().detached = true;
        self
    }

    /// Sets who is told of a handler that fails, panics, or cannot be called; by default standard error is, or with the feature
    /// `tracing` a `tracing::warn!`.
    ///
    /// It is called where the handler was: on the emitter's task, or on a thread of the blocking executor. It should be quick; a panic of
    /// its own is swallowed.
    #[must_use]
    pub fn on_handler_failure(mut self, report: impl Fn(&HandlerFailure) + Send + Sync + 'static) -> Self {
        self.change().reporter = Reporter::new(report);
        self
    }

    /// Waits until all that was emitted before this call is handled, also what no emitter waits for any more: calls whose emitter was
    /// dropped, what is queued for handlers that are not awaited, and the ends of runs that were dropped. Others may go on emitting meanwhile.
    ///
    /// It covers every manager that came of the same [`new`](Self::new). It blocks no thread. Dropping it does nothing. Awaited *inside* a
    /// handler it never returns, as the event that is being handled is not handled before that.
    pub fn flush(&self) -> Flush {
        self.setup.engine.flush()
    }

    /// Waits until the handler has handled all that was emitted before this call; at once where there is no such handler. As [`flush`](Self::flush)
    /// otherwise; it does not wait for other handlers, but where they are inline and come before this one. An event counts as emitted once the poll that
    /// it was accepted in is over.
    pub fn flush_handler(&self, id: HandlerId) -> Flush {
        let known = self.setup.handlers().find(|handler| handler.id == id).cloned();
        let known = known.or_else(|| self.setup.engine.handlers().into_iter().find(|handler| handler.id == id));
        match known {
            Some(handler) => handler.ledger.flush(),
            None => Arc::new(Ledger::new()).flush(),
        }
    }

    /// What has become of the events of this manager's handlers, in the order of their registration. It may be asked at any time.
    #[must_use]
    pub fn stats(&self) -> Vec<HandlerStats> {
        self.setup.handlers().map(|handler| handler.stats()).collect()
    }

    /// Ends it all, for every manager that came of the same [`new`](Self::new): from here on runs start inside open ones only. Waits for the open runs
    /// until the deadline, and ends the rest as [`RunError::Cancelled`](crate::RunError::Cancelled). Then it waits until all is handled, for as long
    /// again at most, and tells what became of each handler's events; what is [`pending`](HandlerStats::pending) was left undelivered.
    ///
    /// Afterwards a start, and any event of a run, is an [`EmitError::ShutDown`](crate::EmitError::ShutDown) and has not happened. Runs without handlers are
    /// not waited for, nor refused.
    ///
    /// It blocks no thread. Dropped, it leaves things where they are; called again, it goes on from there, and once all is done it only tells
    /// the same again. Awaited *inside* a handler, it waits for itself until the deadlines pass.
    pub fn shutdown(&self, deadline: Duration) -> impl Future<Output = ShutdownReport> + Send + use<R>
    where
        R: Timer,
    {
        shut_down(self.setup.engine.clone(), self.runtime.clone(), deadline)
    }

    /// The same manager without its parameter.
    #[must_use]
    pub fn erase(self) -> CallbackManager {
        CallbackManager {
            runtime: Arc::new(Erased(self.setup.engine.runtime.clone())),
            setup: self.setup,
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The run whose children this manager is for.
    pub(crate) fn parent(&self) -> Option<Arc<Facts>> {
        self.setup.parent.0.clone()
    }

    /// The runtime that handlers are called on.
    #[must_use]
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    /// Whether anybody is registered.
    #[must_use]
    pub fn has_handlers(&self) -> bool {
        self.setup.has_handlers()
    }

    /// Starts a run of a text model.
    pub fn on_llm_start(&self, start: LlmStart) -> Start<LlmRun> {
        let scope = self.open(RunKind::Llm, &start.name, start.run_id);
        Start::new(scope, || start.into())
    }

    /// Starts a run of a chat model.
    pub fn on_chat_model_start(&self, start: ChatModelStart) -> Start<LlmRun> {
        let scope = self.open(RunKind::ChatModel, &start.name, start.run_id);
        Start::new(scope, || start.into())
    }

    /// Starts a chain's run.
    pub fn on_chain_start(&self, start: ChainStart) -> Start<ChainRun> {
        let scope = self.open(RunKind::Chain, &start.name, start.run_id);
        Start::new(scope, || start.into())
    }

    /// Starts a tool's run.
    pub fn on_tool_start(&self, start: ToolStart) -> Start<ToolRun> {
        let scope = self.open(RunKind::Tool, &start.name, start.run_id);
        Start::new(scope, || start.into())
    }

    /// Starts a retriever's run.
    pub fn on_retriever_start(&self, start: RetrieverStart) -> Start<RetrieverRun> {
        let scope = self.open(RunKind::Retriever, &start.name, start.run_id);
        Start::new(scope, || start.into())
    }

    /// Starts a run for each prompt, all side by side; of a given id, the first run gets it. The runs stand in the order of the starts.
    ///
    /// A start that failed has started its run all the same, and is in the error.
    pub async fn on_llm_starts(&self, starts: impl IntoIterator<Item = LlmStart>) -> Vec<Result<LlmRun, StartError<LlmRun>>> {
        let starts: Vec<LlmStart> = starts.into_iter().collect();
        let size = starts.len();
        join_all(starts.into_iter().map(|start| self.on_llm_start(start.with_batch_size(size)))).await
    }

    /// Starts a run for each conversation, as [`on_llm_starts`](Self::on_llm_starts) does for each prompt.
    pub async fn on_chat_model_starts(&self, starts: impl IntoIterator<Item = ChatModelStart>) -> Vec<Result<LlmRun, StartError<LlmRun>>> {
        let starts: Vec<ChatModelStart> = starts.into_iter().collect();
        let size = starts.len();
        join_all(
            starts
                .into_iter()
                .map(|start| self.on_chat_model_start(start.with_batch_size(size))),
        )
        .await
    }

    /// Starts a chain's run that other runs are grouped under: its [`child`](ChainRun::child) is their manager.
    pub fn group(&self, name: impl Into<Arc<str>>) -> Start<ChainRun> {
        self.on_chain_start(ChainStart::new(name, Map::new()))
    }

    /// Sends an event of the application's own: with this level's tags and metadata, and no parent. It makes no run.
    ///
    /// It goes under the id that it was given, else under that of the run whose child this manager is, else under a new one.
    pub fn on_custom_event(&self, event: CustomEvent) -> SendEvent {
        let parent = self.setup.parent.0.as_ref().map(|facts| facts.info.id());
        let mut facts = self.facts(RunKind::None, &event.name, event.run_id.or(parent));
        facts.info.parent_id = None;
        SendEvent::new(Scope::new(facts), || event.into())
    }

    fn open(&self, kind: RunKind, name: &Arc<str>, id: Option<RunId>) -> Scope {
        Scope::new(self.facts(kind, name, id))
    }

    fn facts(&self, kind: RunKind, name: &Arc<str>, id: Option<RunId>) -> Facts {
        let setup = &self.setup;
        let id = id.unwrap_or_else(|| setup.engine.new_run_id());
        let parent = setup.parent.0.as_ref().map(|facts| &facts.info);
        let info = RunInfo {
            id,
            parent_id: parent.map(RunInfo::id),
            root_id: parent.map_or(id, RunInfo::root_id),
            kind,
            name: name.clone(),
            tags: setup.tags.iter().map(|tag| tag.item.clone()).collect(),
            metadata: setup.metadata.clone(),
        };
        Facts {
            info,
            setup: setup.clone(),
            family: Family::default(),
            places: Places::new(setup.handlers.len()),
        }
    }

    fn change(&mut self) -> &mut Setup {
        Arc::make_mut(&mut self.setup)
    }
}

impl CallbackManager {
    /// A manager that nobody listens to, and that runs on nothing: what a component has whose user gave it no callbacks.
    ///
    /// A sync handler that is added to it fails on every event, since there is no runtime to call it on.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn noop() -> Self {
        use crate::runtime::{NoRuntime, SystemClock, SystemEntropy};
        CallbackManager::build(NoRuntime, SystemClock, SystemEntropy, false).erase()
    }

    /// The manager of one call of a component: the call's callbacks, whose handlers, tags and metadata children inherit as the call says,
    /// and the component's own, which are local to it.
    ///
    /// Handlers come in this order; one that is in both comes once, as the call's. Where both have a runtime of their own, the call's
    /// takes over what an emitter drops.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn configure(call: Option<&Self>, component: Option<&Self>) -> Self {
        let Some(component) = component else {
            return call.cloned().unwrap_or_else(Self::noop);
        };
        let mut manager = match call {
            Some(call) => call.clone(),
            None => Self {
                runtime: component.runtime.clone(),
                setup: Arc::new(Setup {
                    handlers: Vec::new(),
                    has_inline: false,
                    has_lanes: false,
                    tags: Vec::new(),
                    metadata: Map::new(),
                    inheritable_metadata: Map::new(),
                    ..(*component.setup).clone()
                }),
            },
        };
        let setup = manager.change();
        setup.run_on(&component.setup);
        for handler in &component.setup.handlers {
            setup.register(handler.item.clone(), false);
        }
        for tag in &component.setup.tags {
            setup.add_tag(tag.item.clone(), false);
        }
        for (key, value) in &component.setup.metadata {
            setup.add_metadata(key.clone(), value.clone(), false);
        }
        let runtime = Erased(manager.setup.engine.runtime.clone());
        manager.runtime = Arc::new(runtime);
        manager
    }

    /// The manager of the children of the run that this code is in: inside a future that is a run ([`InRun`](crate::InRun)), and inside a
    /// handler that was called from there, on whatever thread. `None` where the code is in no run.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn current() -> Option<Self> {
        crate::context::current().run.map(|facts| Self::child_of(&facts))
    }

    pub(crate) fn child_of(facts: &Arc<Facts>) -> Self {
        let setup = facts.setup.inherited(facts.clone());
        Self {
            runtime: Arc::new(Erased(setup.engine.runtime.clone())),
            setup: Arc::new(setup),
        }
    }
}

impl<R> Clone for CallbackManager<R> {
    fn clone(&self) -> Self {
        Self {
            runtime: self.runtime.clone(),
            setup: self.setup.clone(),
        }
    }
}

impl<R> fmt::Debug for CallbackManager<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.setup.handlers().map(|handler| &*handler.name).collect();
        let tags: Vec<&str> = self.setup.tags.iter().map(|tag| tag.item.as_str()).collect();
        f.debug_struct("CallbackManager")
            .field("handlers", &names)
            .field("tags", &tags)
            .finish_non_exhaustive()
    }
}

/// What can be stored as callbacks: a manager on any runtime.
pub trait IntoCallbacks {
    /// The manager without its parameter.
    fn into_callbacks(self) -> CallbackManager;
}

impl<R> IntoCallbacks for CallbackManager<R> {
    fn into_callbacks(self) -> CallbackManager {
        self.erase()
    }
}

impl<R> IntoCallbacks for &CallbackManager<R> {
    fn into_callbacks(self) -> CallbackManager {
        self.clone().erase()
    }
}
