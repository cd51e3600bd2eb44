//! Why a call to the broker failed.

use std::error::Error as StdError;
use std::sync::Arc;

/// Why a call to Redis, or to another broker, failed.
///
/// No message contains a password.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be used.
    #[error(
        "the address is not usable: {0}; write redis://host:port/, or rediss:// with the feature `tls`"
    )]
    Address(String),
    /// There is no connection, or no answer came in time. The call may have been done.
    #[error("no answer from {address}: {source}")]
    Unreachable {
        /// The host and the port, without a password.
        address: String,
        /// The error of the connection.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The user or the password is wrong.
    #[error(
        "the user or the password is wrong: set them in the address, redis://user:password@host/"
    )]
    WrongPassword,
    /// The server asks for a password, and the address has none.
    #[error("the server asks for a password: set it in the address, redis://:password@host/")]
    PasswordNeeded,
    /// The user has no permission for a command or a key.
    #[error("the user has no permission: {0}; docs/redis.md lists what is needed")]
    NoPermission(String),
    /// The server's memory is full (`maxmemory`). Nothing of the call was done. Only records and the setup of a
    /// new namespace are refused then.
    #[error("the server's memory is full (`maxmemory`): nothing of the batch was accepted")]
    OutOfMemory,
    /// The server does not know a command.
    #[error("the server has no command {command}: it needs Redis {since} or later")]
    MissingCommand {
        /// The name of the command.
        command: &'static str,
        /// The first version of Redis that has it.
        since: &'static str,
    },
    /// The namespace has another number of partitions. This number cannot be changed.
    #[error(
        "the namespace has {there} partitions, and not {asked}: use that number, or another namespace"
    )]
    Partitions {
        /// The number that this program asks for.
        asked: u32,
        /// The number that the namespace has.
        there: u32,
    },
    /// The keys of the namespace have another layout, which is given here.
    #[error("the namespace was made by a later version (layout {0}): update this program")]
    Layout(String),
    /// The server refused the call for another reason.
    #[error("the server has refused: {0}")]
    Refused(String),
    /// The server's answer does not fit the call.
    #[error("the server has answered something else than was asked for: {0}")]
    Answer(String),
    /// The manager of a worker, or its runtime, was shut down while the worker ran. The worker has stopped. It has
    /// not acknowledged the traces that handlers did not get to the end.
    #[error(
        "the callbacks or their runtime were shut down while the worker ran: stop the worker first"
    )]
    CallbacksGone,
    /// A worker was to replay a run that is open in the same manager: another worker replays it, or the program has
    /// emitted it with this id. The worker has stopped, and has not acknowledged the trace.
    #[error(
        "the manager of this worker already has an open run with the same id: make a manager with \
         `CallbackManager::new` for each worker"
    )]
    CallbacksShared,
    /// A setting cannot be used. The text says why.
    #[error("{0}")]
    Setting(&'static str),
}

impl Error {
    /// Returns `true` if a later try may succeed: for `Unreachable`, `OutOfMemory` and `Refused`.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::OutOfMemory | Self::Refused(_))
    }
}
