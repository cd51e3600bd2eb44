//! The atomics and locks of this crate, in one place: the loom tests replace this module with loom's
//! types, and what a thread does before it sleeps.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(feature = "std")]
pub(crate) use std::thread::yield_now as yield_thread;

pub(crate) use futures_util::task::AtomicWaker;
pub(crate) use try_lock::{Locked, TryLock};

/// How often a worker yields its processor and looks for work before it sleeps.
#[cfg(feature = "std")]
pub(crate) const LOOKS: usize = 32;
