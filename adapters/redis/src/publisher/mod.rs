//! The handler that publishes events.

pub(crate) mod buffer;
mod sender;

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rappel_core::record::Recorder;
use rappel_core::{
    CallbackHandler, CallbackManager, Delivery, Event, EventContext, HandlerOptions, HandlerResult,
    Interest,
};

pub(crate) use self::buffer::{Buffer, Effect};
use self::sender::{Pace, Shared, publish};
use crate::broker::{Broker, Connect, RedisBroker};
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::keys::Keys;
use crate::partition::partition_of;

/// Publishes the events of a program, so that a [`RedisWorker`](crate::RedisWorker) in another
/// process can hand them to handlers.
///
/// ```no_run
/// use std::time::Duration;
/// use rappel_redis::RedisPublisher;
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = RedisPublisher::new("redis://localhost/").build()?;
/// let handle = publisher.handle();
/// let callbacks = publisher.register(CallbackManager::new(Threads::new()));
///
/// let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).wait()?;
/// run.end("Why not?").wait()?;
///
/// // Sends the buffered records. `unfinished` says what was not sent.
/// let report = callbacks.shutdown(Duration::from_secs(5)).wait()?;
/// println!("{:?}; {:?}", handle.counts(), report.unfinished);
/// # Ok(())
/// # }
/// ```
///
/// Records wait in a bounded buffer. A thread of the publisher sends them in batches. Each batch is one
/// transaction. If Redis does not answer, the thread sends the batch again, after pauses of 20 to 500 ms.
/// Workers skip records that come twice. If the buffer is full, the publisher refuses whole traces and
/// counts them.
///
/// If Redis accepts records and the buffer is full, an event waits for room: see
/// [`wait_for_room`](PublisherBuilder::wait_for_room). While Redis is away, or its memory is full, no event
/// waits.
///
/// If the publisher is dropped, its thread sends the buffered records and ends. If a call to Redis fails
/// meanwhile, the thread ends without sending the rest. A [shutdown](CallbackManager::shutdown) of the
/// manager waits for the records.
pub struct RedisPublisher {
    shared: Arc<Shared>,
    recorder: Recorder,
    partitions: u32,
    wait_for_room: Duration,
    token_times: bool,
    batch: usize,
    /// The thread ends when this is dropped.
    _stop: StopOnDrop,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The settings of a [`RedisPublisher`]. [`build`](Self::build) makes the publisher.
#[derive(Debug, Clone)]
#[must_use = "a publisher is made by `build`"]
pub struct PublisherBuilder {
    connect: Connect,
    namespace: String,
    partitions: Option<u32>,
    source: Option<String>,
    records: usize,
    bytes: usize,
    wait_for_room: Duration,
    token_times: bool,
    cap: Option<u64>,
    pace: Pace,
}

impl RedisPublisher {
    /// Returns the settings of a publisher to the Redis at `redis`, an address or a [`Connect`].
    #[expect(clippy::new_ret_no_self, reason = "a publisher has settings first")]
    pub fn new(redis: impl Into<Connect>) -> PublisherBuilder {
        PublisherBuilder {
            connect: redis.into(),
            namespace: "rappel".into(),
            partitions: None,
            source: None,
            records: 100_000,
            bytes: 64 << 20,
            wait_for_room: Duration::from_secs(1),
            token_times: false,
            cap: None,
            pace: Pace {
                batch: 256,
                linger: Duration::from_millis(2),
                heartbeat: Duration::from_secs(30),
                back_off: Duration::from_millis(500),
            },
        }
    }

    /// Registers the publisher with a manager: pipelined, with a queue of 1,024 events for each run.
    ///
    /// A shutdown of the manager sends the buffered records within the deadline.
    /// [`ShutdownReport::unfinished`](rappel_core::ShutdownReport::unfinished) has the number of records
    /// that were not sent. A flush of the manager does not wait for Redis: see
    /// [`PublisherHandle::flush`].
    #[must_use]
    pub fn register(self, callbacks: CallbackManager) -> CallbackManager {
        let handle = self.handle();
        let options = HandlerOptions::new().delivery(Delivery::pipelined(1024));
        callbacks.with_handler_options(self, options).on_shutdown(move |deadline| {
            // So that there is time left to say what was not sent.
            match handle.flush(deadline - deadline / 10) {
                0 => Ok(()),
                left => Err(handle.unsent(left).into()),
            }
        })
    }

