//! Secrets, out of sight of a handler.

mod events;
mod rules;
mod stream;
mod tokens;

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, EventKind, HandlerFuture,
    HandlerOptions, HandlerResult, Interest, RunId, RunInfo, RunKind, SendHandler,
};

pub use self::rules::PatternError;
use self::rules::Rules;
use self::tokens::Tokens;
use crate::Suited;
use crate::call::{Inner, lock};

/// Passes a handler copies of the events without secrets: what matches a pattern, and the values of
/// JSON keys.
///
/// It wraps a sync handler or an async one: `with_async_handler(Redact::new(handler))`. Other
/// handlers get the events as they are.
///
/// ```
/// use rappel_handlers::{JsonLines, Redact, With};
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lines = Redact::new(JsonLines::to(std::io::sink()))
///     .keys(["api_key", "password", "authorization"])
///     .pattern(r"sk-[A-Za-z0-9_-]{20,200}")?
///     .secret("correct horse battery staple");
/// let callbacks = CallbackManager::new(Threads::new()).with(lines);
/// # let _ = callbacks;
/// # Ok(())
/// # }
/// ```
///
/// # Where secrets are found
/// **Patterns** are found in each text of an event: prompts, messages, inputs, outputs, results and
/// partial results, reasoning, refusals, tool calls, log probabilities, documents, errors and their
/// causes, the causes of retries, custom data, names, tags, and the metadata of runs. In JSON they are also found in numbers and
/// in keys.
///
/// **Keys** are found in JSON: inputs, outputs, invocation parameters, the metadata of runs and documents,
/// custom data, and other fields of the provider. They are also found in a text that is a JSON object
/// or list, as the arguments of a tool call are, or a JSON string that contains one. If a key is in an
/// object of such a text twice, only the last one is passed. If such a text is cut off or is no JSON after all,
/// and has the key, all of it is masked. Case, `_` and `-` make no difference: `api_key` is `apiKey`. The value is masked,
/// whatever its type.
///
/// A match is replaced by `[redacted]`, or by the text of [`mask`](Self::mask). Matches that overlap
/// are masked together.
///
/// # Tokens
/// A secret may straddle tokens. So the text of a run is held back by one byte less than the longest
/// match of any pattern. The rest comes with the chunk that has the finish reason, or in a token of
/// its own before the end of the run. That token has the number of the last token. A token of which
/// nothing can go out is not passed. [`without_tokens`](Self::without_tokens) passes none.
///
/// Reasoning, refusals and the arguments of tool calls are held back in the same way.
///
/// With keys, each of these texts, and the text of tokens, is held back as a whole if it begins as
/// JSON does: with `{` or `[`, or with `"` and one of them. So the handler gets an answer in JSON at
/// its end, and not as it comes. If such a text is longer than 1 MiB, all of it is masked. A text that
/// begins in another way is not searched for keys.
///
/// Log probabilities and
/// [`extra`](rappel_core::LlmChunk::extra) are left out of chunks. They are in the result.
///
/// # Errors of runs
/// An error is replaced by one with the same messages, causes and
/// [`error_type`](rappel_core::RunError::error_type), without secrets. Its Rust type is gone:
/// [`RunError::cause`](rappel_core::RunError::cause) returns `None`.
///
/// # Names, tags and metadata of runs
/// The handler gets a copy of the run, in which they are masked as texts and JSON of events are. The
/// ids of the run stay, and other handlers get the run as it is.
///
/// # What it does not find
/// A secret that is spread over several messages, several events other than tokens, or several
/// values of a JSON list. A secret in another encoding: Base64, or the escapes of JSON in a text.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it as the sync handler inside it. It copies each event, so
/// it costs more than the handlers that borrow them.
///
/// # Failures
/// Those of the handler inside it.
///
/// # Memory
/// For each open run the text that is held back, at most 1 MiB for each text, and a copy of its name, tags and metadata if they
/// have a secret.
pub struct Redact<H> {
    inner: Inner<H>,
    rules: Rules,
    runs: Mutex<Runs>,
}

/// What is kept of a run from its first event to its last.
#[derive(Default)]
struct OpenRun {
    /// What the last event said about the run, and the same without secrets.
    info: Option<(Arc<RunInfo>, Arc<RunInfo>)>,
    tokens: Tokens,
    last: Option<EventContext>,
}

impl<H> Redact<H> {
    /// Passes copies of the events. Add patterns and keys.
    pub fn new(inner: H) -> Self {
        Self { inner: Inner::new(inner), rules: Rules::new(), runs: Mutex::default() }
    }

