//! The records that wait to be published: bounded, and a trace is refused as a whole if it can be. A
//! state machine without time, threads or a connection.

use std::collections::{HashMap, VecDeque};

use rappel_core::RunId;

use crate::entry::{Body, Entry};

#[derive(Debug)]
pub(crate) struct Buffer {
    most_records: usize,
    most_bytes: usize,
    records: usize,
    bytes: usize,
    partitions: Vec<Queue>,
    /// The partition that is looked at first.
    turn: usize,
    traces: HashMap<RunId, Trace>,
    pub(crate) counts: BufferCounts,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// The first so many are being published.
    in_flight: usize,
}

#[derive(Debug, Default)]
struct Trace {
    open_runs: usize,
    /// Records of it are, or may be, in the stream.
    published: bool,
    refused: bool,
}

/// Counts of records, by what was done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BufferCounts {
    pub(crate) accepted: u64,
    pub(crate) published: u64,
    pub(crate) refused_records: u64,
    pub(crate) refused_traces: u64,
    pub(crate) cut_traces: u64,
}

/// What an event does to its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Starts,
    Ends,
    Neither,
}

fn size(entry: &Entry) -> usize {
    match &entry.body {
        // Its text, and what the entry and its queue take.
        Body::Record(json) => json.len() + 128,
        Body::Lost => 0,
    }
}

impl Buffer {
    pub(crate) fn new(partitions: u32, most_records: usize, most_bytes: usize) -> Self {
        Self {
            most_records: most_records.max(1),
            most_bytes: most_bytes.max(1),
            records: 0,
            bytes: 0,
            partitions: (0..partitions.max(1)).map(|_| Queue::default()).collect(),
            turn: 0,
            traces: HashMap::new(),
            counts: BufferCounts::default(),
        }
    }

    /// Whether a record of the trace has to wait for room.
    pub(crate) fn is_full_for(&self, entry: &Entry) -> bool {
        let refused = self.traces.get(&entry.root).is_some_and(|trace| trace.refused);
        !refused && !self.has_room(size(entry))
    }

    fn has_room(&self, bytes: usize) -> bool {
        // One record always has room, however large it is.
        self.records == 0
            || (self.records < self.most_records && self.bytes + bytes <= self.most_bytes)
    }

    /// Takes a record, or refuses it with its trace if there is no room.
    pub(crate) fn offer(&mut self, partition: u32, entry: Entry, effect: Effect) {
        let root = entry.root;
        let has_room = self.has_room(size(&entry));
        let trace = self.traces.entry(root).or_default();
        match effect {
            Effect::Starts => trace.open_runs += 1,
            Effect::Ends => trace.open_runs = trace.open_runs.saturating_sub(1),
            Effect::Neither => {}
        }
        let over = trace.open_runs == 0;
        if trace.refused {
            self.counts.refused_records += 1;
        } else if has_room {
            self.counts.accepted += 1;
            self.push(partition, entry);
        } else {
            trace.refused = true;
            self.counts.refused_records += 1;
            self.refuse(partition, entry);
        }
        if over {
            self.traces.remove(&root);
        }
    }

