//! Registration, inheritance, starts, flush and shutdown.

mod dispatcher;
mod emitter;
mod failures;
mod flush;
mod on_shutdown;
#[cfg(all(feature = "serde", feature = "std"))]
mod random_source;
#[cfg(feature = "serde")]
mod replay;
mod runs;

pub use dispatcher::Dispatcher;
pub use flush::{Flush, Shutdown};
#[cfg(feature = "serde")]
pub use replay::{ReplayCounts, ReplayError, Replayer};

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};

use crate::dispatch::{Registered, RunNode};
use crate::handler::{
    AsyncCallbackHandler, CallbackHandler, HandlerId, HandlerOptions, HandlerStats, SendHandler,
};
use crate::model::error::RegisterError;
use crate::run::{Inheritable, Setup};
#[cfg(feature = "std")]
use crate::runtime::{BlockingExecutor, Spawner, Timer};
use crate::util::setters;

/// The handlers that receive events, and the tags and metadata of the runs that it starts.
///
/// A manager is cheap to clone. A run keeps the handlers that its manager had at the start: a
/// handler that is added later receives events of later runs only.
///
/// ```
/// # use rappel_core::{CallbackManager, handler_fn, BlockingExecutor, Spawner, Timer};
/// # fn example(runtime: impl Spawner + BlockingExecutor + Timer) {
/// let callbacks = CallbackManager::new(runtime)
///     .with_handler(handler_fn(|event, cx| {
///         println!("{}: {}", cx.name(), event.kind());
///         Ok(())
///     }))
///     .with_tags(["quickstart"]);
/// # }
/// ```
#[derive(Clone)]
pub struct CallbackManager {
    pub(crate) setup: Arc<Setup>,
}

impl CallbackManager {
    /// A manager without handlers, with the system's clock and randomness.
    #[cfg(feature = "std")]
    pub fn new(runtime: impl Spawner + BlockingExecutor + Timer) -> Self {
        Dispatcher::new(runtime).manager()
    }

    /// A manager on a runtime without a timer: handlers cannot have time-outs, and
    /// [`shutdown`](Self::shutdown) is an error.
    #[cfg(feature = "std")]
    pub fn without_timer(runtime: impl Spawner + BlockingExecutor) -> Self {
        Dispatcher::without_timer(runtime).manager()
    }

    pub(crate) fn of(setup: Setup) -> Self {
        Self { setup: Arc::new(setup) }
    }

    /// The manager of the children of a run.
    pub(crate) fn child_of(setup: &Setup, node: &Arc<RunNode>) -> Self {
        Self::of(setup.inherited(node.clone()))
    }

    /// Adds a sync handler: called off the event loop, one call at a time, awaited, and inherited
    /// by child runs.
    #[must_use]
    pub fn with_handler(mut self, handler: impl CallbackHandler + SendHandler) -> Self {
        self.add_handler(handler);
        self
    }

    /// Adds a sync handler with options.
    ///
    /// # Panics
    /// If the options have a time-out and the runtime has no timer.
    #[must_use]
    #[track_caller]
    pub fn with_handler_options(
        mut self,
        handler: impl CallbackHandler + SendHandler,
        options: impl Into<HandlerOptions>,
    ) -> Self {
        match self.add_handler_options(handler, options) {
            Ok(_) => self,
            Err(error) => panic!("{error}"),
        }
    }

    /// Adds an async handler: called on the emitter's task, side by side with the others, awaited,
    /// and inherited by child runs.
    #[must_use]
    pub fn with_async_handler(mut self, handler: impl AsyncCallbackHandler) -> Self {
        self.add_async_handler(handler);
        self
    }

