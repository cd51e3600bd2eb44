//! What a shard reads: records of traces, what cannot be read, and that nothing came for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rappel_core::RunId;

use super::{Shard, StepError};
use crate::broker::{Broker, Ending};
use crate::entry::{self, Fields};
use crate::id::StreamId;
use crate::worker::books::Took;
use crate::worker::counts::add;
use crate::worker::trace::Why;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shard {
    /// Looks for open traces of which no record came for long. All times are the server's.
    pub(super) fn look_for_orphans(&mut self, broker: &mut dyn Broker) -> Result<(), StepError> {
        let now = self.clock.now();
        if now < self.look_at {
            return Ok(());
        }
        let server = broker.now()?;
        let (after, age) =
            (millis(self.settings.orphan_after), millis(self.settings.max_trace_age));
        let (mut old, mut idle) = (Vec::new(), Vec::new());
        for (root, trace) in self.books.open().filter(|(_, trace)| trace.closing.is_none()) {
            if server.saturating_sub(trace.first.ms) >= age {
                old.push(root);
            } else if !trace.busy
                && trace.queue.is_empty()
                && server.saturating_sub(trace.last.ms) >= after
            {
                idle.push((root, trace.last, trace.open_sources()));
            }
        }
        // When a publisher was first found to be gone. After an outage of the server it needs some time
        // to give a sign again.
        let mut gone: BTreeMap<Arc<str>, Option<Duration>> = BTreeMap::new();
        let mut orphans = BTreeMap::new();
        let interval = self.settings.orphan_after / 4;
        for (root, last, sources) in idle {
            let mut all_gone = true;
            for source in sources {
                let since = match gone.get(&source) {
                    Some(since) => *since,
                    None if broker.is_publisher_alive(&source)? => None,
                    None => Some(self.gone.get(&source).copied().unwrap_or(now)),
                };
                gone.insert(source, since);
                all_gone &= since.is_some_and(|since| now.saturating_sub(since) >= interval);
            }
            if all_gone {
                orphans.insert(root, last);
            }
        }
        self.maybe_orphans = orphans;
        let still = gone.into_iter().filter_map(|(source, since)| Some((source, since?)));
        self.gone = still.collect();
        old.into_iter().for_each(|root| self.books.close(root, Why::Old));
        self.oldest = server.saturating_sub(age);
        self.look_at = now + interval;
        Ok(())
    }

    pub(super) fn read(&mut self, broker: &mut dyn Broker, went: bool) -> Result<bool, StepError> {
        if !self.books.wants_more(self.settings.max_queued) {
            return Ok(false);
        }
        let nothing_else = !went
            && self.busy == 0
            && self.flushing.is_empty()
            && self.over.is_empty()
            && !self.books.has_ready()
            && !self.books.has_to_commit();
        let wait = if nothing_else { self.settings.wait } else { Duration::ZERO };
        let after = self.books.cursor;
        let entries = broker.read(self.partition, after, self.settings.read, wait)?;
        let at_end = entries.is_empty();
        for (id, fields) in entries {
            self.take(broker, id, fields)?;
        }
        if at_end && self.books.is_caught_up() {
            // What was read after the look at the publishers is there: no record has come.
            for (root, last) in std::mem::take(&mut self.maybe_orphans) {
                if self.books.trace(root).is_some_and(|trace| trace.last == last) {
                    self.books.close(root, Why::Orphan);
                }
            }
        }
        self.books.rewind(at_end);
        Ok(!at_end)
    }

    fn take(
        &mut self,
        broker: &mut dyn Broker,
        id: StreamId,
        fields: Fields,
    ) -> Result<(), StepError> {
        let is_new = !self.books.was_taken(id);
        let (root, read) = match entry::read(&fields) {
            Ok(read) => {
                if is_new && self.books.is_dead(read.root) {
                    self.bury(broker, &[(id, fields)], "its trace is in the dead letters")?;
                }
                (read.root, Some(read))
            }
            Err(unreadable) => {
                if is_new {
                    self.bury(broker, &[(id, fields)], &unreadable.why)?;
                }
                let Some(root) = unreadable.root else {
                    self.books.skip(id);
                    return Ok(());
                };
                (root, None)
            }
        };
        match self.books.take(id, root, read) {
            Took::Kept | Took::Before | Took::Deferred => {}
            Took::Repeated => add(&self.counts.repeated, 1),
            Took::Late => add(&self.counts.late, 1),
            Took::Headless => add(&self.counts.incomplete, 1),
        }
        Ok(())
    }

    /// Copies all entries of a trace to the dead letters.
    pub(super) fn bury_trace(
        &mut self,
        broker: &mut dyn Broker,
        root: RunId,
    ) -> Result<(), StepError> {
        let Some(trace) = self.books.trace(root) else { return Ok(()) };
        let (mut after, last) = (trace.first.before(), trace.last);
        let reason = "the workers that replayed the trace ended in it";
        while after < last {
            let entries = broker.read(self.partition, after, self.settings.read, Duration::ZERO)?;
            let Some((through, _)) = entries.last() else { break };
            after = *through;
            let of_trace = |(id, fields): &(StreamId, Fields)| {
                *id <= last && entry::root_of(fields) == Some(root)
            };
            let letters: Vec<_> = entries.into_iter().filter(of_trace).collect();
            self.bury(broker, &letters, reason)?;
        }
        self.books.finish(root, Ending::Dead);
        add(&self.counts.dead_traces, 1);
        Ok(())
    }

    fn bury(
        &self,
        broker: &mut dyn Broker,
        letters: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<(), StepError> {
        if letters.is_empty() {
            return Ok(());
        }
        let buried = broker.bury(self.partition, self.lease.epoch, letters, reason)?;
        buried.ok_or_else(|| self.lost())?;
        add(&self.counts.dead_records, letters.len() as u64);
        Ok(())
    }
}
