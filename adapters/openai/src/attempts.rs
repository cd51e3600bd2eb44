//! One call, and the attempts that it takes.

use rappel_core::{LlmRun, Retry, RunError};

use crate::client::Client;
use crate::clock::Due;
use crate::error::OpenAiError;

/// Counts the attempts of one call, and tells the handlers of its run of those that failed.
pub(crate) struct Attempts<'a> {
    client: &'a Client,
    made: u32,
    due: Option<Due>,
}

impl<'a> Attempts<'a> {
    /// The call begins now.
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            made: 0,
            due: client.due(),
        }
    }

    /// When the call is over, however many attempts it takes.
    pub(crate) fn due(&self) -> Option<Due> {
        self.due
    }

    /// Gives the run back when it is time for the next attempt, or else ends it in the error of the last one.
    pub(crate) async fn another(&mut self, run: LlmRun, error: OpenAiError) -> Result<LlmRun, RunError> {
        self.made += 1;
        let Some(wait) = self.client.retry(self.made, &error, self.due) else {
            return Err(fail(run, error).await);
        };
        run.on_retry(Retry::new(self.made, error, wait)).await?;
        self.client.sleep(wait).await;
        Ok(run)
    }
}

/// Ends the run in the error.
pub(crate) async fn fail(run: LlmRun, error: OpenAiError) -> RunError {
    let error = RunError::failed(error);
    // The error that counts is the one of the request. A handler that raises at this point has been reported.
    let _ = run.error(error.clone()).await;
    error
}
