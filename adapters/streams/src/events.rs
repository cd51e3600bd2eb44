//! The events of a request as a stream of records.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use rappel_core::record::EventRecord;
use rappel_core::{
    AsyncCallbackHandler, Awaited, CallbackManager, Event, EventContext, HandlerFuture,
    HandlerOptions, HandlerResult, Interest, RegisterError,
};

use crate::buffer::{Buffer, Lagged, Offer, SlowReader};
use crate::drive::Drive;
use crate::filter::EventFilter;

/// Makes a stream of the events that the filter lets pass. [`EventStream::attach`] connects it.
#[must_use]
pub fn event_stream(filter: EventFilter) -> EventStream {
    EventStream { buffer: Arc::new(Buffer::new()), filter, interest: Interest::all(), stops: false }
}

/// The events of all runs of the managers that it is attached to, in tree order within each trace.
///
/// It ends when these managers and their runs are dropped, or, if it [drives](Self::drive) the work,
/// when that is done and its runs have ended. If the reader is cut off, its last item is [`Lagged`].
///
/// If it is dropped, its handler takes no more events. See [`stop_runs`](Self::stop_runs).
pub struct EventStream {
    buffer: Arc<Buffer>,
    filter: EventFilter,
    interest: Interest,
    stops: bool,
}

impl EventStream {
    pub(crate) fn interest(mut self, interest: Interest) -> Self {
        self.interest = interest;
        self
    }

    /// Sets what happens if the reader is slow. Call it before [`attach`](Self::attach).
    #[must_use]
    pub fn slow_reader(self, slow: SlowReader) -> Self {
        self.buffer.set_slow_reader(slow);
        self
    }

    /// Stops a run at its next event if the reader is gone or was cut off. It ends with
    /// [`RunError::Stopped`](rappel_core::RunError::Stopped). Call it before
    /// [`attach`](Self::attach).
    #[must_use]
    pub fn stop_runs(mut self) -> Self {
        self.stops = true;
        self
    }

    /// Returns a copy of the manager that sends its events to this stream, too. Its handler is
    /// inherited by child managers.
    ///
    /// # Errors
    /// [`RegisterError::NoTimer`] with [`SlowReader::Wait`], if the manager's runtime has no timer.
    pub fn attach(&self, callbacks: &CallbackManager) -> Result<CallbackManager, RegisterError> {
        let mut callbacks = callbacks.clone();
        let mut options = HandlerOptions::new().name("stream");
        if self.stops {
            options = options.delivery(Awaited::new().raise_error());
        }
        if let SlowReader::Wait { at_most } = self.buffer.slow_reader() {
            options = options.timeout(at_most);
        }
        self.buffer.handler_added();
        let handler = Handler {
            buffer: self.buffer.clone(),
            filter: self.filter.clone(),
            interest: self.interest,
            stops: self.stops,
        };
        callbacks.add_async_handler_options(handler, options)?;
        Ok(callbacks)
    }

    /// Makes the stream own and poll the work whose events it has. Dropping it drops the work at
    /// once. It ends when the work is done and its runs have ended.
    pub fn drive<F: Future>(self, work: F) -> Drive<Self, F> {
        let buffer = self.buffer.clone();
        Drive::new(self, work, buffer)
    }

    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }
}

impl Stream for EventStream {
    type Item = Result<Box<EventRecord>, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.buffer.poll_next(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.buffer.reader_dropped();
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// The reader of a stream is gone, or was cut off. It is why a run is stopped.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the reader of the stream is gone")]
pub struct ReaderGone;

struct Handler {
    buffer: Arc<Buffer>,
    filter: EventFilter,
    interest: Interest,
    stops: bool,
}

impl Handler {
    fn gone(&self) -> HandlerResult {
        if self.stops { Err(ReaderGone.into()) } else { Ok(()) }
    }
}

impl AsyncCallbackHandler for Handler {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        if !self.filter.matches(event, cx) {
            return HandlerFuture::new(ready(Ok(())));
        }
        match self.buffer.offer(event, cx) {
            Offer::Taken => HandlerFuture::new(ready(Ok(()))),
            Offer::Gone => HandlerFuture::new(ready(self.gone())),
            Offer::Full => HandlerFuture::new(Room {
                handler: self,
                event,
                cx,
                emitter: self.buffer.emitter(),
                is_done: false,
            }),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.buffer.handler_dropped();
    }
}

/// Waits for room, and queues the event. If it is dropped before, because the time is over, the
/// reader is cut off.
struct Room<'a> {
    handler: &'a Handler,
    event: &'a Event,
    cx: &'a EventContext,
    emitter: u64,
    is_done: bool,
}

impl Future for Room<'_> {
    type Output = HandlerResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        let result = match self.handler.buffer.offer(self.event, self.cx) {
            Offer::Taken => Ok(()),
            Offer::Gone => self.handler.gone(),
            Offer::Full => {
                self.handler.buffer.wait(self.emitter, cx.waker());
                return Poll::Pending;
            }
        };
        self.is_done = true;
        Poll::Ready(result)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.handler.buffer.stopped_waiting(self.emitter);
        if !self.is_done {
            self.handler.buffer.cut_off();
        }
    }
}
