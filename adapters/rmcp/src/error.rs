//! Why a tool call failed.

use rappel_core::{EmitError, RunError};
use rmcp::ServiceError;

/// Why a tool call has no result.
///
/// A result whose `is_error` is set is no such error: the call returns it, and its run fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallToolError {
    /// The server answered with an error, or could not be reached. The run failed with it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The run ended before the server's answer, and the server was told to stop: a handler with
    /// `raise_error` stopped it, its parent ended, or the callbacks were shut down.
    #[error("the tool's run ended before its result: {0}")]
    Run(#[from] RunError),
}

impl From<EmitError> for CallToolError {
    fn from(error: EmitError) -> Self {
        Self::Run(error.into())
    }
}
