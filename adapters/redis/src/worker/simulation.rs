//! Publishers, workers and a broker in virtual time, with lost and late answers, pauses, kills and
//! clocks that jump. What is done is drawn from a seed.
//!
//! `SEEDS=20000 cargo test --release simulation` runs more of them, `SEED=17` only one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use rappel_core::{RemoteDelivery, RunId};

use super::control::{renew, take};
use super::counts::Counts;
use super::lease::{Clock, Lease};
use super::settings::Settings;
use super::shard::{Calls, Outcome, Shard, StepError};
use super::trace::{Item, Why, kind_of};
use crate::broker::{Begun, Broker, Commit, MemoryBroker, MemoryStore, Taken};
use crate::entry::{Body, Entry, Fields};
use crate::error::Error;
use crate::id::StreamId;
use crate::partition::partition_of;

const PARTITIONS: u32 = 2;
const LEASE: u64 = 1000;
const HEARTBEAT: u64 = 2000;
const ORPHAN: u64 = 6000;
const AGE: u64 = 400_000;
/// The server's time when a simulation begins.
const EPOCH: u64 = 1_700_000_000_000;

/// What all parts share. Times are in milliseconds.
struct World {
    now: Arc<AtomicU64>,
    /// How far the server's clock has jumped.
    jumped: Arc<AtomicU64>,
    state: Mutex<State>,
    workers: Mutex<Vec<Option<Box<Worker>>>>,
}

struct State {
    rng: Rng,
    calm: bool,
    depth: usize,
    /// Calls that reach the broker later than their caller waits.
    late: Vec<Box<dyn FnOnce() + Send>>,
    landed: BTreeMap<RunId, BTreeSet<u64>>,
    /// When the records of a trace reached the broker, by its time.
    times: BTreeMap<RunId, Vec<u64>>,
    /// The last epoch of a partition, and its owner.
    taken: BTreeMap<u32, (u64, String)>,
    whole: BTreeSet<RunId>,
    orphans: BTreeSet<RunId>,
    /// Traces of which a handler was given something.
    handled: BTreeSet<RunId>,
    /// Traces that are done at the broker. If their records come once more, it does not know them.
    acknowledged: BTreeSet<RunId>,
    calls: usize,
    wrong: Vec<String>,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn one_in(&self, n: u32) -> bool {
        let mut state = self.state();
        !state.calm && state.rng.u32(0..n) == 0
    }

    fn below(&self, n: u64) -> u64 {
        self.state().rng.u64(0..n.max(1))
    }

    fn pass(&self, time: u64) {
        self.now.fetch_add(time, Ordering::Relaxed);
    }

    fn server_now(&self) -> u64 {
        EPOCH + self.now.load(Ordering::Relaxed) + self.jumped.load(Ordering::Relaxed)
    }

    /// Others go on, in the middle of what someone does.
    fn others(self: &Arc<Self>) {
        if self.state().depth >= 3 {
            return;
        }
        self.state().depth += 1;
        for _ in 0..self.below(12) {
            let time = self.below(LEASE / 4);
            self.pass(time);
            step_worker(self);
        }
        self.state().depth -= 1;
    }

    fn run_late(&self) {
        let late = std::mem::take(&mut self.state().late);
        let (now, later): (Vec<_>, Vec<_>) = late.into_iter().partition(|_| self.below(3) == 0);
        self.state().late.extend(later);
        now.into_iter().for_each(|call| call());
    }
}

struct SimClock(Arc<AtomicU64>, u64);

impl Clock for SimClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed) + self.1)
    }
}

/// A connection that loses calls and answers.
#[derive(Clone)]
struct Faulty {
    world: Arc<World>,
    inner: MemoryBroker,
}

impl Faulty {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut MemoryBroker) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let lost = || {
            let source = Arc::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            Err(Error::Unreachable { address: "sim".into(), source })
        };
        let world = self.world.clone();
        let latency = world.below(10);
        world.pass(latency);
        if world.one_in(20) {
            world.others();
        }
        if world.one_in(25) {
            return lost();
        }
        if world.one_in(40) {
            let mut inner = self.inner.clone();
            world.state().late.push(Box::new(move || drop(call(&mut inner))));
            return lost();
        }
        let answer = call(&mut self.inner);
        if world.one_in(20) {
            // The answer takes its time.
            world.others();
        }
        if world.one_in(25) { lost() } else { answer }
    }
}

