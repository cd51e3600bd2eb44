//! The atomics and locks of this crate, in one place: the loom tests replace this module with loom's
//! types.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use futures_util::task::AtomicWaker;
pub(crate) use try_lock::{Locked, TryLock};
