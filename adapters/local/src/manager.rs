//! A manager whose handlers stay on its thread.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use rappel_core::{CallbackManager, Clock, Entropy, HandlerFailure, HandlerId, HandlerOptions, IntoCallbacks, Map, TimedBy, Value};

use crate::adapt::{adapt_async, adapt_sync};
use crate::handler::{LocalAsyncCallbackHandler, LocalCallbackHandler};
use crate::local::Local;

/// A [`CallbackManager`] for handlers that are not `Send`.
///
/// It is one: it dereferences to it, and everything but the registration of handlers is that one's. Handlers are called on the thread that this manager, its
/// executor and its emitters are on. Runs are core's own, and may be sent. What happens on another thread then never touches a handler:
///
/// - a call that would have to be made there fails with [`ForeignThread`](crate::ForeignThread); so does one that began here, and is polled there.
/// - a call that would have to be spawned from there is reported as [`RuntimeGone`](rappel_core::FailureCause::RuntimeGone), unless the [`Local`] has an
///   [`Inbox`](crate::Inbox): then it is made here.
/// - a handler whose last owner goes there, and a call of which that is so, is leaked.
///
/// Both are failures of that handler, reported and counted like any other.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use futures_executor::LocalPool;
/// use rappel_local::prelude::*;
/// use rappel_local::FromFuturesLocalSpawn;
///
/// let mut pool = LocalPool::new();
/// let text = Rc::new(RefCell::new(String::new()));
/// let shown = text.clone();
/// let page = local_handler_fn(move |event, _run| {
///     if let Event::LlmNewToken(token) = event {
///         shown.borrow_mut().push_str(&token.token);
///     }
///     Ok(())
/// });
/// let callbacks = LocalCallbackManager::new(Local::new(FromFuturesLocalSpawn(pool.spawner()))).with_handler(page);
///
/// let told = pool.run_until(async {
///     let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
///     for token in ["Why", " not", "?"] {
///         run.on_llm_new_token(token).await?;
///     }
///     run.end(LlmResult::from_text("Why not?")).await?;
///     Ok::<_, RunError>(())
/// });
/// assert!(told.is_ok());
/// assert_eq!(*text.borrow(), "Why not?");
/// ```
pub struct LocalCallbackManager<T = ()> {
    inner: CallbackManager<Local<T>>,
    /// It stays where its handlers are.
    stays: PhantomData<Rc<()>>,
}

impl<T: Send + Sync + 'static> LocalCallbackManager<T> {
    /// A manager without handlers, with the system's clock and randomness, on the executor of this thread.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new(local: Local<T>) -> Self {
        Self::of(CallbackManager::new(local))
    }

    /// A manager without handlers, with its own clock and source of random bytes: for targets whose `std` has neither, and for tests.
    #[must_use]
    pub fn with_sources(local: Local<T>, clock: impl Clock, entropy: impl Entropy) -> Self {
        Self::of(CallbackManager::with_sources(local, clock, entropy))
    }
}

impl<T> LocalCallbackManager<T> {
    fn of(inner: CallbackManager<Local<T>>) -> Self {
        Self { inner, stays: PhantomData }
    }

    /// Changes the manager as core's: gives it handlers that are `Send`, for example.
    #[must_use]
    pub fn map(self, change: impl FnOnce(CallbackManager<Local<T>>) -> CallbackManager<Local<T>>) -> Self {
        Self::of(change(self.inner))
    }

    /// The manager as core's, for what may be sent.
    #[must_use]
    pub fn into_manager(self) -> CallbackManager<Local<T>> {
        self.inner
    }

    /// Adds a sync handler: called in tasks of the local executor, one call at a time, awaited, and inherited by children.
    #[must_use]
    pub fn with_handler(self, handler: impl LocalCallbackHandler) -> Self {
        self.with_handler_options(handler, HandlerOptions::new())
    }

