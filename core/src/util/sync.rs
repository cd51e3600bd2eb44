//! The atomics of this crate, in one place: the loom tests replace this module with loom's types.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
pub(crate) use futures_util::task::AtomicWaker;
