//! Tokens to standard output.

use std::fmt;
use std::io::{self, Stdout, Write};

use rappel_core::{
    CallbackHandler, Delivery, EventContext, EventKind, HandlerOptions, HandlerResult, Interest,
    LlmEnd, LlmError, LlmNewToken, Overflow,
};

use crate::Suited;

/// Writes the text of each token to standard output, as it comes.
///
/// It is LangChain's `StreamingStdOutCallbackHandler`. Each token is flushed. Reasoning, refusals
/// and tool calls are not written.
///
/// ```no_run
/// use rappel_handlers::{StreamingStdout, With};
/// use rappel_threads::prelude::*;
///
/// let callbacks = CallbackManager::new(Threads::new()).with(StreamingStdout::new());
/// # let _ = callbacks;
/// ```
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined, with a queue of 256 tokens for each
/// run. If the output is slow, tokens are joined. No text is lost. The end of the run waits until
/// all text is written.
///
/// # Several runs
/// The tokens of runs that stream at the same time are mixed. Use [`Filter`](crate::Filter) to
/// choose runs.
///
/// # Failures
/// A closed pipe, as of `program | head -1`, ends the output quietly: later tokens are ignored, and
/// no failure is reported. Any other error of the output is a failure of the handler. It is counted
/// and reported, and the next token is tried again.
///
/// The text is written as it is. A model can write escape sequences to your terminal.
pub struct StreamingStdout<W = Stdout> {
    out: W,
    closing: Option<String>,
    closed: bool,
}

impl StreamingStdout {
    /// Writes to standard output.
    #[must_use]
    pub fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl Default for StreamingStdout {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write + 'static> StreamingStdout<W> {
    /// Writes to any writer.
    pub fn to(out: W) -> Self {
        Self { out, closing: None, closed: false }
    }

    /// Writes `text` after each run of a model: `"\n"`, for example.
    #[must_use]
    pub fn closing(mut self, text: impl Into<String>) -> Self {
        self.closing = Some(text.into());
        self
    }

    fn write(&mut self, text: &str) -> HandlerResult {
        if self.closed || text.is_empty() {
            return Ok(());
        }
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => Ok(written?),
        }
    }

    fn close(&mut self) -> HandlerResult {
        let closing = self.closing.take();
        let result = self.write(closing.as_deref().unwrap_or_default());
        self.closing = closing;
        result
    }
}

impl<W: Write + 'static> CallbackHandler for StreamingStdout<W> {
    fn name(&self) -> &str {
        "StreamingStdout"
    }

    fn interest(&self) -> Interest {
        let tokens = Interest::only(EventKind::LlmNewToken);
        match self.closing {
            Some(_) => tokens.with(EventKind::LlmEnd).with(EventKind::LlmError),
            None => tokens,
        }
    }

    fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        self.write(&token.token)
    }

    fn on_llm_end(&mut self, _: &LlmEnd, _: &EventContext) -> HandlerResult {
        self.close()
    }

    fn on_llm_error(&mut self, _: &LlmError, _: &EventContext) -> HandlerResult {
        self.close()
    }
}

impl<W: Write + Send + 'static> Suited for StreamingStdout<W> {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(256).overflow(Overflow::Coalesce).into()
    }
}

impl<W> fmt::Debug for StreamingStdout<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingStdout").field("closed", &self.closed).finish_non_exhaustive()
    }
}
