//! One event to its handlers: registered handlers, their calls, lanes, workers, the current run.

mod ask;
mod call;
mod context;
mod inline;
mod item;
mod lane;
mod meta;
mod registered;
mod report;
mod run_node;
mod seat;
mod seated;
mod serve;
mod watch;
mod workers;

pub(crate) use ask::{Asked, Begun, Timeout, go_on};
pub(crate) use call::Call;
pub use context::Scoped;
#[cfg(feature = "std")]
pub(crate) use context::may_wait_here;
pub(crate) use context::{
    Current, FrameKind, Here, Place, Scope, Swapped, Ticks, current, enter, here, is_handling,
    is_here, is_in_call, is_too_deep, tick,
};
pub(crate) use inline::InlineSlot;
pub(crate) use item::{Envelope, LaneEvent, LaneItem};
pub(crate) use lane::{Lane, LaneStep, Mailbox};
pub(crate) use meta::{Answer, HandlerMeta, count, interest_changes};
pub(crate) use registered::{Registered, Target};
pub(crate) use report::Reporter;
pub(crate) use run_node::{OpenRun, RunNode, Trace};
pub(crate) use seat::LaneSeat;
pub(crate) use workers::Workers;
