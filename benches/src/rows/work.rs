//! A stream of events, delivered by rappel or by what it is compared with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::host::Host;
use crate::measure::Row;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Delivers a number of events.
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

    /// Work that rappel is compared with.
    pub(super) fn of_others<F, Fut>(name: impl Into<String>, deliver: F) -> Self
    where
        F: Fn(u64) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let ours = false;
        Self { ours, ..Self::new(name, deliver) }
    }

    /// A row that delivers this many events per call in its own task, as programs do. Its name
    /// begins with the runtime's.
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

    /// A row that delivers this many events per call on the caller's thread, without a task.
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