impl Broker for Faulty {
    fn append(&mut self, partition: u32, batch: &[Entry]) -> Result<(), Error> {
        let (batch, world) = (batch.to_vec(), self.world.clone());
        self.call(move |inner| {
            let now = world.server_now();
            let mut state = world.state();
            for entry in &batch {
                state.landed.entry(entry.root).or_default().insert(entry.tseq);
                state.times.entry(entry.root).or_default().push(now);
            }
            drop(state);
            inner.append(partition, &batch)
        })
    }

    fn read(
        &mut self,
        partition: u32,
        after: StreamId,
        most: usize,
        _: Duration,
    ) -> Result<Vec<(StreamId, Fields)>, Error> {
        self.call(move |inner| inner.read(partition, after, most, Duration::ZERO))
    }

    fn take(&mut self, partition: u32, owner: &str, ttl: Duration) -> Result<Option<Taken>, Error> {
        let (owner, world) = (owner.to_owned(), self.world.clone());
        self.call(move |inner| {
            let taken = inner.take(partition, &owner, ttl)?;
            if let Some(taken) = &taken {
                world.state().taken.insert(partition, (taken.epoch, owner));
            }
            Ok(taken)
        })
    }

    fn renew(&mut self, partition: u32, epoch: u64, ttl: Duration) -> Result<Option<()>, Error> {
        self.call(move |inner| inner.renew(partition, epoch, ttl))
    }

    fn begin(
        &mut self,
        partition: u32,
        epoch: u64,
        roots: &[RunId],
    ) -> Result<Option<Vec<Begun>>, Error> {
        let roots = roots.to_vec();
        self.call(move |inner| inner.begin(partition, epoch, &roots))
    }

    fn commit(&mut self, partition: u32, epoch: u64, commit: &Commit) -> Result<Option<()>, Error> {
        let (commit, world) = (commit.clone(), self.world.clone());
        self.call(move |inner| {
            let written = inner.commit(partition, epoch, &commit)?;
            if written.is_some() {
                let done = commit.done.iter().map(|(root, _)| root).chain(&commit.forget);
                world.state().acknowledged.extend(done);
            }
            Ok(written)
        })
    }

    fn bury(
        &mut self,
        partition: u32,
        epoch: u64,
        entries: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<Option<()>, Error> {
        let (entries, reason) = (entries.to_vec(), reason.to_owned());
        self.call(move |inner| inner.bury(partition, epoch, &entries, &reason))
    }

    fn release(&mut self, partition: u32, epoch: u64, open: &[RunId]) -> Result<Option<()>, Error> {
        let open = open.to_vec();
        self.call(move |inner| inner.release(partition, epoch, &open))
    }

    fn worker_lives(&mut self, worker: &str, ttl: Duration) -> Result<usize, Error> {
        let worker = worker.to_owned();
        self.call(move |inner| inner.worker_lives(&worker, ttl))
    }

    fn worker_ends(&mut self, worker: &str) -> Result<(), Error> {
        let worker = worker.to_owned();
        self.call(move |inner| inner.worker_ends(&worker))
    }

    fn publisher_lives(&mut self, source: &str, ttl: Duration) -> Result<(), Error> {
        let source = source.to_owned();
        self.call(move |inner| inner.publisher_lives(&source, ttl))
    }

    fn is_publisher_alive(&mut self, source: &str) -> Result<bool, Error> {
        let source = source.to_owned();
        self.call(move |inner| inner.is_publisher_alive(&source))
    }

    fn now(&mut self) -> Result<u64, Error> {
        self.call(|inner| inner.now())
    }
}

/// Handlers: one that is awaited, and one in the background, which is done at the next flush.
struct SimCalls {
    world: Arc<World>,
    owner: String,
    partition: u32,
    lease: Arc<Lease>,
    clock: Arc<SimClock>,
    in_flight: Vec<(RunId, Vec<Item>)>,
    /// What a replayer has seen of a trace: the next number, and whether its root has ended.
    seen: BTreeMap<RunId, (u64, bool)>,
    unflushed: Vec<RunId>,
}

impl SimCalls {
    /// The handler in the background handles what it has, in its own time.
    fn go_on_in_the_background(&mut self) {
        if !self.world.one_in(2) {
            let whole = std::mem::take(&mut self.unflushed);
            self.world.state().whole.extend(whole);
        }
    }

