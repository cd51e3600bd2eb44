//! Core's `util`, with loom's types in its `sync`.

#[allow(dead_code, reason = "core uses more of it than the tests do")]
#[path = "../../../../core/src/util/mutex.rs"]
pub(crate) mod mutex;
#[path = "../../../../core/src/util/turn.rs"]
pub(crate) mod turn;
#[allow(dead_code, reason = "core uses more of it than the tests do")]
#[path = "../../../../core/src/util/wait_group.rs"]
pub(crate) mod wait_group;

pub(crate) mod catch_unwind;
pub(crate) mod sync;

pub(crate) use catch_unwind::{catch_unwind, drop_quietly};
pub(crate) use mutex::{Condvar, Mutex};
pub(crate) use turn::{Locked, Turn};
pub(crate) use wait_group::{WaitGroup, WaitGuard};