    /// Returns a handle that stays usable after [`register`](Self::register): for counts and a flush.
    #[must_use]
    pub fn handle(&self) -> PublisherHandle {
        PublisherHandle { shared: self.shared.clone() }
    }
}

/// The default number of partitions of a new namespace.
const PARTITIONS: u32 = 16;

impl PublisherBuilder {
    /// Sets the namespace, with which all keys begin. The default is `rappel`. Workers need the same
    /// namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Sets the number of partitions (minimum 1). The number of a namespace cannot be changed later.
    /// By default the publisher takes the number that the namespace has, or 16 for a new namespace.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions.max(1));
        self
    }

    /// Sets the name of the publisher. Each process must use a new name, which is unique in the
    /// namespace. The default is a new UUID.
    pub fn source(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// Sets the bounds of the buffer: the number of its records (default 100,000), and the sum of
    /// their sizes in bytes (default 64 MiB). If the process is killed, at most these records are lost.
    /// An empty buffer takes one record of any size.
    pub fn buffer(mut self, records: usize, bytes: usize) -> Self {
        (self.records, self.bytes) = (records, bytes);
        self
    }

    /// Sets how long an event waits for room in a full buffer while Redis accepts records. The default is
    /// one second. While Redis is away, or its memory is full, no event waits.
    pub fn wait_for_room(mut self, wait: Duration) -> Self {
        self.wait_for_room = wait;
        self
    }

    /// Sets the maximum number of records of a batch (default 256, minimum 1), and how long the
    /// publisher waits to fill a batch (default 2 ms).
    pub fn batch(mut self, records: usize, linger: Duration) -> Self {
        (self.pace.batch, self.pace.linger) = (records.max(1), linger);
        self
    }

    /// Sets the time after which the publisher's key in Redis expires. The default is 30 seconds, the
    /// minimum 40 ms. The publisher sets the key again four times in this time. If Redis
    /// does not answer a call, or refuses the key, it tries to set the key after a pause of 20 to 500 ms,
    /// until that succeeds. Redis accepts the key even if its memory is full. Workers close the traces of a
    /// publisher whose key is missing: see [`orphan_after`](crate::RedisWorker::orphan_after).
    pub fn heartbeat(mut self, after: Duration) -> Self {
        self.pace.heartbeat = after.max(Duration::from_millis(40));
        self
    }

    /// Cuts the oldest records of a partition when it has more than about `records`, even if no worker
    /// has handled them. [`Lag::cut`](crate::Lag::cut) counts the records that are cut. By default
    /// nothing is cut.
    pub fn hard_cap(mut self, records: u64) -> Self {
        self.cap = Some(records);
        self
    }

    /// Publishes the time of each token, too. The manager then reads the clock for every token.
    pub fn token_times(mut self) -> Self {
        self.token_times = true;
        self
    }

    /// Connects, checks that the server has the commands that are needed, and starts the publisher's
    /// thread. It blocks the calling thread until the server has answered.
    ///
    /// # Errors
    /// See [`Error`]: no connection, a wrong password, a missing command, another number of
    /// partitions.
    pub fn build(self) -> Result<RedisPublisher, Error> {
        let keys = Keys::new(&self.namespace, "");
        let mut broker = RedisBroker::new(&self.connect, keys, "")?.with_cap(self.cap);
        broker.check()?;
        let partitions = match (self.partitions, broker.partitions(self.partitions)?) {
            (_, Some(there)) => there,
            (asked, None) => broker.partitions(asked.or(Some(PARTITIONS)))?.unwrap_or(PARTITIONS),
        };
        Ok(self.over(partitions, broker))
    }

    /// Makes a publisher to another broker, with `partitions` partitions (minimum 1). The address,
    /// the namespace and [`hard_cap`](Self::hard_cap) have no effect then. It checks nothing.
    #[must_use]
    pub fn over(self, partitions: u32, broker: impl Broker + 'static) -> RedisPublisher {
        let recorder = match self.source {
            Some(source) => Recorder::new(source),
            None => Recorder::with_random_source(),
        };
        let buffer = Buffer::new(partitions, self.records, self.bytes);
        let shared = Arc::new(Shared::new(buffer, recorder.source().clone()));
        let batch = self.pace.batch;
        let (of_thread, pace) = (shared.clone(), self.pace);
        let name = "rappel-redis-publisher".to_owned();
        let thread = thread::Builder::new().name(name);
        let started = thread.spawn(move || publish(&of_thread, Box::new(broker), &pace));
        if started.is_err() {
            // No thread: the buffer fills, and what is refused is counted.
            shared.state().connected = false;
        }
        RedisPublisher {
            _stop: StopOnDrop(shared.clone()),
            shared,
            recorder,
            partitions: partitions.max(1),
            wait_for_room: self.wait_for_room,
            token_times: self.token_times,
            batch,
        }
    }
}

impl CallbackHandler for RedisPublisher {
    fn name(&self) -> &str {
        "RedisPublisher"
    }