    fn handle(&mut self, root: RunId, item: &Item) {
        let mut state = self.world.state();
        state.calls += 1;
        let jumped = self.world.jumped.load(Ordering::Relaxed) > 0;
        // The worker's own call may have taken the partition once more, when it came late.
        let another = |(_, owner): &(u64, String)| *owner != self.owner;
        if !jumped && state.taken.get(&self.partition).is_some_and(another) {
            let epoch = self.lease.epoch;
            state
                .wrong
                .push(format!("a call of epoch {epoch} after another worker has taken over"));
        }
        match item {
            Item::Record(record) => {
                state.handled.insert(root);
                let (next, ended) = self.seen.entry(root).or_default();
                if record.tseq != *next || *ended {
                    state.wrong.push(format!("{root}: record {} instead of {next}", record.tseq));
                }
                *next = record.tseq + 1;
                *ended = record.run == root && kind_of(record).is_some_and(|kind| kind.is_end());
                if *ended {
                    self.unflushed.push(root);
                }
            }
            Item::Close(Why::Orphan) => {
                // A record may have come between the decision and this call.
                let times = state.times.get(&root).cloned().unwrap_or_default();
                let ends = times.iter().skip(1).copied().chain([self.world.server_now()]);
                let gaps = times.iter().zip(ends).map(|(begin, end)| end.saturating_sub(*begin));
                let longest = gaps.max().unwrap_or_default();
                if longest < ORPHAN {
                    state.wrong.push(format!("{root}: an orphan without a pause: {longest} ms"));
                }
                state.orphans.insert(root);
            }
            Item::Close(_) => {}
        }
    }
}

impl Calls for SimCalls {
    fn start(&mut self, root: RunId, delivery: RemoteDelivery, items: Vec<Item>) {
        let mut state = self.world.state();
        let again = !self.seen.contains_key(&root) && state.handled.contains(&root);
        if again && !delivery.replayed && !state.acknowledged.contains(&root) {
            state.wrong.push(format!("{root} is replayed, and is called new: {delivery:?}"));
        }
        drop(state);
        self.in_flight.push((root, items));
    }

    fn finished(&mut self) -> Vec<(RunId, Outcome)> {
        self.go_on_in_the_background();
        let mut finished = Vec::new();
        for (root, items) in std::mem::take(&mut self.in_flight) {
            let mut left = items.into_iter();
            let mut rest = Vec::new();
            let mut slow = false;
            while let Some(item) = left.next() {
                if !self.lease.may_call(self.clock.now()) {
                    rest = std::iter::once(item).chain(left).collect();
                    break;
                }
                // A slow handler: the rest comes another time.
                slow = self.world.one_in(15);
                if slow {
                    rest = std::iter::once(item).chain(left).collect();
                    break;
                }
                self.handle(root, &item);
                let time = self.world.below(5);
                self.world.pass(time);
            }
            match slow {
                true => self.in_flight.push((root, rest)),
                false => finished.push((root, Outcome::Handled { rest })),
            }
        }
        finished
    }

    fn is_flushed(&mut self) -> bool {
        self.go_on_in_the_background();
        self.unflushed.is_empty()
    }

    fn has_failed(&mut self, _: RunId) -> bool {
        false
    }

    fn forget(&mut self, root: RunId) {
        self.seen.remove(&root);
    }
}

/// A process with a worker.
struct Worker {
    id: String,
    settings: Arc<Settings>,
    counts: Arc<Counts>,
    clock: Arc<SimClock>,
    broker: Faulty,
    owned: BTreeMap<u32, (Shard, SimCalls)>,
}

impl Worker {
    fn new(world: &Arc<World>, store: &MemoryStore) -> Self {
        let ms = Duration::from_millis;
        let settings = Settings {
            lease: ms(LEASE),
            margin: ms(LEASE / 10),
            max_open: 1 + usize::try_from(world.below(8)).unwrap(),
            max_queued: 20,
            max_concurrent: 1 + usize::try_from(world.below(4)).unwrap(),
            max_attempts: u32::MAX,
            max_trace_age: ms(AGE),
            orphan_after: ms(ORPHAN),
            read: 1 + usize::try_from(world.below(10)).unwrap(),
            commit_every: ms(world.below(50)),
            ..Settings::default()
        };
        Self {
            id: world.below(u64::MAX).to_string(),
            settings: Arc::new(settings),
            counts: Arc::default(),
            clock: Arc::new(SimClock(world.now.clone(), world.below(1 << 40))),
            broker: Faulty { world: world.clone(), inner: store.broker("g") },
            owned: BTreeMap::new(),
        }
    }

