//! One run: its state, emitting, closing, its place in the tree.
//!
//! A run is a writer: emitting takes `&mut self`, so a run has one event in flight. The event in
//! flight is kept in the run and not in the future that emitted it. So that future can be dropped
//! or leaked at any await point: a task of the runtime, or the run's next event, goes on with it.

mod cell;
mod close;
mod deferred;
mod drive;
mod driver;
mod emit;
mod engine;
mod fan_out;
mod handle;
mod partial;
#[cfg(feature = "serde")]
mod replayed;
mod round;
mod seats;
mod setup;
mod stamped;
mod start;
mod state;
mod until_closed;
#[cfg(feature = "std")]
mod wait;

pub use emit::{Emit, End, SendEvent};
pub(crate) use engine::Engine;
pub(crate) use handle::RunHandle;
pub use handle::{ChainRun, LlmRun, RetrieverRun, ToolRun};
pub(crate) use setup::{Inheritable, Setup};
pub use start::{Kept, Start};
pub(crate) use state::Run;
#[cfg(feature = "serde")]
pub(crate) use state::Stamp;
pub(crate) use until_closed::Closing;
