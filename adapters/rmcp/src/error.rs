//! Why a tool call failed.

use rappel_core::{EmitError, RunError};
use rmcp::ServiceError;

/// Why a tool call has no result.
///
/// A result whose `is_error` is set is not such an error. The call returns it as `Ok`, and its run fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallToolError {
    /// The server answered with an error, or could not be reached. The run failed with this error.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A handler with `raise_error` stopped the run, its parent ended, or the callbacks were shut down.
    ///
    /// If the handler failed at the start, the server did not get the call. If it failed at the end, the
    /// server has already answered, and the result is lost. Otherwise rmcp sends the server a
    /// cancellation.
    #[error("the tool's run ended before its result: {0}")]
    Run(#[from] RunError),
}

impl From<EmitError> for CallToolError {
    fn from(error: EmitError) -> Self {
        Self::Run(error.into())
    }
}
