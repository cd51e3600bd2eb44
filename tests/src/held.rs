//! Handlers that a test holds in the middle of a call, so that it knows where they are without a
//! sleep.

use std::sync::mpsc;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::StreamExt;
use futures_util::lock::Mutex;
use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, HandlerFuture, HandlerResult,
};

use crate::record::line;

/// A sync handler that blocks in every call until its grip releases it, and that grip.
#[must_use]
pub fn held() -> (Held, Grip) {
    let (enters, entered) = unbounded();
    let (permits, waits) = mpsc::channel();
    let grip = Grip { entered, permits: Permits::Sync(permits) };
    (Held { enters, waits }, grip)
}

/// An async handler that waits in every call until its grip releases it, and that grip.
#[must_use]
pub fn held_async() -> (HeldAsync, Grip) {
    let (enters, entered) = unbounded();
    let (permits, waits) = unbounded();
    let grip = Grip { entered, permits: Permits::Async(permits) };
    let handler = HeldAsync { enters, waits: Mutex::new(waits) };
    (handler, grip)
}

/// A sync handler that blocks in every call until its [`Grip`] releases it.
#[derive(Debug)]
pub struct Held {
    enters: UnboundedSender<String>,
    waits: mpsc::Receiver<()>,
}

impl CallbackHandler for Held {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let _ = self.enters.unbounded_send(format!("{} {}", cx.name(), line(event)));
        // Once the grip is dropped, this returns at once.
        let _ = self.waits.recv();
        Ok(())
    }
}

/// An async handler that waits in every call until its [`Grip`] releases it.
#[derive(Debug)]
pub struct HeldAsync {
    enters: UnboundedSender<String>,
    waits: Mutex<UnboundedReceiver<()>>,
}

impl AsyncCallbackHandler for HeldAsync {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            let _ = self.enters.unbounded_send(format!("{} {}", cx.name(), line(event)));
            let _ = self.waits.lock().await.next().await;
            Ok(())
        })
    }
}

/// Holds a handler in its calls. Its drop releases the handler for good.
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
    /// Waits until the handler is in its next call. Returns the names of the run and the event.
    pub async fn entered(&mut self) -> String {
        self.entered.next().await.unwrap_or_default()
    }

    /// Releases the handler from one call.
    pub fn let_go(&self) {
        match &self.permits {
            Permits::Sync(permits) => drop(permits.send(())),
            Permits::Async(permits) => drop(permits.unbounded_send(())),
        }
    }

    /// Releases the handler for good. The future waits until the handler is dropped, and returns
    /// the calls that [`entered`](Self::entered) has not returned.
    pub fn open(self) -> impl Future<Output = Vec<String>> {
        drop(self.permits);
        self.entered.collect()
    }
}
