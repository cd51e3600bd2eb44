//! Pure state machines: what waits for a handler, which lanes need a worker, what a flush waits for.
//!
//! Nothing in this layer takes a lock, wakes a task or calls user code. Values that have to be
//! dropped are returned to the caller, which drops them after it has released its lock.

mod blocks;
mod epoch;
mod item;
mod lane;
mod schedule;
mod trace;

pub(crate) use item::{Item, Part};
pub(crate) use lane::{Abandoned, Batch, LaneQueue, Limits, Lost, Push, Rare, Released, Taken};
pub(crate) use schedule::{Schedule, Wake};

/// A sequential counter that may wrap around.
pub(crate) type Epoch = u32;