    /// Adds a sync handler with options.
    #[must_use]
    pub fn with_handler_options<D, O: TimedBy<Local<T>>>(
        mut self,
        handler: impl LocalCallbackHandler,
        options: HandlerOptions<D, O>,
    ) -> Self {
        self.add_handler_options(handler, options);
        self
    }

    /// Adds an async handler: on the emitter's task, side by side with the others, awaited, and inherited by children.
    #[must_use]
    pub fn with_async_handler(self, handler: impl LocalAsyncCallbackHandler) -> Self {
        self.with_async_handler_options(handler, HandlerOptions::new())
    }

    /// Adds an async handler with options.
    #[must_use]
    pub fn with_async_handler_options<D, O: TimedBy<Local<T>>>(
        mut self,
        handler: impl LocalAsyncCallbackHandler,
        options: HandlerOptions<D, O>,
    ) -> Self {
        self.add_async_handler_options(handler, options);
        self
    }

    /// Adds a sync handler as [`with_handler`](Self::with_handler) does; the id removes it again.
    pub fn add_handler(&mut self, handler: impl LocalCallbackHandler) -> HandlerId {
        self.add_handler_options(handler, HandlerOptions::new())
    }

    /// Adds a sync handler with options.
    pub fn add_handler_options<D, O: TimedBy<Local<T>>>(
        &mut self,
        handler: impl LocalCallbackHandler,
        options: HandlerOptions<D, O>,
    ) -> HandlerId {
        self.inner.add_handler_options(adapt_sync(handler), options)
    }

    /// Adds an async handler as [`with_async_handler`](Self::with_async_handler) does; the id removes it again.
    pub fn add_async_handler(&mut self, handler: impl LocalAsyncCallbackHandler) -> HandlerId {
        self.add_async_handler_options(handler, HandlerOptions::new())
    }

    /// Adds an async handler with options.
    pub fn add_async_handler_options<D, O: TimedBy<Local<T>>>(
        &mut self,
        handler: impl LocalAsyncCallbackHandler,
        options: HandlerOptions<D, O>,
    ) -> HandlerId {
        self.inner.add_async_handler_options(adapt_async(handler), options)
    }
}

/// What core's manager does with itself, under the same names.
macro_rules! same {
    ($($method:ident($($argument:ident: $type:ty),*) $(for $generic:ident: $bound:path)?;)+) => {
        impl<T> LocalCallbackManager<T> {$(
            #[doc = concat!("As [`CallbackManager::", stringify!($method), "`].")]
            #[must_use]
            pub fn $method$(<$generic: $bound>)?(self, $($argument: $type),*) -> Self {
                Self::of(self.inner.$method($($argument),*))
            }
        )+}
    };
}
same! {
    with_tags(tags: impl IntoIterator<Item = S>) for S: Into<String>;
    with_inheritable_tags(tags: impl IntoIterator<Item = S>) for S: Into<String>;
    with_metadata(metadata: Map<String, Value>);
    with_inheritable_metadata(metadata: Map<String, Value>);
    detached();
    on_handler_failure(report: impl Fn(&HandlerFailure) + Send + std::marker::Sync + 'static);
    merge(other: &CallbackManager<S>) for S: Sized;
}

impl<T> Deref for LocalCallbackManager<T> {
    type Target = CallbackManager<Local<T>>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl<T> DerefMut for LocalCallbackManager<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl<T> Clone for LocalCallbackManager<T> {
    fn clone(&self) -> Self {
        Self::of(self.inner.clone())
    }
}

/// For models and others that keep callbacks: what these emit on another thread is no call of a local handler, as the manager's docs say.
impl<T> IntoCallbacks for LocalCallbackManager<T> {
    fn into_callbacks(self) -> CallbackManager {
        self.inner.erase()
    }
}

impl<T> IntoCallbacks for &LocalCallbackManager<T> {
    fn into_callbacks(self) -> CallbackManager {
        self.clone().into_callbacks()
    }
}

impl<T> fmt::Debug for LocalCallbackManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalCallbackManager").field(&self.inner).finish()
    }
}
