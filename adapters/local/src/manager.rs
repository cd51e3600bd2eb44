//! A manager whose handlers stay on its thread.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::Duration;

use rappel_core::event::EmitterContext;
use rappel_core::{
    CallbackHandler, CallbackManager, Clock, Entropy, HandlerFailure, HandlerId, HandlerOptions,
    Map, RegisterError, Timer, Value,
};

use crate::adapt::{adapt_async, adapt_sync};
use crate::asynchronous::LocalAsyncCallbackHandler;
use crate::local::Local;

/// A [`CallbackManager`] for handlers that are not `Send`.
///
/// It dereferences to a `CallbackManager` and differs from it only in the registration of handlers.
/// Handlers are called on the thread of this manager, which must also be the thread of its executor
/// and its emitters. Runs are core's own and may be sent to other threads. No other thread ever uses
/// a handler:
///
/// - A call that another thread would make or poll fails with [`WrongThread`](crate::WrongThread).
/// - A call that another thread would spawn is reported as
///   [`RuntimeGone`](rappel_core::FailureCause::RuntimeGone). With an [`Inbox`](crate::Inbox) the
///   [`Local`] makes the call on its own thread instead.
/// - A handler, or a call in progress, that another thread drops is leaked.
///
/// These failures are reported and counted as all failures of handlers.
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
/// let page = handler_fn(move |event, _cx| {
///     if let Event::LlmNewToken(token) = event {
///         shown.borrow_mut().push_str(&token.token);
///     }
///     Ok(())
/// });
/// let local = Local::new(FromFuturesLocalSpawn(pool.spawner()));
/// let callbacks = LocalCallbackManager::without_timer(local).with_handler(page);
///
/// let emitted = pool.run_until(async {
///     let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
///     for token in ["Why", " not", "?"] {
///         run.on_llm_new_token(token).await?;
///     }
///     run.end("Why not?").await?;
///     Ok::<_, RunError>(())
/// });
/// assert!(emitted.is_ok());
/// assert_eq!(*text.borrow(), "Why not?");
/// ```
#[derive(Clone)]
pub struct LocalCallbackManager {
    inner: CallbackManager,
    /// A manager on another thread could only register handlers that are never called.
    not_send: PhantomData<Rc<()>>,
}

impl LocalCallbackManager {
    /// A manager without handlers, with the clock and randomness of the system.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn new<T: Timer>(local: Local<T>) -> Self {
        Self::of(CallbackManager::new(local))
    }

    /// As [`new`](Self::new), on a runtime without a timer. Time-outs and `shutdown` are errors.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn without_timer<T: Send + Sync + 'static>(local: Local<T>) -> Self {
        Self::of(CallbackManager::without_timer(local))
    }

    /// A manager without handlers, with the given clock and source of random bytes: for targets whose
    /// `std` has neither, and for tests.
    #[must_use]
    pub fn with_sources<T: Timer>(
        local: Local<T>,
        clock: impl Clock,
        entropy: impl Entropy,
    ) -> Self {
        Self::of(CallbackManager::with_sources(local, clock, entropy))
    }

    /// As [`with_sources`](Self::with_sources), on a runtime without a timer. Time-outs and
    /// `shutdown` are errors.
    #[must_use]
    pub fn without_timer_with_sources<T: Send + Sync + 'static>(
        local: Local<T>,
        clock: impl Clock,
        entropy: impl Entropy,
    ) -> Self {
        Self::of(CallbackManager::without_timer_with_sources(local, clock, entropy))
    }

    fn of(inner: CallbackManager) -> Self {
        Self { inner, not_send: PhantomData }
    }

    /// Changes the inner manager. Use it to register handlers that are `Send`.
    #[must_use]
    pub fn map(self, change: impl FnOnce(CallbackManager) -> CallbackManager) -> Self {
        Self::of(change(self.inner))
    }

    /// Returns the inner manager, which may be sent to other threads.
    #[must_use]
    pub fn into_manager(self) -> CallbackManager {
        self.inner
    }

    /// Adds a sync handler. Tasks of the local executor call it, one call at a time. Emitters wait
    /// for it, and child runs inherit it.
    #[must_use]
    pub fn with_handler(mut self, handler: impl CallbackHandler) -> Self {
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
        self,
        handler: impl CallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Self {
        Self::of(self.inner.with_handler_options(adapt_sync(handler), options))
    }

    /// Adds an async handler. The emitter's task polls it, side by side with the others, and waits
    /// for it. Child runs inherit it.
    #[must_use]
    pub fn with_async_handler(mut self, handler: impl LocalAsyncCallbackHandler) -> Self {
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
        self,
        handler: impl LocalAsyncCallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Self {
        Self::of(self.inner.with_async_handler_options(adapt_async(handler), options))
    }

    /// Adds a sync handler as [`with_handler`](Self::with_handler) does. The id removes it again.
    pub fn add_handler(&mut self, handler: impl CallbackHandler) -> HandlerId {
        self.inner.add_handler(adapt_sync(handler))
    }

    /// Adds a sync handler with options. The id removes it again.
    ///
    /// # Errors
    /// [`RegisterError::NoTimer`] if the options have a time-out and the runtime has no timer.
    pub fn add_handler_options(
        &mut self,
        handler: impl CallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Result<HandlerId, RegisterError> {
        self.inner.add_handler_options(adapt_sync(handler), options)
    }

    /// Adds an async handler as [`with_async_handler`](Self::with_async_handler) does. The id removes
    /// it again.
    pub fn add_async_handler(&mut self, handler: impl LocalAsyncCallbackHandler) -> HandlerId {
        self.inner.add_async_handler(adapt_async(handler))
    }

    /// Adds an async handler with options. The id removes it again.
    ///
    /// # Errors
    /// [`RegisterError::NoTimer`] if the options have a time-out and the runtime has no timer.
    pub fn add_async_handler_options(
        &mut self,
        handler: impl LocalAsyncCallbackHandler,
        options: impl Into<HandlerOptions>,
    ) -> Result<HandlerId, RegisterError> {
        self.inner.add_async_handler_options(adapt_async(handler), options)
    }
}

/// The methods of core's manager that take `self`, under the same names.
macro_rules! same {
    ($($method:ident($($argument:ident: $type:ty),*) $(for $generic:ident: $bound:path)?;)+) => {
        impl LocalCallbackManager {$(
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
    partial_limit(bytes: usize);
    on_handler_failure(report: impl Fn(&HandlerFailure) + Send + Sync + 'static);
    also_on_handler_failure(report: impl Fn(&HandlerFailure) + Send + Sync + 'static);
    with_emitter_context(context: impl EmitterContext);
    on_shutdown(work: impl Fn(Duration) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync + 'static);
    merge(other: &CallbackManager);
}

impl Deref for LocalCallbackManager {
    type Target = CallbackManager;

    fn deref(&self) -> &CallbackManager {
        &self.inner
    }
}

impl DerefMut for LocalCallbackManager {
    fn deref_mut(&mut self) -> &mut CallbackManager {
        &mut self.inner
    }
}

/// For models and other components that own callbacks. What they emit on another thread does not
/// reach a local handler, as the docs of [`LocalCallbackManager`] say.
impl From<LocalCallbackManager> for CallbackManager {
    fn from(callbacks: LocalCallbackManager) -> Self {
        callbacks.inner
    }
}

/// A clone of the inner manager.
impl From<&LocalCallbackManager> for CallbackManager {
    fn from(callbacks: &LocalCallbackManager) -> Self {
        callbacks.inner.clone()
    }
}

impl fmt::Debug for LocalCallbackManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalCallbackManager").field(&self.inner).finish()
    }
}
