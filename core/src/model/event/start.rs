//! What a start can be given about its place: its id, its time, and a parent in another process.

use alloc::boxed::Box;
use core::time::Duration;

use crate::model::run_info::RunId;
use crate::model::traceparent::TraceParent;

/// What a start was given about its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartOrigin {
    pub(crate) run_id: Option<RunId>,
    pub(crate) rare: Option<Box<RareOrigin>>,
}

/// What few starts are given.
#[derive(Debug, Clone, Default)]
pub(crate) struct RareOrigin {
    pub(crate) time: Option<Duration>,
    /// The parent in another process, and the outermost run there.
    pub(crate) remote_parent: Option<(RunId, RunId)>,
    pub(crate) traceparent: Option<TraceParent>,
}

macro_rules! start_setters {
    ($($payload:ident),+ $(,)?) => {$(
        impl $payload {
            setters! {
                /// Sets the run's id. Without it the run gets a new one.
                ///
                /// The start fails with [`EmitError::DuplicateRunId`](crate::EmitError::DuplicateRunId)
                /// if an open run was given the same id at its start.
                with_run_id(id: RunId) { self.origin.run_id = Some(id) }
                /// Sets when the run started, as the time since 1970. Without it the clock is read.
                with_time(time: core::time::Duration) {
                    self.origin.rare.get_or_insert_default().time = Some(time)
                }
                /// Sets a parent in another process or of another manager, and the outermost run above
                /// it. If the parent is the outermost run itself, pass its id twice.
                ///
                /// The run is detached: nothing closes it but a shutdown. It replaces the manager's
                /// own parent.
                with_remote_parent(parent: RunId, root: RunId) {
                    self.origin.rare.get_or_insert_default().remote_parent = Some((parent, root))
                }
                /// Sets the W3C trace context of the caller. Handlers find it with
                /// [`RunInfo::traceparent`](crate::RunInfo::traceparent).
                with_traceparent(traceparent: crate::TraceParent) {
                    self.origin.rare.get_or_insert_default().traceparent = Some(traceparent)
                }
            }
        }
    )+};
}
pub(super) use start_setters;