    fn interest(&self) -> Interest {
        let all = Interest::all();
        if self.token_times { all.with_token_times() } else { all }
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let Some(record) = self.recorder.record(event, cx) else { return Ok(()) };
        let root = record.root();
        let json = serde_json::to_vec(&record)?;
        let tseq = record.tseq();
        let source = match cx.recorded() {
            Some(recorded) => recorded.source.clone(),
            None => self.recorder.source().clone(),
        };
        let entry = Entry { root, source, tseq, body: Body::Record(json.into()) };
        let effect = match event.kind() {
            kind if kind.is_start() => Effect::Starts,
            kind if kind.is_end() => Effect::Ends,
            _ => Effect::Neither,
        };
        let mut state = self.shared.state();
        if state.connected && state.buffer.is_full_for(&entry) {
            let enough =
                |state: &sender::State| !state.connected || !state.buffer.is_full_for(&entry);
            state = self.shared.wait(state, self.wait_for_room, enough);
        }
        let was_empty = state.buffer.is_empty();
        let before = state.buffer.records();
        state.buffer.offer(partition_of(root, self.partitions), entry, effect);
        let (batch, now) = (self.batch, state.buffer.records());
        drop(state);
        // The thread sleeps if there was nothing, and lingers until there is a batch.
        if was_empty || (before < batch && now >= batch) {
            self.shared.wake();
        }
        Ok(())
    }
}

impl fmt::Debug for RedisPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPublisher")
            .field("source", self.recorder.source())
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// A handle to a [`RedisPublisher`]. It stays usable when the publisher is registered. Clones are
/// handles to the same publisher.
#[derive(Clone)]
pub struct PublisherHandle {
    shared: Arc<Shared>,
}

/// How many records a publisher has accepted, published and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublisherCounts {
    /// Records that were accepted into the buffer. If a trace is refused as a whole, its records move
    /// from this count to `refused_records`.
    pub accepted: u64,
    /// Records that Redis has acknowledged.
    pub published: u64,
    /// Records in the buffer: they wait, or are being sent.
    pub buffered: u64,
    /// Records that were refused because the buffer was full.
    pub refused_records: u64,
    /// Traces that were refused as a whole.
    pub refused_traces: u64,
    /// Traces of which a part was published and the rest was refused. Workers close them as incomplete.
    pub cut_traces: u64,
    /// Calls to Redis that failed. The publisher tries each again.
    pub errors: u64,
}

impl PublisherHandle {
    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> PublisherCounts {
        let state = self.shared.state();
        let counts = state.buffer.counts;
        PublisherCounts {
            accepted: counts.accepted,
            published: counts.published,
            buffered: state.buffer.records() as u64,
            refused_records: counts.refused_records,
            refused_traces: counts.refused_traces,
            cut_traces: counts.cut_traces,
            errors: state.errors,
        }
    }

    /// Returns the publisher's name, which is the `source` of its records.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.shared.source
    }

    /// Returns the error of the last call to Redis that failed, even if later calls succeeded. `None` if
    /// no call has failed.
    #[must_use]
    pub fn last_error(&self) -> Option<Error> {
        self.shared.state().last_error.clone()
    }

    /// Blocks this thread until all buffered records are published, for at most `deadline`. Returns the
    /// number of records that are still in the buffer.
    ///
    /// Events that the manager has queued are not in the buffer yet. [Flush](CallbackManager::flush) the
    /// manager first.
    #[must_use]
    pub fn flush(&self, deadline: Duration) -> usize {
        self.shared.flush(deadline)
    }

    /// The text of a shutdown's report about records that were not sent.
    fn unsent(&self, left: usize) -> String {
        let why = self.last_error().map_or_else(String::new, |error| format!(": {error}"));
        format!("{left} records were not published{why}")
    }
}

impl fmt::Debug for PublisherHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherHandle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
