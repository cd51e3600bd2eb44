//! Threads that share a queue of work: as many as there is work for, up to a bound; one that finds none stays for a while.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::thread::{self, ThreadId};

use crate::contain::contained;
use crate::sync::{Bell, Lock};

/// For how long a thread waits for more work before it ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What a thread does once.
pub(super) trait Work: Send + 'static {
    fn work(self);
}

pub(super) struct Crew<W> {
    name: &'static str,
    most: usize,
    floor: Lock<Floor<W>>,
    /// For those that wait for work.
    work: Bell,
    /// For those that wait until nobody works.
    left: Bell,
}

struct Floor<W> {
    queue: VecDeque<W>,
    /// Threads that have begun, and those that are about to.
    threads: usize,
    /// Of those, the ones that wait for work.
    idle: usize,
    /// Of those, who they are that have begun.
    members: Vec<ThreadId>,
    closed: bool,
}

impl<W: Work> Crew<W> {
    pub(super) fn new(name: &'static str, most: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            most,
            floor: Lock::new(Floor {
                queue: VecDeque::new(),
                threads: 0,
                idle: 0,
                members: Vec::new(),
                closed: false,
            }),
            work: Bell::new(),
            left: Bell::new(),
        })
    }

    /// Has somebody do it; gives it back where nobody can.
    pub(super) fn submit(self: &Arc<Self>, work: W) -> Result<(), W> {
        let (refused, hire) = self.floor.with(|floor| {
            if floor.closed {
                return (Some(work), false);
            }
            floor.queue.push_back(work);
            // Whoever is idle has been rung for already, or takes one each: only what is beyond that wants another thread.
            let hire = floor.queue.len() > floor.idle && floor.threads < self.most;
            floor.threads += usize::from(hire);
            (None, hire)
        });
        if let Some(work) = refused {
            return Err(work);
        }
        if hire {
            return self.hire();
        }
        self.work.ring();
        Ok(())
    }

    fn hire(self: &Arc<Self>) -> Result<(), W> {
        let crew = self.clone();
        let hired = thread::Builder::new().name(self.name.into()).spawn(move || crew.serve());
        if hired.is_ok() {
            return Ok(());
        }
        // The system has no more threads. Those that are there do it in their time; where there are none, nobody would.
        let last = self.floor.with(|floor| {
            floor.threads -= 1;
            if floor.threads == 0 { floor.queue.pop_back() } else { None }
        });
        last.map_or(Ok(()), Err)
    }

    fn serve(&self) {
        let me = thread::current().id();
        self.floor.with(|floor| floor.members.push(me));
        while let Some(work) = self.next() {
            // A panic has been told of by the panic hook; the thread has others to serve.
            let _ = contained(|| work.work());
        }
        self.floor.with(|floor| {
            floor.threads -= 1;
            floor.members.retain(|member| *member != me);
        });
        self.left.ring();
    }

    fn next(&self) -> Option<W> {
        self.floor.with(|floor| floor.idle += 1);
        let next = self.floor.wait(&self.work, PATIENCE, |floor, last| {
            let work = floor.queue.pop_front();
            let leave = last || floor.closed;
            if work.is_none() && !leave {
                return None;
            }
            floor.idle -= 1;
            Some(work)
        });
        next.flatten()
    }

    /// Takes no more work, and gives what nobody has begun. Threads end when they are through with what they do.
    pub(super) fn close(&self) -> VecDeque<W> {
        let (queue, threads) = self.floor.with(|floor| {
            floor.closed = true;
            (core::mem::take(&mut floor.queue), floor.threads)
        });
        (0..threads).for_each(|_| self.work.ring());
        queue
    }

    /// Blocks until no thread is left but the caller's own.
    pub(super) fn wait_until_left(&self) {
        let me = thread::current().id();
        let nobody = |floor: &mut Floor<W>, _: bool| {
            let own = usize::from(floor.members.contains(&me));
            (floor.threads == own).then_some(())
        };
        while self.floor.wait(&self.left, PATIENCE, nobody).is_none() {}
    }
}