    /// Adds an async handler with options.
    ///
    /// # Panics
    /// If the options have a time-out and the runtime has no timer.
    #[must_use]
    #[track_caller]
    pub fn with_async_handler_options(
        mut self,
        handler: impl AsyncCallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Self {
        match self.add_async_handler_options(handler, options) {
            Ok(_) => self,
            Err(error) => panic!("{error}"),
        }
    }

    /// Adds a sync handler as [`with_handler`](Self::with_handler) does. The id removes it again.
    pub fn add_handler(&mut self, handler: impl CallbackHandler + SendHandler) -> HandlerId {
        self.register_sync(handler, &HandlerOptions::new())
    }

    /// Adds a sync handler with options.
    ///
    /// # Errors
    /// [`RegisterError::NoTimer`] if the options have a time-out and the runtime has no timer.
    pub fn add_handler_options(
        &mut self,
        handler: impl CallbackHandler + SendHandler,
        options: impl Into<HandlerOptions>,
    ) -> Result<HandlerId, RegisterError> {
        let options = options.into();
        self.check(&options)?;
        Ok(self.register_sync(handler, &options))
    }

    /// Adds an async handler as [`with_async_handler`](Self::with_async_handler) does. The id
    /// removes it again.
    pub fn add_async_handler(&mut self, handler: impl AsyncCallbackHandler) -> HandlerId {
        self.register_async(handler, &HandlerOptions::new())
    }

    /// Adds an async handler with options.
    ///
    /// # Errors
    /// [`RegisterError::NoTimer`] if the options have a time-out and the runtime has no timer.
    pub fn add_async_handler_options(
        &mut self,
        handler: impl AsyncCallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Result<HandlerId, RegisterError> {
        let options = options.into();
        self.check(&options)?;
        Ok(self.register_async(handler, &options))
    }

    fn check(&self, options: &HandlerOptions) -> Result<(), RegisterError> {
        match options.timeout {
            Some(_) if self.setup.engine.runtime.timer().is_none() => Err(RegisterError::NoTimer),
            _ => Ok(()),
        }
    }

    fn register_sync(
        &mut self,
        handler: impl CallbackHandler + SendHandler,
        options: &HandlerOptions,
    ) -> HandlerId {
        let engine = self.setup.engine.clone();
        let handler = alloc::boxed::Box::new(handler);
        let handler = Registered::of_sync(handler, options, &engine.workers, &engine.runtime);
        self.register(handler, options.inherit)
    }

    fn register_async(
        &mut self,
        handler: impl AsyncCallbackHandler,
        options: &HandlerOptions,
    ) -> HandlerId {
        let engine = self.setup.engine.clone();
        let handler = alloc::boxed::Box::new(handler);
        self.register(Registered::of_async(handler, options, &engine.runtime), options.inherit)
    }

    fn register(&mut self, handler: Arc<Registered>, inherit: bool) -> HandlerId {
        let id = handler.meta.id;
        self.setup.engine.register_handlers(core::iter::once(&handler));
        self.change().push_handler(Inheritable { item: handler, inherit });
        id
    }

    /// Removes a handler. Returns `false` if it was not there. Runs that have started keep it.
    pub fn remove_handler(&mut self, id: HandlerId) -> bool {
        let known = self.setup.handlers().any(|handler| handler.meta.id == id);
        if known {
            self.change().retain_handlers(|handler| handler.meta.id != id);
        }
        known
    }

    /// Removes all handlers. Runs that have started keep them.
    pub fn clear_handlers(&mut self) {
        self.change().retain_handlers(|_| false);
    }

    /// Adds the handlers, tags and metadata of `other` after this manager's own.
    ///
    /// A handler that both have stays once, in this manager's place. It is inherited if either
    /// manager lets it be. A tag that both have stays in this manager's place. For a metadata key
    /// that both have, the value of `other` counts. The parent stays this manager's.
    ///
    /// [`flush`](Self::flush) and [`shutdown`](Self::shutdown) of this manager wait for the handlers
    /// of `other`, too. A shutdown of `other` does not close the runs of this manager.
    #[must_use]
    pub fn merge(mut self, other: &Self) -> Self {
        let theirs = &other.setup;
        let setup = self.change();
        setup.run_on(theirs);
        setup.merge_handlers(theirs, false);
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

    /// Removes tags, at this level and for children. Unknown tags are ignored.
    pub fn remove_tags<T: AsRef<str>>(&mut self, tags: impl IntoIterator<Item = T>) {
        for tag in tags {
            self.change().tags.retain(|known| known.item != tag.as_ref());
        }
    }

    /// Removes metadata, at this level and for children. Unknown keys are ignored.
    pub fn remove_metadata<K: AsRef<str>>(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            let setup = self.change();
            setup.metadata.remove(key.as_ref());
            setup.inheritable_metadata.remove(key.as_ref());
        }
    }

    /// Tags this level's runs. A tag that is there already moves to the end, and is not inherited
    /// any more.
    #[must_use]
    pub fn with_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        for tag in tags {
            self.change().add_tag(tag.into(), false);
        }
        self
    }

    /// Tags this level's runs and their children. A tag that is there already moves to the end.
    #[must_use]
    pub fn with_inheritable_tags<T: Into<String>>(
        mut self,
        tags: impl IntoIterator<Item = T>,
    ) -> Self {
        for tag in tags {
            self.change().add_tag(tag.into(), true);
        }
        self
    }

    /// Adds metadata to this level's runs. A key that is there already gets the new value at this
    /// level, and keeps the old one for children.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Map<String, Value>) -> Self {
        for (key, value) in metadata {
            self.change().add_metadata(key, value, false);
        }
        self
    }

