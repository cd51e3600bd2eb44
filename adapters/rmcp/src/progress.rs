//! Progress notifications, from the connection to the calls that they are for.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rmcp::model::{ProgressNotificationParam, ProgressToken};

/// How many notifications of a call wait at most.
const CAPACITY: usize = 64;

/// The progress notifications of a connection's open calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    open: HashMap<u64, Waiting>,
    /// rmcp makes the tokens. A call has one for each request.
    tokens: HashMap<ProgressToken, u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    tokens: Vec<ProgressToken>,
    updates: VecDeque<Update>,
    waker: Option<Waker>,
}

/// A progress notification, and the number of those that it replaced.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) params: ProgressNotificationParam,
    pub(crate) skipped: u64,
}

impl Progress {
    /// Opens a call. Its notifications are kept until the value is dropped.
    pub(crate) fn open(&self) -> OpenCall {
        let mut calls = self.lock();
        let call = calls.next;
        calls.next += 1;
        calls.open.insert(call, Waiting::default());
        OpenCall { call, progress: self.clone() }
    }

    /// A request of an open call is being sent with this token.
    pub(crate) fn sent(&self, call: u64, token: ProgressToken) {
        let mut calls = self.lock();
        if let Some(waiting) = calls.open.get_mut(&call) {
            waiting.tokens.push(token.clone());
            calls.tokens.insert(token, call);
        }
    }

    /// A notification has come. If too many wait, it replaces the newest of them.
    pub(crate) fn came(&self, params: ProgressNotificationParam) {
        let mut guard = self.lock();
        let calls = &mut *guard;
        let call = calls.tokens.get(&params.progress_token);
        let Some(waiting) = call.and_then(|call| calls.open.get_mut(call)) else { return };
        let mut update = Update { params, skipped: 0 };
        if waiting.updates.len() == CAPACITY
            && let Some(newest) = waiting.updates.pop_back()
        {
            update.skipped = newest.skipped + 1;
        }
        waiting.updates.push_back(update);
        let waker = waiting.waker.take();
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose notifications are kept.
#[derive(Debug)]
pub(crate) struct OpenCall {
    call: u64,
    progress: Progress,
}

impl OpenCall {
    pub(crate) fn id(&self) -> u64 {
        self.call
    }

    /// Returns the next notification.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Update> {
        // Wakers are strangers' code: they are cloned and dropped without the lock.
        let waker = cx.waker().clone();
        let mut calls = self.progress.lock();
        let Some(waiting) = calls.open.get_mut(&self.call) else { return Poll::Pending };
        if let Some(update) = waiting.updates.pop_front() {
            drop(calls);
            return Poll::Ready(update);
        }
        let old = waiting.waker.replace(waker);
        drop(calls);
        drop(old);
        Poll::Pending
    }

    /// Takes all notifications that have come.
    pub(crate) fn take_all(&self) -> VecDeque<Update> {
        let mut calls = self.progress.lock();
        calls.open.get_mut(&self.call).map(|call| mem::take(&mut call.updates)).unwrap_or_default()
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.progress.lock();
        let removed = calls.open.remove(&self.call);
        for token in removed.iter().flat_map(|call| &call.tokens) {
            calls.tokens.remove(token);
        }
        drop(calls);
        drop(removed);
    }
}