    fn queue(&mut self, partition: u32) -> Option<&mut Queue> {
        self.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    fn push(&mut self, partition: u32, entry: Entry) {
        self.bytes += size(&entry);
        self.records += usize::from(entry.body != Body::Lost);
        if let Some(queue) = self.queue(partition) {
            queue.entries.push_back(entry);
        }
    }

    /// Takes a trace back, or marks what was published of it.
    fn refuse(&mut self, partition: u32, entry: Entry) {
        let root = entry.root;
        let published = self.traces.get(&root).is_some_and(|trace| trace.published);
        let Some(queue) = self.queue(partition) else { return };
        let is_in_flight = queue.entries.iter().take(queue.in_flight).any(|e| e.root == root);
        if published || is_in_flight {
            self.counts.cut_traces += 1;
            // A mark is small, and there is one for each open trace at most.
            self.push(partition, Entry { body: Body::Lost, ..entry });
            return;
        }
        let before: usize = queue.entries.iter().map(size).sum();
        let length = queue.entries.len();
        queue.entries.retain(|entry| entry.root != root);
        let after: usize = queue.entries.iter().map(size).sum();
        let gone = length - queue.entries.len();
        self.bytes -= before - after;
        self.records -= gone;
        self.counts.accepted -= gone as u64;
        self.counts.refused_records += gone as u64;
        self.counts.refused_traces += 1;
    }

    /// Returns the next batch: entries of one partition, at most `most`. They stay in the buffer until
    /// they have [landed](Self::landed).
    pub(crate) fn batch(&mut self, most: usize) -> Option<(u32, Vec<Entry>)> {
        let count = self.partitions.len();
        for step in 0..count {
            let number = (self.turn + step) % count;
            let queue = &mut self.partitions[number];
            // One batch of a partition at a time. One that was not answered is sent again as it was.
            let length = if queue.in_flight > 0 { queue.in_flight } else { most.max(1) };
            let batch: Vec<Entry> = queue.entries.iter().take(length).cloned().collect();
            if batch.is_empty() {
                continue;
            }
            queue.in_flight = batch.len();
            self.turn = (number + 1) % count;
            for entry in &batch {
                if let Some(trace) = self.traces.get_mut(&entry.root) {
                    trace.published = true;
                }
            }
            return Some((u32::try_from(number).unwrap_or_default(), batch));
        }
        None
    }

    /// The batch of a partition is in the stream.
    pub(crate) fn landed(&mut self, partition: u32) {
        let Some(queue) = self.queue(partition) else { return };
        let count = std::mem::take(&mut queue.in_flight);
        let landed: Vec<Entry> = queue.entries.drain(..count).collect();
        for entry in landed {
            self.bytes -= size(&entry);
            if entry.body != Body::Lost {
                self.records -= 1;
                self.counts.published += 1;
            }
        }
    }

    /// Records that wait, or are being published.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.iter().all(|queue| queue.entries.is_empty())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rappel_core::RunId;

    use super::{Buffer, Effect, Entry};
    use crate::entry::Body;

    fn entry(trace: u8, tseq: u64) -> Entry {
        let root = RunId::from_bytes([trace; 16]);
        Entry { root, source: "p".into(), tseq, body: Body::Record([b'x'; 10][..].into()) }
    }

    fn offer(buffer: &mut Buffer, trace: u8, tseq: u64, effect: Effect) {
        buffer.offer(0, entry(trace, tseq), effect);
    }

    #[test]
    fn a_trace_that_is_not_published_yet_is_refused_whole() {
        let mut buffer = Buffer::new(1, 3, usize::MAX);
        offer(&mut buffer, 1, 0, Effect::Starts);
        offer(&mut buffer, 2, 0, Effect::Starts);
        offer(&mut buffer, 2, 1, Effect::Neither);
        offer(&mut buffer, 2, 2, Effect::Neither);
        assert_eq!(buffer.records(), 1, "what was there of it is taken back");
        assert_eq!((buffer.counts.refused_traces, buffer.counts.refused_records), (1, 3));
        offer(&mut buffer, 2, 3, Effect::Ends);
        assert_eq!(buffer.counts.refused_records, 4, "its end is not accepted either");
        let (_, batch) = buffer.batch(10).unwrap();
        assert_eq!(batch, [entry(1, 0)]);
        assert_eq!(buffer.counts.accepted, 1);
    }

    #[test]
    fn a_trace_that_is_partly_published_gets_a_mark() {
        let mut buffer = Buffer::new(1, 2, usize::MAX);
        offer(&mut buffer, 1, 0, Effect::Starts);
        let sent = buffer.batch(10).unwrap();
        offer(&mut buffer, 1, 1, Effect::Neither);
        offer(&mut buffer, 1, 2, Effect::Neither);
        offer(&mut buffer, 1, 3, Effect::Ends);
        assert_eq!(buffer.batch(10).unwrap(), sent, "what was not answered is sent as it was");
        buffer.landed(0);
        let (_, batch) = buffer.batch(10).unwrap();
        assert_eq!(batch[0], entry(1, 1));
        assert_eq!((batch[1].tseq, &batch[1].body), (2, &Body::Lost));
        buffer.landed(0);
        assert!(buffer.is_empty() && buffer.records() == 0 && buffer.bytes == 0);
        let counts = buffer.counts;
        assert_eq!((counts.accepted, counts.published), (2, 2));
        assert_eq!((counts.cut_traces, counts.refused_records), (1, 2));
    }

    #[test]
    fn partitions_take_turns_and_a_large_record_has_room_alone() {
        let mut buffer = Buffer::new(2, 10, 1);
        buffer.offer(1, entry(1, 0), Effect::Starts);
        assert!(buffer.is_full_for(&entry(1, 1)));
        assert_eq!(buffer.batch(1).unwrap().0, 1);
        buffer.landed(1);
        assert!(buffer.batch(1).is_none());
        assert!(!buffer.is_full_for(&entry(1, 1)));
    }
}