    /// Adds metadata to this level's runs and their children. A key that is there already gets the
    /// new value.
    #[must_use]
    pub fn with_inheritable_metadata(mut self, metadata: Map<String, Value>) -> Self {
        for (key, value) in metadata {
            self.change().add_metadata(key, value, true);
        }
        self
    }

    setters! {
        /// Lets this manager's runs outlive the run whose children they are: for work in the
        /// background. They keep the parent's id. Nothing closes them but a shutdown, and each is a
        /// trace of its own. Without this, a run that ends first closes its open children.
        detached() { self.change().detached = true }
        /// Sets the maximum size in bytes of the text that is kept of a model's run, for the partial
        /// result of its error. Later text is not kept. The default is 1 MiB. Nothing is kept if no
        /// handler wants the error.
        partial_limit(bytes: usize) { self.change().partial_limit = bytes }
    }

    /// The counts of this manager's handlers, in the order of their registration.
    ///
    /// A call on an emitter's task is counted when its event is done, so `handled` may lag behind
    /// while an event is being handled. After a [`flush`](Self::flush) it does not.
    #[must_use]
    pub fn stats(&self) -> Vec<HandlerStats> {
        self.setup.engine.open_runs().iter().for_each(|run| run.count());
        self.setup.handlers().map(|handler| handler.stats()).collect()
    }

    /// Whether any handler is registered.
    #[must_use]
    pub fn has_handlers(&self) -> bool {
        self.setup.has_handlers()
    }

    /// The manager of one call of a component: the call's callbacks, which children inherit as the
    /// call says, and the component's own, which are local to it.
    ///
    /// Handlers come in this order. One that is in both comes once, as the call's. If both have a
    /// runtime of their own, the call's is used. Then a flush and a shutdown of the call's manager
    /// wait for the component's handlers, too, as after [`merge`](Self::merge).
    #[cfg(feature = "std")]
    #[must_use]
    pub fn configure(call: Option<&Self>, component: Option<&Self>) -> Self {
        let (Some(component), call) = (component, call) else {
            return call.cloned().unwrap_or_default();
        };
        let mut manager = match call {
            Some(call) => call.clone(),
            None => Self::of(component.setup.bare()),
        };
        let setup = manager.change();
        setup.run_on(&component.setup);
        setup.merge_handlers(&component.setup, true);
        for tag in &component.setup.tags {
            setup.add_tag(tag.item.clone(), false);
        }
        for (key, value) in &component.setup.metadata {
            setup.add_metadata(key.clone(), value.clone(), false);
        }
        manager
    }

    fn change(&mut self) -> &mut Setup {
        Arc::make_mut(&mut self.setup)
    }
}

impl From<&CallbackManager> for CallbackManager {
    fn from(manager: &CallbackManager) -> Self {
        manager.clone()
    }
}

impl fmt::Debug for CallbackManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.setup.handlers().map(|handler| &*handler.meta.name).collect();
        let tags: Vec<&str> = self.setup.tags.iter().map(|tag| tag.item.as_str()).collect();
        f.debug_struct("CallbackManager")
            .field("handlers", &names)
            .field("tags", &tags)
            .finish_non_exhaustive()
    }
}
