//! What core's `run/cell.rs` takes from `dispatch`.

/// A run under another one. The model has none.
pub(crate) trait OpenRun: Send + Sync {}

/// Where code is. The model has no places.
pub(crate) type Current = Option<()>;
