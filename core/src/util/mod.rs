//! Tools without any type of rappel: locks, panics, wakers, waiting.

#[cfg(feature = "std")]
pub(crate) mod block_on;
pub(crate) mod catch_unwind;
pub(crate) mod conversions;
pub(crate) mod mutex;
pub(crate) mod setters;
pub(crate) mod sync;
pub(crate) mod task;
pub(crate) mod turn;
pub(crate) mod wait_group;
pub(crate) mod waker_set;

#[cfg(feature = "std")]
pub(crate) use block_on::block_on;
#[cfg(feature = "std")]
pub(crate) use catch_unwind::panic_text;
pub(crate) use catch_unwind::{CatchUnwind, catch_unwind, drop_quietly};
pub(crate) use conversions::conversions;
#[cfg(feature = "std")]
pub(crate) use mutex::Condvar;
pub(crate) use mutex::Mutex;
pub(crate) use setters::setters;
pub(crate) use task::{WithContext, wake, yield_now};
pub(crate) use turn::{Locked, Turn};
pub(crate) use wait_group::{WaitGroup, WaitGuard};
pub(crate) use waker_set::{WakerKey, WakerSet, wake_all};
