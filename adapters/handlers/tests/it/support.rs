//! Runtimes, writers and traces for tests.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::{
    CallbackHandler, CallbackManager, Clock, Event, EventContext, HandlerResult, LlmChunk,
    LlmStart, RunError, RunId, TokenUsage,
};
use rappel_threads::Threads;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Makes one body a test on tokio, smol and plain threads.
macro_rules! on_runtimes {
    ($($(#[$meta:meta])* async fn $name:ident($callbacks:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($callbacks: rappel_core::CallbackManager) $body

            #[test]
            fn tokio() {
                crate::support::on_tokio(body);
            }

            #[test]
            fn smol() {
                crate::support::on_smol(body);
            }

            #[test]
            fn threads() {
                crate::support::on_threads(body);
            }
        }
    )+};
}
pub(crate) use on_runtimes;

pub(crate) fn on_tokio<F: Future<Output = ()>>(body: impl FnOnce(CallbackManager) -> F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.unwrap();
    let tokio = rappel_tokio::Tokio::new(runtime.handle().clone()).unwrap();
    rappel_testkit::suite::block_on(LIMIT, body(CallbackManager::new(tokio)));
}

pub(crate) fn on_smol<F: Future<Output = ()>>(body: impl FnOnce(CallbackManager) -> F) {
    let smol = rappel_smol::Smol::global();
    rappel_testkit::suite::block_on(LIMIT, body(CallbackManager::new(smol)));
}

pub(crate) fn on_threads<F: Future<Output = ()>>(body: impl FnOnce(CallbackManager) -> F) {
    rappel_testkit::suite::block_on(LIMIT, body(CallbackManager::new(Threads::new())));
}

/// A manager on plain threads.
pub(crate) fn callbacks() -> CallbackManager {
    CallbackManager::new(Threads::new())
}

/// A model's run that another process goes on with, after a token that has `usage`.
pub(crate) async fn handed_over(callbacks: &CallbackManager, usage: TokenUsage) {
    let start = LlmStart::new("asked", "Tell me a joke");
    let mut run = callbacks.on_llm_start(start).await.unwrap();
    run.on_llm_new_token(LlmChunk::new("Why").with_usage(usage)).await.unwrap();
    run.fail(RunError::HandedOver).await.unwrap();
}

/// A clock that goes on by ten milliseconds whenever it is read.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<Mutex<Duration>>);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Option<Duration> {
        let mut now = self.0.lock().unwrap();
        *now += Duration::from_millis(10);
        Some(*now)
    }
}

/// A manager whose clock goes on by ten milliseconds whenever it is read, and whose ids are numbered.
pub(crate) fn callbacks_with_clock() -> (CallbackManager, TestClock) {
    let clock = TestClock::default();
    let next = Mutex::new(0_u8);
    let entropy = Numbered(next);
    let manager = CallbackManager::with_sources(Threads::new(), clock.clone(), entropy);
    (manager, clock)
}

struct Numbered(Mutex<u8>);

impl rappel_core::Entropy for Numbered {
    fn fill(&self, bytes: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        *next += 1;
        bytes.fill(*next);
    }
}

/// A writer whose text a test reads.
#[derive(Clone, Default)]
pub(crate) struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    pub(crate) fn get(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that fails, and counts the tries.
#[derive(Clone)]
pub(crate) struct Failing {
    kind: io::ErrorKind,
    tries: Arc<Mutex<usize>>,
}

impl Failing {
    pub(crate) fn new(kind: io::ErrorKind) -> Self {
        Self { kind, tries: Arc::default() }
    }

    pub(crate) fn tries(&self) -> usize {
        *self.tries.lock().unwrap()
    }
}

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        *self.tries.lock().unwrap() += 1;
        Err(self.kind.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a handler got: a line for each event. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn get(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl CallbackHandler for Lines {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let text = match event {
            Event::LlmNewToken(token) => format!(" {}", token.token),
            _ => String::new(),
        };
        self.0.lock().unwrap().push(format!("{} {}{text}", cx.name(), event.kind()));
        Ok(())
    }
}

/// Collects failures of handlers, as text.
pub(crate) fn with_failures(callbacks: CallbackManager) -> (CallbackManager, Failures) {
    let failures = Failures::default();
    let known = failures.clone();
    let callbacks = callbacks
        .on_handler_failure(move |failure| known.0.lock().unwrap().push(failure.to_string()));
    (callbacks, failures)
}

#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<Vec<String>>>);

impl Failures {
    pub(crate) fn get(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn id(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}
