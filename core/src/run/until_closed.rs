//! Work that ends when its run is closed.

use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use crate::dispatch::RunNode;
use crate::model::error::RunError;
use crate::util::WakerKey;

/// A task that waits until a run is closed by its parent or by a shutdown.
pub(crate) struct Closing {
    node: Arc<RunNode>,
    key: WakerKey,
}

impl Closing {
    pub(crate) fn new(node: Arc<RunNode>) -> Self {
        Self { node, key: WakerKey::default() }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.node.poll_closed(&mut self.key, cx)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.node.forget_closed(&mut self.key);
    }
}

pin_project! {
    /// A future that is dropped when its run is closed by its parent or by a shutdown.
    pub(crate) struct UntilClosed<F> {
        closing: Closing,
        #[pin]
        future: Option<F>,
    }
}

impl<F> UntilClosed<F> {
    pub(crate) fn new(node: Arc<RunNode>, future: F) -> Self {
        Self { closing: Closing::new(node), future: Some(future) }
    }
}

impl<F: Future> Future for UntilClosed<F> {
    type Output = Result<F::Output, RunError>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.closing.poll(cx).is_ready() {
            this.future.set(None);
            return Poll::Ready(Err(RunError::Cancelled));
        }
        let future = this.future.as_mut().as_pin_mut();
        let output = ready!(future.expect("it is not polled after it was ready").poll(cx));
        this.future.set(None);
        Poll::Ready(Ok(output))
    }
}
