//! The events of managers for readers that come and go.

use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{
    AsyncCallbackHandler, CallbackManager, Event, EventContext, HandlerFuture, HandlerOptions,
    Interest, RegisterError, RunId,
};

use crate::buffer::{Buffer, Offer, SlowReader};
use crate::events::{EventStream, event_stream};
use crate::filter::EventFilter;

/// The events of the managers that it is attached to, for any number of readers, at any time: a
/// page that watches a process, for example. Clones share the readers.
///
/// A late reader first gets the starts of the runs that are open, parents before their children, and
/// then every further event. So it knows the open ancestors of each run that it gets.
///
/// Readers never delay an emitter. Tokens are joined for a reader that is slow, as with
/// [`SlowReader::coalesce`]. With [`SlowReader::Wait`] a reader of a feed is cut off where it would
/// be waited for.
///
/// The feed keeps the start of each open run, with its inputs.
///
/// ```
/// use futures_util::StreamExt as _;
/// use rappel_streams::{EventFeed, EventFilter};
/// use rappel_tokio::prelude::*;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed = EventFeed::new();
/// let callbacks = feed.attach(&CallbackManager::new(Tokio::current()))?;
/// let run = callbacks.on_chain_start(ChainStart::new("chain", "in")).await?;
/// let mut late = feed.reader(EventFilter::new());
/// assert_eq!(late.next().await.unwrap()?.kind, "on_chain_start");
/// run.end("out").await?;
/// assert_eq!(late.next().await.unwrap()?.kind, "on_chain_end");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct EventFeed {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The number of starts so far.
    starts: u64,
    open: HashMap<RunId, Start>,
    readers: Arc<[Reader]>,
    handlers: usize,
    was_attached: bool,
}

#[derive(Clone)]
struct Start {
    number: u64,
    event: Event,
    cx: EventContext,
}

#[derive(Clone)]
struct Reader {
    buffer: Arc<Buffer>,
    filter: EventFilter,
}

impl EventFeed {
    /// Makes a feed without readers. [`attach`](Self::attach) connects it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of the manager that sends its events to this feed, too. Its handler is
    /// inherited by child managers.
    ///
    /// # Errors
    /// Those of [`CallbackManager::add_async_handler_options`].
    pub fn attach(&self, callbacks: &CallbackManager) -> Result<CallbackManager, RegisterError> {
        let mut callbacks = callbacks.clone();
        {
            let mut state = lock(&self.state);
            state.handlers += 1;
            state.was_attached = true;
            state.readers.iter().for_each(|reader| reader.buffer.handler_added());
        }
        let handler = Handler { state: self.state.clone() };
        callbacks.add_async_handler_options(handler, HandlerOptions::new().name("feed"))?;
        Ok(callbacks)
    }

    /// Makes a stream that begins with the starts of the open runs which the filter lets pass. It
    /// ends when the managers and their runs are dropped. It is no reason to stop a run:
    /// [`EventStream::stop_runs`] has no effect on it.
    #[must_use]
    pub fn reader(&self, filter: EventFilter) -> EventStream {
        let stream = event_stream(filter.clone()).slow_reader(SlowReader::coalesce());
        let reader = Reader { buffer: stream.buffer().clone(), filter };
        let mut state = lock(&self.state);
        let mut open: Vec<&Start> = state.open.values().collect();
        open.sort_by_key(|start| start.number);
        for start in open {
            // The stream has no waker yet, so that no waker is called under the lock.
            reader.offer(&start.event, &start.cx);
        }
        if state.was_attached {
            reader.buffer.handlers_are(state.handlers);
        }
        // Without those that are gone: there may be no event for long, and many readers.
        let stay = state.readers.iter().filter(|reader| !reader.buffer.is_gone()).cloned();
        let readers = stay.chain([reader]).collect();
        let before = std::mem::replace(&mut state.readers, readers);
        drop(state);
        drop(before);
        stream
    }
}

impl fmt::Debug for EventFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        let mut debug = f.debug_struct("EventFeed");
        debug.field("open_runs", &state.open.len()).field("readers", &state.readers.len());
        debug.finish_non_exhaustive()
    }
}

impl Reader {
    /// Returns `false` if the reader is gone, or was cut off.
    fn offer(&self, event: &Event, cx: &EventContext) -> bool {
        if !self.filter.matches(event, cx) {
            return !self.buffer.is_gone();
        }
        match self.buffer.offer(event, cx) {
            Offer::Taken => true,
            Offer::Gone => false,
            Offer::Full => {
                self.buffer.cut_off();
                false
            }
        }
    }
}

struct Handler {
    state: Arc<Mutex<State>>,
}

impl Handler {
    fn handle(&self, event: &Event, cx: &EventContext) {
        // First the open runs and the list of readers, in one step, then the readers: a reader that
        // comes in between gets the event once.
        let (readers, ended) = {
            let mut state = lock(&self.state);
            let mut ended = None;
            if event.kind().is_start() {
                state.starts += 1;
                let start = Start { number: state.starts, event: event.clone(), cx: cx.clone() };
                ended = state.open.insert(cx.id(), start);
            } else if event.kind().is_end() {
                ended = state.open.remove(&cx.id());
            }
            (state.readers.clone(), ended)
        };
        drop(ended);
        let are_gone = readers.iter().filter(|reader| !reader.offer(event, cx)).count() > 0;
        if are_gone {
            let mut state = lock(&self.state);
            let stay = state.readers.iter().filter(|reader| !reader.buffer.is_gone()).cloned();
            let stay = stay.collect();
            let before = std::mem::replace(&mut state.readers, stay);
            drop(state);
            drop(before);
        }
    }
}

impl AsyncCallbackHandler for Handler {
    fn interest(&self) -> Interest {
        Interest::all()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        self.handle(event, cx);
        HandlerFuture::new(ready(Ok(())))
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        let readers = {
            let mut state = lock(&self.state);
            state.handlers -= 1;
            state.readers.clone()
        };
        readers.iter().for_each(|reader| reader.buffer.handler_dropped());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
