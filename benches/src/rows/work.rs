//! A stream of events, whoever delivers it: rappel, or what it is compared with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::host::Host;
use crate::measure::Row;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that delivers so many events.
#[derive(Clone)]
pub(super) struct Work {
    name: String,
    ours: bool,
    deliver: Arc<dyn Fn(u64) -> Stream + Send + Sync>,
}

impl Work {
    pub(super) fn new<F, Fut>(name: impl Into<String>, deliver: F) -> Self
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self {
            name: name.into(),
            ours: true,
            deliver: Arc::new(move |events| Box::pin(deliver(events))),
        }
    }

    /// Something other than rappel.
    pub(super) fn of_others<F, Fut>(name: impl Into<String>, deliver: F) -> Self
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let ours = false;
        Self {
            ours,
            ..Self::new(name, deliver)
        }
    }

    /// A row that delivers so many events a call in a task of its own, where programs emit. Its name begins with the runtime's.
    pub(super) fn on(self, host: &Host, events: u64) -> Row {
        let host = host.clone();
        let name = format!("{}: {}", host.name(), self.name);
        let mut row = Row::new(name, events, move |meter| {
            let stream = (self.deliver)(events);
            meter.around(|| host.run(stream));
        });
        row.ours = self.ours;
        row
    }

    /// A row that delivers so many events a call on the caller's thread, with no task around them.
    pub(super) fn in_place(self, host: &Host, events: u64) -> Row {
        let host = host.clone();
        let mut row = Row::new(self.name, events, move |meter| {
            let stream = (self.deliver)(events);
            meter.around(|| host.block_on(stream));
        });
        row.ours = self.ours;
        row
    }
}
