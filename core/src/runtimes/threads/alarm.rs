//! Sleeping: one thread wakes all sleepers, and ends when it has had none for a while.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use super::crew::PATIENCE;
use crate::contain::contained;
use crate::sync::{Bell, Lock};

pub(super) struct Alarm {
    sleepers: Lock<Sleepers>,
    /// Rung when there is an earlier sleeper than all others.
    bell: Bell,
}

#[derive(Default)]
struct Sleepers {
    due: BTreeMap<(Instant, usize), Waker>,
    numbers: usize,
    watched: bool,
}

impl Alarm {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sleepers: Lock::new(Sleepers::default()),
            bell: Bell::new(),
        })
    }

    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        Sleep {
            alarm: self.clone(),
            // What no clock will ever tell is never due.
            until: Instant::now().checked_add(duration),
            number: None,
        }
    }

    /// Has a thread watch over the sleepers, if none does. False where the system has no thread for that.
    fn is_watched(self: &Arc<Self>) -> bool {
        let watched = self.sleepers.with(|sleepers| core::mem::replace(&mut sleepers.watched, true));
        if watched {
            return true;
        }
        let alarm = self.clone();
        let hired = thread::Builder::new()
            .name("rappel-timer".into())
            .spawn(move || alarm.watch())
            .is_ok();
        if !hired {
            self.sleepers.with(|sleepers| sleepers.watched = false);
        }
        hired
    }

    /// Wakes sleepers until there are none.
    fn watch(&self) {
        loop {
            let next = self.sleepers.with(|sleepers| sleepers.next());
            let patience = next.map_or(PATIENCE, |next| next.saturating_duration_since(Instant::now()));
            let wakers = self.sleepers.wait(&self.bell, patience, |sleepers, last| {
                let due = sleepers.take_due();
                sleepers.watched = !(last && due.is_empty() && sleepers.due.is_empty());
                // An earlier one than the one that is waited for wants another wait.
                (!due.is_empty() || !sleepers.watched || sleepers.next() != next).then_some((due, sleepers.watched))
            });
            let Some((wakers, watched)) = wakers else { continue };
            for waker in wakers {
                // A waker that panics is its runtime's affair.
                let _ = contained(|| waker.wake());
            }
            if !watched {
                return;
            }
        }
    }
}

impl Sleepers {
    fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((due, _), _)| *due)
    }

    fn take_due(&mut self) -> Vec<Waker> {
        let later = self.due.split_off(&(Instant::now(), usize::MAX));
        core::mem::replace(&mut self.due, later).into_values().collect()
    }
}

/// Ready once its time has come; dropped before that, it is forgotten.
pub(super) struct Sleep {
    alarm: Arc<Alarm>,
    until: Option<Instant>,
    number: Option<usize>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        // Cloned and dropped out here: a waker is foreign code.
        let waker = cx.waker().clone();
        let known = self.number;
        let (number, first, _replaced) = self.alarm.sleepers.with(|sleepers| {
            let number = known.unwrap_or(sleepers.numbers);
            sleepers.numbers = sleepers.numbers.wrapping_add(usize::from(known.is_none()));
            let replaced = sleepers.due.insert((until, number), waker);
            (number, sleepers.next() == Some(until), replaced)
        });
        self.number = Some(number);
        if !self.alarm.is_watched() {
            // It looks by itself until there is a thread.
            cx.waker().wake_by_ref();
        } else if first {
            self.alarm.bell.ring();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(until), Some(number)) = (self.until, self.number) {
            let _waker = self.alarm.sleepers.with(|sleepers| sleepers.due.remove(&(until, number)));
        }
    }
}