    /// What the thread does that looks after the leases.
    fn look(&mut self) {
        for (partition, (shard, _)) in &self.owned {
            let ttl = self.settings.lease;
            drop(renew(&mut self.broker, *partition, &shard.lease, ttl, &*self.clock));
        }
        let partition = u32::try_from(self.broker.world.below(u64::from(PARTITIONS))).unwrap();
        if self.owned.contains_key(&partition) {
            return;
        }
        let taken = take(&mut self.broker, partition, &self.id, &self.settings, &*self.clock);
        if let Ok(Some((taken, lease))) = taken {
            let (clock, counts) = (self.clock.clone(), self.counts.clone());
            let settings = self.settings.clone();
            let shard =
                Shard::new(partition, &taken, lease.clone(), clock.clone(), settings, counts);
            let world = self.broker.world.clone();
            let calls = SimCalls {
                world,
                owner: self.id.clone(),
                partition,
                lease,
                clock,
                in_flight: Vec::new(),
                seen: BTreeMap::new(),
                unflushed: Vec::new(),
            };
            self.owned.insert(partition, (shard, calls));
        }
    }

    fn step(&mut self) {
        let mut lost = Vec::new();
        for (partition, (shard, calls)) in &mut self.owned {
            if let Err(StepError::Lost) = shard.step(&mut self.broker, calls) {
                lost.push(*partition);
            }
        }
        for partition in lost {
            self.owned.remove(&partition);
        }
    }

