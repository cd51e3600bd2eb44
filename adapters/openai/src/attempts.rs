//! The attempts of one call.

use rappel_core::{LlmRun, Retry, RunError};

use crate::client::Client;
use crate::clock::Due;
use crate::error::OpenAiError;

/// Counts the attempts of one call, and reports the failed ones to the handlers of its run.
pub(crate) struct Attempts {
    made: u32,
    due: Option<Due>,
}

impl Attempts {
    /// Starts the time limit of a call.
    pub(crate) fn new(client: &Client) -> Self {
        Self { made: 0, due: client.due() }
    }

    /// The deadline of the call with all its attempts.
    pub(crate) fn due(&self) -> Option<Due> {
        self.due
    }

    /// Reports a failed attempt and waits until it is time for the next one.
    ///
    /// # Errors
    /// If there is no further attempt, the run ends with `error`. The wait is given up if the run
    /// is closed.
    pub(crate) async fn next(
        &mut self,
        client: &Client,
        mut run: LlmRun,
        error: OpenAiError,
    ) -> Result<LlmRun, RunError> {
        self.made = self.made.saturating_add(1);
        let Some(wait) = client.retry(self.made, &error, self.due) else {
            return Err(fail(run, error).await);
        };
        run.on_retry(Retry::new(self.made, error, wait)).await?;
        run.until_closed(client.sleep(wait)).await?;
        Ok(run)
    }
}

/// Ends the run with the error.
pub(crate) async fn fail(run: LlmRun, error: OpenAiError) -> RunError {
    let error = typed(error);
    // The caller gets the error of the request. The dispatcher has reported a handler that raises
    // here.
    let _ = run.fail(error.clone()).await;
    error
}

/// The error of a run, with its type.
pub(crate) fn typed(error: OpenAiError) -> RunError {
    let error_type = error.error_type();
    RunError::failed(error).with_type(error_type)
}
