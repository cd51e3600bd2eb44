//! A handler that writes down what it hears.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{AsyncCallbackHandler, CallbackHandler, Event, HandlerFuture, HandlerResult, RunInfo};

use crate::compare::{Runs, compare};
use crate::expect::Expected;

/// A handler that writes down every event, and compares them with what is expected. Clones share what they have heard: keep one.
///
/// It is a sync and an async handler, and goes wherever one goes.
///
/// ```
/// use rappel_core::prelude::*;
/// use rappel_core::Threads;
/// use rappel_testkit::{Recorder, expect};
///
/// # fn main() -> Result<(), RunError> {
/// let threads = Threads::new();
/// let recorder = Recorder::new();
/// let callbacks = CallbackManager::new(threads.clone()).with_handler(recorder.clone());
/// threads.block_on(async {
///     let chain = callbacks.on_chain_start(ChainStart::new("answer", "Why?")).await?;
///     let run = chain.child(None).on_llm_start(LlmStart::new("my-model", "Why?")).await?;
///     for token in ["a", "b"] {
///         run.on_llm_new_token(token).await?;
///     }
///     drop(run); // given up
///     callbacks.flush().await;
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
/// What nobody waits for is not there yet: `flush` the manager before you look, where the recorder is not awaited, or a run was dropped.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// An event that was heard, and of which run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recorded {
    /// The event.
    pub event: Event,
    /// The run that it belongs to.
    pub run: RunInfo,
}

impl Recorder {
    /// A recorder that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All events, in the order in which they were heard.
    #[must_use]
    pub fn events(&self) -> Vec<Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was heard.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asserts that one run was heard of, the expected one, with what is expected inside.
    ///
    /// # Panics
    /// When it was another, with what differs, line by line.
    #[track_caller]
    pub fn assert(&self, expected: Expected) {
        self.assert_runs([expected]);
    }

    /// Asserts that these runs were heard of, and no others beside what is inside them, in the order of their starts.
    ///
    /// # Panics
    /// When it were others, with what differs, line by line.
    #[track_caller]
    pub fn assert_runs(&self, expected: impl IntoIterator<Item = Expected>) {
        let expected: Vec<Expected> = expected.into_iter().collect();
        if let Err(mismatch) = self.check_runs(&expected) {
            panic!("{mismatch}");
        }
    }

    /// Asserts that among all runs, also those inside others, there is the expected one.
    ///
    /// # Panics
    /// When there is not.
    #[track_caller]
    pub fn assert_has(&self, expected: Expected) {
        if let Err(mismatch) = self.check_has(&expected) {
            panic!("{mismatch}");
        }
    }

    /// What [`assert_has`](Self::assert_has) asserts, as a result.
    ///
    /// # Errors
    /// What differs from the outermost runs, line by line.
    pub fn check_has(&self, expected: &Expected) -> Result<(), Mismatch> {
        let events = self.events();
        let runs = Runs::new(&events);
        match runs.all().any(|run| compare(&[expected], &[run], &runs).is_ok()) {
            true => Ok(()),
            false => compare(&[expected], &runs.roots(), &runs).map_err(Mismatch),
        }
    }

    /// What [`assert_runs`](Self::assert_runs) asserts, as a result.
    ///
    /// # Errors
    /// What differs, line by line.
    pub fn check_runs(&self, expected: &[Expected]) -> Result<(), Mismatch> {
        let events = self.events();
        let runs = Runs::new(&events);
        let expected: Vec<&Expected> = expected.iter().collect();
        compare(&expected, &runs.roots(), &runs).map_err(Mismatch)
    }
}

impl CallbackHandler for Recorder {
    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.record(event, run);
        Ok(())
    }
}

impl AsyncCallbackHandler for Recorder {
    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new(async {
            self.record(event, run);
            Ok(())
        })
    }
}

impl Recorder {
    fn record(&self, event: &Event, run: &RunInfo) {
        let recorded = Recorded {
            event: event.clone(),
            run: run.clone(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("Recorder").field("events", &events).finish()
    }
}

/// The runs that were heard of are not the expected ones: what differs, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "these are not the runs that were expected (- expected, + heard)\n{}", self.0)
    }
}

impl std::error::Error for Mismatch {}