    /// Gives a partition up, as a graceful stop does.
    fn give_up(&mut self) {
        let Some(partition) = self.owned.keys().next().copied() else { return };
        let Some((mut shard, mut calls)) = self.owned.remove(&partition) else { return };
        shard.lease.stop();
        let finished = calls.finished();
        shard.handed_over(finished, &mut calls);
        drop(shard.end(&mut self.broker, &mut calls));
    }
}

fn step_worker(world: &Arc<World>) {
    let slot = {
        let mut workers = world.workers.lock().unwrap();
        let number = usize::try_from(world.below(workers.len() as u64)).unwrap();
        workers[number].take().map(|worker| (number, worker))
    };
    let Some((number, mut worker)) = slot else { return };
    match world.below(8) {
        0 | 1 => worker.look(),
        2 if world.one_in(10) => worker.give_up(),
        _ => worker.step(),
    }
    world.workers.lock().unwrap()[number] = Some(worker);
}

/// A process with a publisher, whose clock says anything.
struct Publisher {
    buffer: crate::publisher::Buffer,
    broker: Faulty,
    source: Arc<str>,
    script: Vec<(Entry, crate::publisher::Effect)>,
    beat_at: u64,
    alive: bool,
}

fn record(
    source: &str,
    root: RunId,
    run: RunId,
    seq: u64,
    tseq: u64,
    kind: &str,
    time: u64,
) -> Entry {
    let (parent, data) = match kind {
        "on_chain_start" => (root, r#"{"name":"n","inputs":null}"#),
        "on_chain_end" => (root, r#"{"outputs":null}"#),
        _ => (root, r#"{"text":"t"}"#),
    };
    let parent = if run == root { "null".to_owned() } else { format!("\"{parent}\"") };
    let json = format!(
        r#"{{"v":1,"kind":"{kind}","run_kind":"chain","run":"{run}","parent":{parent},"root":"{root}","seq":{seq},"tseq":{tseq},"source":"{source}","time":{time},"name":"n","data":{data}}}"#
    );
    Entry { root, source: source.into(), tseq, body: Body::Record(json.into_bytes().into()) }
}

/// The records of traces, side by side.
fn script(world: &World, source: &str) -> Vec<(Entry, crate::publisher::Effect)> {
    use crate::publisher::Effect::{Ends, Neither, Starts};
    let id = || {
        RunId::v7(
            Duration::ZERO,
            (world.below(u64::MAX) as u128).to_be_bytes()[6..].try_into().unwrap(),
        )
    };
    let mut traces: Vec<VecDeque<_>> = Vec::new();
    for _ in 0..1 + world.below(6) {
        let (root, time) = (id(), world.below(1 << 50));
        let mut events = VecDeque::new();
        let mut seq = 0;
        let mut push = |run, seq, kind, effect| {
            let tseq = events.len() as u64;
            events.push_back((record(source, root, run, seq, tseq, kind, time), effect));
        };
        push(root, 0, "on_chain_start", Starts);
        for _ in 0..world.below(5) {
            seq += 1;
            push(root, seq, "on_text", Neither);
        }
        if world.below(2) == 0 {
            let child = id();
            push(child, 0, "on_chain_start", Starts);
            push(child, 1, "on_chain_end", Ends);
        }
        push(root, seq + 1, "on_chain_end", Ends);
        traces.push(events);
    }
    let mut script = Vec::new();
    while !traces.is_empty() {
        let number = usize::try_from(world.below(traces.len() as u64)).unwrap();
        match traces[number].pop_front() {
            Some(event) => script.push(event),
            None => drop(traces.swap_remove(number)),
        }
    }
    script.reverse();
    script
}

impl Publisher {
    fn step(&mut self, world: &World) {
        if !self.alive {
            return;
        }
        let now = world.now.load(Ordering::Relaxed);
        if now >= self.beat_at {
            let ttl = Duration::from_millis(HEARTBEAT);
            drop(self.broker.publisher_lives(&self.source, ttl));
            self.beat_at = now + HEARTBEAT / 4;
        }
        if world.below(3) > 0 {
            if let Some((entry, effect)) = self.script.pop() {
                self.buffer.offer(partition_of(entry.root, PARTITIONS), entry, effect);
            }
        } else if let Some((partition, batch)) = self.buffer.batch(4)
            && self.broker.append(partition, &batch).is_ok()
        {
            self.buffer.landed(partition);
        }
    }

    fn is_done(&self) -> bool {
        !self.alive || (self.script.is_empty() && self.buffer.is_empty())
    }
}

/// A world in which nothing has happened.
fn new_world(seed: u64) -> (Arc<World>, MemoryStore) {
    let (now, jumped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let server = (now.clone(), jumped.clone());
    let store = MemoryStore::with_clock(move || {
        EPOCH + server.0.load(Ordering::Relaxed) + server.1.load(Ordering::Relaxed)
    });
    let state = State {
        rng: Rng::with_seed(seed),
        calm: false,
        depth: 0,
        late: Vec::new(),
        landed: BTreeMap::new(),
        times: BTreeMap::new(),
        taken: BTreeMap::new(),
        whole: BTreeSet::new(),
        orphans: BTreeSet::new(),
        handled: BTreeSet::new(),
        acknowledged: BTreeSet::new(),
        calls: 0,
        wrong: Vec::new(),
    };
    let world =
        Arc::new(World { now, jumped, state: Mutex::new(state), workers: Mutex::default() });
    (world, store)
}

fn simulate(seed: u64) -> Result<(), String> {
    let (world, store) = new_world(seed);
    let start = |world: &Arc<World>| Some(Box::new(Worker::new(world, &store)));
    for _ in 0..1 + world.below(3) {
        let worker = start(&world);
        world.workers.lock().unwrap().push(worker);
    }
    let jumps = world.below(3) == 0;
    let mut whole_traces: BTreeMap<RunId, u64> = BTreeMap::new();
    let mut publishers: Vec<Publisher> = (0..1 + world.below(2))
        .map(|number| {
            let source = format!("p{number}");
            let script = script(&world, &source);
            for (entry, _) in &script {
                *whole_traces.entry(entry.root).or_default() += 1;
            }
            Publisher {
                buffer: crate::publisher::Buffer::new(PARTITIONS, 1000, usize::MAX),
                broker: Faulty { world: world.clone(), inner: store.broker("") },
                source: source.into(),
                script,
                beat_at: 0,
                alive: true,
            }
        })
        .collect();
    let steps = 300 + world.below(500);
    for step in 0..20_000u64 {
        if step == steps {
            world.state().calm = true;
        }
        let calm = step >= steps;
        let most = if calm { 60 } else { 40 };
        let time = world.below(most);
        world.pass(time);
        world.run_late();
        if world.one_in(150) {
            // All are paused, or the machine of the broker was.
            let time = world.below(LEASE * 3);
            world.pass(time);
        }
        if jumps && world.one_in(100) {
            world.jumped.fetch_add(world.below(LEASE * 4), Ordering::Relaxed);
        }
        if world.one_in(120) {
            let number = usize::try_from(world.below(world.workers.lock().unwrap().len() as u64));
            let worker = start(&world);
            world.workers.lock().unwrap()[number.unwrap()] = worker;
        }
        let number = usize::try_from(world.below(publishers.len() as u64)).unwrap();
        if world.one_in(600) {
            publishers[number].alive = false;
        }
        if world.below(3) == 0 {
            publishers[number].step(&world);
        } else {
            step_worker(&world);
        }
        if let Some(wrong) = world.state().wrong.first() {
            return Err(wrong.clone());
        }
        let over = calm && publishers.iter().all(Publisher::is_done) && step % 64 == 0;
        if over && world.state().late.is_empty() && missing(&world, &whole_traces).is_none() {
            return Ok(());
        }
    }
    match missing(&world, &whole_traces) {
        Some(what) => Err(what),
        None => Ok(()),
    }
}

/// A trace that should have been handled whole, or closed, and was not.
fn missing(world: &World, traces: &BTreeMap<RunId, u64>) -> Option<String> {
    let state = world.state();
    traces.iter().find_map(|(root, records)| {
        let landed = state.landed.get(root).map_or(0, |landed| landed.len() as u64);
        let handled = state.whole.contains(root);
        let closed = state.orphans.contains(root);
        match landed {
            0 => None,
            _ if landed == *records => {
                (!handled && !closed).then(|| format!("{root} is whole and was not handled"))
            }
            _ => (!closed).then(|| format!("{root} has {landed} of {records}, and is not closed")),
        }
    })
}

#[test]
fn every_trace_that_reached_the_broker_is_handled_whole_and_in_order() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        simulate(seed).unwrap();
        return;
    }
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(2000);
    for seed in 0..seeds {
        if let Err(wrong) = simulate(seed) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

/// The number of orphans after an outage of the broker, with one open trace.
fn orphans_after_an_outage(publisher_comes_back: bool) -> usize {
    let (world, store) = new_world(1);
    world.state().calm = true;
    let mut worker = Worker::new(&world, &store);
    // The partition stays with it over the outage.
    let lease = Duration::from_millis(10 * ORPHAN);
    worker.settings = Arc::new(Settings { lease, ..Settings::clone(&worker.settings) });
    let mut publisher = Faulty { world: world.clone(), inner: store.broker("") };
    let mut go_on = |time: u64, publisher: Option<&mut Faulty>| {
        let mut publisher = publisher;
        for _ in 0..time / 50 {
            if let Some(publisher) = &mut publisher {
                publisher.publisher_lives("p", Duration::from_millis(HEARTBEAT)).unwrap();
            }
            worker.look();
            worker.step();
            world.pass(50);
        }
    };
    let root = RunId::v7(Duration::ZERO, [7; 10]);
    let start = record("p", root, root, 0, 0, "on_chain_start", 0);
    publisher.append(partition_of(root, PARTITIONS), &[start]).unwrap();
    go_on(1000, Some(&mut publisher));
    assert_eq!(world.state().calls, 1);
    // Neither of them reaches the broker. Then the worker does, first.
    world.pass(ORPHAN + HEARTBEAT);
    go_on(ORPHAN / 8, None);
    go_on(ORPHAN, publisher_comes_back.then_some(&mut publisher));
    world.state().orphans.len()
}

#[test]
fn an_outage_of_the_broker_makes_no_orphans_and_the_end_of_a_publisher_does() {
    assert_eq!(orphans_after_an_outage(true), 0);
    assert_eq!(orphans_after_an_outage(false), 1);
}
