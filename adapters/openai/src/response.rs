//! The body of a response, with its limits of time and size. It works with every transport.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;

use crate::clock::{Alarm, Clock, Due};
use crate::coop::Budget;
use crate::error::OpenAiError;
use crate::limits::Phase;
use crate::transport::BodyStream;

/// The body of a response.
pub(crate) struct ResponseBody {
    /// `None` once it has ended.
    stream: Option<BodyStream>,
    alarm: Alarm,
    /// The deadline of the whole call.
    total: Option<Due>,
    /// When the reader began to wait for the current packet. The time that the reader takes between
    /// two packets does not count.
    waiting_since: Option<Duration>,
    size: usize,
    limit: usize,
    /// The limit has been exceeded. It is an error after the bytes within the limit.
    is_too_large: bool,
    /// When the rest of the response is no longer waited for.
    grace: Option<Due>,
    /// How many packets are still read after that, because they may have been here before.
    late_packets: u8,
    budget: Budget,
    leftovers: Arc<Leftovers>,
}

impl ResponseBody {
    const LATE_PACKETS: u8 = 64;

    /// A body of which at most `limit` bytes are read, until `total`.
    pub(crate) fn new(
        stream: BodyStream,
        clock: Clock,
        total: Option<Due>,
        limit: usize,
        leftovers: Arc<Leftovers>,
    ) -> Self {
        Self {
            stream: Some(stream),
            alarm: Alarm::new(clock),
            total,
            waiting_since: None,
            size: 0,
            limit,
            is_too_large: false,
            grace: None,
            late_packets: Self::LATE_PACKETS,
            budget: Budget::new(),
            leftovers,
        }
    }

    /// From now on the rest of the response is waited for during the grace period only.
    pub(crate) fn begin_grace(&mut self) {
        let clock = self.alarm.clock();
        self.grace = clock.due(Phase::Grace, clock.now());
        self.late_packets = Self::LATE_PACKETS;
    }

    /// The rest of the response is waited for as before.
    pub(crate) fn end_grace(&mut self) {
        self.grace = None;
    }

    /// The error if the time limit of the whole call has passed. A reader that yields without waiting
    /// for bytes calls it.
    pub(crate) fn check_total(&self) -> Result<(), OpenAiError> {
        self.alarm.check(self.total)
    }

    /// The first `limit` bytes, or those that arrive within `time`. If the connection breaks, what
    /// arrived before that is returned.
    pub(crate) async fn prefix(&mut self, limit: usize, time: Duration) -> Vec<u8> {
        let mut prefix = Vec::new();
        let mut over = self.alarm.clock().sleep(time);
        while prefix.len() < limit {
            let bytes = core::future::poll_fn(|cx| match self.poll_next_unpin(cx) {
                Poll::Pending => over.as_mut().poll(cx).map(|()| None),
                next => next,
            });
            let Some(Ok(bytes)) = bytes.await else {
                break;
            };
            prefix.extend_from_slice(&bytes[..bytes.len().min(limit - prefix.len())]);
        }
        prefix
    }

    /// Leaves a body whose answer is complete. Its connection can be used again once its end has
    /// arrived.
    pub(crate) fn leave(mut self) {
        if let Some(stream) = self.stream.take() {
            self.leftovers.take(stream);
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        if self.is_too_large {
            let error = OpenAiError::BodyTooLarge { limit: self.limit };
            return Poll::Ready(self.stream.take().map(|_| Err(error)));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(None);
        };
        if self.budget.poll_spend(cx).is_pending() {
            // The limits also apply to a server that never pauses.
            return match self.check_total() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error))),
            };
        }
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.waiting_since = None;
                Poll::Ready(Some(self.count(bytes)))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => {
                self.budget.refill();
                let since = *self.waiting_since.get_or_insert_with(|| self.alarm.clock().now());
                let due = Due::earlier(self.alarm.next_packet(since, self.total), self.grace);
                self.alarm.poll(cx, due).map(|error| Some(Err(error)))
            }
        }
    }

    /// Counts a packet. The bytes within the limit are returned before the error, so that the
    /// result does not depend on the borders of packets.
    fn count(&mut self, mut bytes: Bytes) -> Result<Bytes, OpenAiError> {
        if let Err(error) = self.alarm.check(self.grace) {
            self.late_packets = self.late_packets.checked_sub(1).ok_or(error)?;
        }
        let room = self.limit - self.size;
        self.is_too_large = bytes.len() > room;
        bytes.truncate(room);
        self.size += bytes.len();
        Ok(bytes)
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let bytes = ready!(this.poll_bytes(cx));
        if !matches!(bytes, Some(Ok(_))) {
            this.stream = None;
        }
        Poll::Ready(bytes)
    }
}

/// By hand: the bytes are the user's conversation.
impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Bodies whose answer is complete, but whose end may not have arrived yet.
///
/// Many servers send the end of the body in a packet of its own after `[DONE]`. The caller does not
/// wait for it, but a connection can be used again only after it was read. So the body is kept here
/// until the next request, which polls it once for its end and then drops it.
#[derive(Default)]
pub(crate) struct Leftovers(Mutex<Vec<BodyStream>>);

impl Leftovers {
    /// A limit, for servers that never end their bodies.
    const MOST: usize = 8;

    /// How many packets are read after the end of an answer.
    const PACKETS: usize = 4;

    fn take(&self, mut body: BodyStream) {
        if is_over(&mut body) {
            return;
        }
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < Self::MOST {
            bodies.push(body);
        }
    }

    /// Reads what has arrived, and drops all bodies. Those that have ended return their connections
    /// to the pool. The others close them.
    pub(crate) fn settle(&self) {
        let bodies = core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for mut body in bodies {
            is_over(&mut body);
        }
    }
}

fn is_over(body: &mut BodyStream) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..Leftovers::PACKETS {
        match body.as_mut().poll_next(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
    }
    false
}
