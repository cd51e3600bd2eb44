//! Handlers that a test holds in the middle of a call, so that it needs no sleep to know where they are.

use std::sync::mpsc;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::StreamExt;
use futures_util::lock::Mutex;
use rappel_core::{AsyncCallbackHandler, CallbackHandler, Event, HandlerFuture, HandlerResult, RunInfo};

use crate::record::line;

/// A sync handler that blocks in every call until it is let go, and its grip.
#[must_use]
pub fn held() -> (Held, Grip) {
    let (enters, entered) = unbounded();
    let (permits, waits) = mpsc::channel();
    let grip = Grip {
        entered,
        permits: Permits::Sync(permits),
    };
    (Held { enters, waits }, grip)
}

/// An async handler that waits in every call until it is let go, and its grip.
#[must_use]
pub fn held_async() -> (HeldAsync, Grip) {
    let (enters, entered) = unbounded();
    let (permits, waits) = unbounded();
    let grip = Grip {
        entered,
        permits: Permits::Async(permits),
    };
    let handler = HeldAsync {
        enters,
        waits: Mutex::new(waits),
    };
    (handler, grip)
}

/// A sync handler that blocks in every call until it is let go.
#[derive(Debug)]
pub struct Held {
    enters: UnboundedSender<String>,
    waits: mpsc::Receiver<()>,
}

impl CallbackHandler for Held {
    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        let _ = self.enters.unbounded_send(format!("{} {}", run.name(), line(event)));
        // Without a grip it is let go for good.
        let _ = self.waits.recv();
        Ok(())
    }
}

/// An async handler that waits in every call until it is let go.
#[derive(Debug)]
pub struct HeldAsync {
    enters: UnboundedSender<String>,
    waits: Mutex<UnboundedReceiver<()>>,
}

impl AsyncCallbackHandler for HeldAsync {
    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            let _ = self.enters.unbounded_send(format!("{} {}", run.name(), line(event)));
            let _ = self.waits.lock().await.next().await;
            Ok(())
        })
    }
}

/// Holds a handler. Dropped, it lets it go for good.
#[derive(Debug)]
pub struct Grip {
    entered: UnboundedReceiver<String>,
    permits: Permits,
}

#[derive(Debug)]
enum Permits {
    Sync(mpsc::Sender<()>),
    Async(UnboundedSender<()>),
}

impl Grip {
    /// Waits until the handler is in its next call, and tells for what: run and event.
    pub async fn entered(&mut self) -> String {
        self.entered.next().await.unwrap_or_default()
    }

    /// Lets the handler end one call.
    pub fn let_go(&self) {
        match &self.permits {
            Permits::Sync(permits) => drop(permits.send(())),
            Permits::Async(permits) => drop(permits.unbounded_send(())),
        }
    }

    /// Lets the handler go for good, and tells of the calls that it has been in since it was last asked, once the handler is gone.
    pub fn open(self) -> impl Future<Output = Vec<String>> {
        drop(self.permits);
        self.entered.collect()
    }
}
