//! Waiting for a future on a thread that does nothing else meanwhile.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::thread::{self, Thread};
use std::time::Instant;

/// Blocks this thread until the future is ready; it is polled here.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    wait(future, thread::park)
}

/// As [`block_on`]; `meanwhile` is called now and then where that takes long.
pub(crate) fn block_on_and<F: Future>(future: F, meanwhile: impl Fn()) -> F::Output {
    wait(future, || {
        let begun = Instant::now();
        thread::park_timeout(PATIENCE);
        if begun.elapsed() >= PATIENCE {
            meanwhile();
        }
    })
}

/// What takes as long takes long.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);

fn wait<F: Future>(future: F, park: impl Fn()) -> F::Output {
    let mut future = pin!(future);
    let bell = Arc::new(Unpark {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(bell.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !bell.woken.swap(false, Ordering::AcqRel) {
            park();
        }
    }
}

/// Wakes a thread that waits for a future.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
