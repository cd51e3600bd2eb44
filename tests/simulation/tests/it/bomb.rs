//! Values whose drop panics, as users' values may.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Panics when it is dropped, unless its thread panics already: that would abort the process.
#[derive(Debug)]
pub(super) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Without the hook, which would print it.
            if std::env::var_os("SHOW_BOMBS").is_some() {
                panic!("a bomb");
            }
            resume_unwind(Box::new("a bomb"));
        }
    }
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bomb")
    }
}

impl Error for Bomb {}

/// Drops a value that may have a bomb in it.
pub(super) fn defuse<T>(value: T) {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
    let _ = dropped.map_err(std::mem::forget);
}

/// A future that has a bomb, which is dropped with it.
pub(super) struct Armed<F> {
    pub(super) future: F,
    pub(super) _bomb: Option<Bomb>,
}

impl<F: Future + Unpin> Future for Armed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::new(&mut self.future).poll(cx)
    }
}

/// A future that may have a bomb of its emitter, which goes off if the emitter drops the future.
pub(super) struct Own<F> {
    pub(super) future: Option<Pin<Box<F>>>,
    pub(super) has_bomb: bool,
}

impl<F: Future> Future for Own<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.future.as_mut().map_or(Poll::Pending, |future| future.as_mut().poll(cx))
    }
}

impl<F> Drop for Own<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        if self.has_bomb {
            defuse(future);
        }
    }
}
