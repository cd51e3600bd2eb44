//! Streams that break off.

use alloc::boxed::Box;
use core::error::Error;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::model::error::RunError;

pin_project! {
    /// A stream that fails if it breaks off: see
    /// [`WithCallbacks::require_last`](super::WithCallbacks::require_last).
    #[must_use = "streams do nothing unless they are polled"]
    pub struct RequireLast<S, F> {
        #[pin]
        stream: S,
        is_last: F,
        has_last: bool,
        is_done: bool,
    }
}

impl<S, F> RequireLast<S, F> {
    pub(super) fn new(stream: S, is_last: F) -> Self {
        Self { stream, is_last, has_last: false, is_done: false }
    }
}

impl<S, F, T, E> Stream for RequireLast<S, F>
where
    S: Stream<Item = Result<T, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: FnMut(&T) -> bool,
{
    type Item = Result<T, RunError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.is_done {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(this.stream.poll_next(cx)) {
            Some(Ok(item)) => {
                *this.has_last = *this.has_last || (this.is_last)(&item);
                Some(Ok(item))
            }
            Some(Err(error)) => {
                *this.is_done = true;
                Some(Err(RunError::failed(error)))
            }
            None => {
                *this.is_done = true;
                // The type is that of a response of `ChatOpenAi` that breaks off.
                let broken = || RunError::failed("the stream broke off").with_type("response_cut");
                (!*this.has_last).then(|| Err(broken()))
            }
        })
    }
}

impl<S, F, T, E> FusedStream for RequireLast<S, F>
where
    S: Stream<Item = Result<T, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
    F: FnMut(&T) -> bool,
{
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl<S, F> fmt::Debug for RequireLast<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLast").field("has_last", &self.has_last).finish_non_exhaustive()
    }
}