    /// Adds a regular expression of the crate [`regex`](https://docs.rs/regex).
    ///
    /// # Errors
    /// If it is not one, if its matches may have any length or be empty, or if it looks around the
    /// match (`^`, `$`, `\b`).
    pub fn pattern(mut self, pattern: &str) -> Result<Self, PatternError> {
        self.rules.add_pattern(pattern)?;
        Ok(self)
    }

    /// Adds a text that is a secret. The empty text is ignored.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        // Any text that is not empty has a bounded pattern.
        let _ = self.rules.add_pattern(&regex::escape(secret));
        self
    }

    /// Adds keys of JSON objects whose values are secrets.
    #[must_use]
    pub fn keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        keys.into_iter().for_each(|key| self.rules.add_key(key.as_ref()));
        self
    }

    /// Sets what a secret is replaced by. The default is `[redacted]`.
    #[must_use]
    pub fn mask(mut self, mask: impl Into<String>) -> Self {
        self.rules.mask = mask.into();
        self
    }

    /// Passes no tokens, so that nothing needs to be held back.
    #[must_use]
    pub fn without_tokens(mut self) -> Self {
        self.inner.passed = self.inner.passed.without(EventKind::LlmNewToken);
        self
    }
}

/// The open runs.
#[derive(Default)]
struct Runs(HashMap<RunId, OpenRun>);

impl Runs {
    /// What goes to the handler in place of an event.
    fn take(
        &mut self,
        event: &Event,
        cx: &EventContext,
        rules: &Rules,
        interest: Interest,
    ) -> Vec<(Event, EventContext)> {
        let cx = self.context(cx, rules);
        if let Event::LlmNewToken(token) = event {
            let run = self.0.entry(cx.id()).or_default();
            let next = run.tokens.next(token, rules);
            run.last = Some(cx.clone());
            return next.map(|token| (token.into(), cx)).into_iter().collect();
        }
        let mut events = if event.kind().is_end() { self.rest(cx.id(), rules) } else { Vec::new() };
        // A copy costs something.
        if interest.contains(event.kind())
            && let Some(copy) = rules.event(event)
        {
            events.push((copy, cx));
        }
        events
    }

    /// The context with what it says about the run, without secrets.
    fn context(&mut self, cx: &EventContext, rules: &Rules) -> EventContext {
        // A custom event on a manager has the id of a run, and tags of its own.
        if cx.kind() == RunKind::None {
            return cx.clone().with_run(rules.run(cx.run()));
        }
        let open = self.0.entry(cx.id()).or_default();
        let masked = match &open.info {
            Some((of, masked)) if Arc::ptr_eq(of, cx.run()) => masked.clone(),
            _ => {
                let masked = rules.run(cx.run());
                open.info = Some((cx.run().clone(), masked.clone()));
                masked
            }
        };
        cx.clone().with_run(masked)
    }

    /// The text that is held back, which goes out before the end of the run.
    fn rest(&mut self, run: RunId, rules: &Rules) -> Vec<(Event, EventContext)> {
        let Some(run) = self.0.remove(&run) else { return Vec::new() };
        let Some(last) = run.last else { return Vec::new() };
        let tokens = run.tokens.finish(rules).into_iter();
        tokens.map(|token| (token.into(), last.clone())).collect()
    }
}

impl<H: CallbackHandler> CallbackHandler for Redact<H> {
    fn name(&self) -> &str {
        self.inner.handler.name()
    }

    fn interest(&self) -> Interest {
        crate::call::starts_and_ends() | self.inner.interest()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let interest = self.inner.interest();
        let events = lock(&self.runs).take(event, cx, &self.rules, interest);
        let mut result = Ok(());
        for (event, cx) in &events {
            let called = self.inner.call(event, cx);
            result = result.and(called);
        }
        result
    }
}

impl<H: AsyncCallbackHandler> AsyncCallbackHandler for Redact<H> {
    fn name(&self) -> &str {
        self.inner.handler.name()
    }

    fn interest(&self) -> Interest {
        crate::call::starts_and_ends() | self.inner.async_interest()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        let interest = self.inner.async_interest();
        let events = lock(&self.runs).take(event, cx, &self.rules, interest);
        if events.is_empty() {
            return HandlerFuture::new(ready(Ok(())));
        }
        HandlerFuture::new(async move {
            let mut result = Ok(());
            for (event, cx) in &events {
                let called = self.inner.call_async(event, cx).await;
                result = result.and(called);
            }
            result
        })
    }
}

impl<H: Suited> Suited for Redact<H>
where
    Self: SendHandler,
{
    fn options(&self) -> HandlerOptions {
        self.inner.handler.options()
    }
}

impl<H> fmt::Debug for Redact<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The patterns may be the secrets themselves.
        f.debug_struct("Redact")
            .field("patterns", &self.rules.patterns.len())
            .field("open_runs", &lock(&self.runs).0.len())
            .finish_non_exhaustive()
    }
}
