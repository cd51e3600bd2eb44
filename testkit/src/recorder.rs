//! A handler that records its events.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, HandlerFuture, HandlerResult,
};

use crate::compare::{Runs, compare};
use crate::expect::Expected;

/// A handler that records all events and compares them with an expectation. Clones share the
/// recording, so register a clone.
///
/// It is a sync handler and an async handler.
///
/// ```
/// use rappel_core::prelude::*;
/// use rappel_testkit::{Recorder, expect};
/// use rappel_threads::Threads;
///
/// # fn main() -> Result<(), RunError> {
/// let threads = Threads::new();
/// let recorder = Recorder::new();
/// let callbacks = CallbackManager::new(threads.clone()).with_handler(recorder.clone());
/// threads.block_on(async {
///     let chain = callbacks.on_chain_start(ChainStart::new("answer", "Why?")).await?;
///     let mut run = chain.child().on_llm_start(LlmStart::new("my-model", "Why?")).await?;
///     for token in ["a", "b"] {
///         run.on_llm_new_token(token).await?;
///     }
///     drop(run); // cancelled
///     chain.end("ab").await?;
///     Ok::<_, RunError>(())
/// })?;
///
/// let model = expect().llm_start().saying("Why?").tokens(["a", "b"]).cancelled().with_partial("ab");
/// recorder.assert(expect().named("answer").chain_start().end().inside(model));
/// # Ok(())
/// # }
/// ```
///
/// Before you compare, [`flush`](rappel_core::CallbackManager::flush) the manager if the recorder is
/// not awaited or a run was dropped. Otherwise events may still be queued.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// A recorded event.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recorded {
    /// The event.
    pub event: Event,
    /// The run that it belongs to, and the number, time and losses of the delivery.
    pub cx: EventContext,
}

impl Recorder {
    /// Makes a recorder without events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all events, in the order in which the recorder was called.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    /// Removes all events.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Asserts that the events are those of the expected run, and of the runs that it expects inside.
    ///
    /// # Panics
    /// If they are not. The message has the difference, line by line.
    #[track_caller]
    pub fn assert(&self, expected: Expected) {
        self.assert_runs([expected]);
    }

    /// Asserts that the events are those of the expected runs, in the order of their starts, and of
    /// the runs that they expect inside.
    ///
    /// # Panics
    /// If they are not. The message has the difference, line by line.
    #[track_caller]
    pub fn assert_runs(&self, expected: impl IntoIterator<Item = Expected>) {
        let expected: Vec<Expected> = expected.into_iter().collect();
        if let Err(mismatch) = self.check_runs(&expected) {
            panic!("{mismatch}");
        }
    }

    /// Asserts that one of the runs is the expected one. It may be a child of another run.
    ///
    /// # Panics
    /// If none is.
    #[track_caller]
    pub fn assert_has(&self, expected: Expected) {
        if let Err(mismatch) = self.check_has(&expected) {
            panic!("{mismatch}");
        }
    }

    /// As [`assert_has`](Self::assert_has), with a result.
    ///
    /// # Errors
    /// The difference to the outermost runs.
    pub fn check_has(&self, expected: &Expected) -> Result<(), Mismatch> {
        let events = self.events();
        let runs = runs(&events);
        if runs.all().any(|run| compare(&[expected], &[run], &runs).is_ok()) {
            return Ok(());
        }
        compare(&[expected], &runs.roots(), &runs).map_err(Mismatch)
    }

    /// As [`assert_runs`](Self::assert_runs), with a result.
    ///
    /// # Errors
    /// The difference.
    pub fn check_runs(&self, expected: &[Expected]) -> Result<(), Mismatch> {
        let events = self.events();
        let runs = runs(&events);
        let expected: Vec<&Expected> = expected.iter().collect();
        compare(&expected, &runs.roots(), &runs).map_err(Mismatch)
    }

    fn record(&self, event: &Event, cx: &EventContext) {
        let (event, cx) = (event.clone(), cx.clone());
        self.lock().push(Recorded { event, cx });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn runs(events: &[Recorded]) -> Runs<'_> {
    Runs::new(events.iter().map(|recorded| (&*recorded.cx, &recorded.event)))
}

impl CallbackHandler for Recorder {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.record(event, cx);
        Ok(())
    }
}

impl AsyncCallbackHandler for Recorder {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async {
            self.record(event, cx);
            Ok(())
        })
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.lock().len();
        f.debug_struct("Recorder").field("events", &events).finish()
    }
}

/// The recorded runs are not the expected ones. Its message has the difference, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = &self.0;
        write!(f, "the runs are not the expected ones (- expected, + recorded)\n{difference}")
    }
}

impl std::error::Error for Mismatch {}
