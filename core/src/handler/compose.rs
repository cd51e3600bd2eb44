//! Pointers, options and lists of handlers as one handler.
//!
//! The members of a list are called as if they were registered one by one: according to their own
//! interest, and a chat model's start that a member does not handle goes to its own `on_llm_start`.
//! An error or a panic of one member does not keep the others from the event. The result of a list
//! is the first failure, and only that one is reported. It is unhandled if no member handled the
//! event.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use futures_util::future::join_all;

use super::{AsyncCallbackHandler, CallbackHandler, HandlerFuture};
use crate::model::context::EventContext;
use crate::model::error::{FailureCause, HandlerError, HandlerResult};
use crate::model::event::{Event, EventKind, Interest};
use crate::util::{CatchUnwind, catch_unwind, drop_quietly};

impl<H: CallbackHandler + ?Sized> CallbackHandler for Box<H> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn interest(&self) -> Interest {
        (**self).interest()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        (**self).on_event(event, cx)
    }
}

/// A handler whose state its owner reads: keep a clone of the `Arc`.
///
/// The mutex is locked during every call, so a reader that keeps the lock makes the handler wait.
/// The handler's name is always that of its type.
#[cfg(feature = "std")]
impl<H: CallbackHandler + ?Sized> CallbackHandler for Arc<std::sync::Mutex<H>> {
    fn name(&self) -> &str {
        core::any::type_name::<H>()
    }

    fn interest(&self) -> Interest {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).interest()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).on_event(event, cx)
    }
}

/// A handler on one thread, whose state its owner reads: for `rappel-local`.
///
/// A call while the state is borrowed fails. A handler that is borrowed when it is registered is
/// interested in every event.
impl<H: CallbackHandler + ?Sized> CallbackHandler for Rc<RefCell<H>> {
    fn name(&self) -> &str {
        core::any::type_name::<H>()
    }

    fn interest(&self) -> Interest {
        self.try_borrow().map_or(Interest::all(), |handler| handler.interest())
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.try_borrow_mut()?.on_event(event, cx)
    }
}

/// `None` is a handler that is not interested in any event.
impl<H: CallbackHandler> CallbackHandler for Option<H> {
    fn name(&self) -> &str {
        self.as_ref().map_or(core::any::type_name::<Self>(), H::name)
    }

    fn interest(&self) -> Interest {
        self.as_ref().map_or(Interest::none(), H::interest)
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        match self {
            Some(handler) => handler.on_event(event, cx),
            None => Err(HandlerError::unhandled()),
        }
    }
}

/// Calls its members one after the other.
impl<H: CallbackHandler> CallbackHandler for Vec<H> {
    fn interest(&self) -> Interest {
        self.iter().fold(Interest::none(), |all, member| all | member.interest())
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        merge(self.iter_mut().map(|member| {
            let result = catch_unwind(|| call_member(member, event, cx));
            result.unwrap_or_else(panicked)
        }))
    }
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<H: AsyncCallbackHandler> AsyncCallbackHandler for $pointer<H> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn interest(&self) -> Interest {
                (**self).interest()
            }

            fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
                (**self).on_event(event, cx)
            }
        }
    )+};
}
forward!(Arc, Box);

/// `None` is a handler that is not interested in any event.
impl<H: AsyncCallbackHandler> AsyncCallbackHandler for Option<H> {
    fn name(&self) -> &str {
        self.as_ref().map_or(core::any::type_name::<Self>(), H::name)
    }

    fn interest(&self) -> Interest {
        self.as_ref().map_or(Interest::none(), H::interest)
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        match self {
            Some(handler) => handler.on_event(event, cx),
            None => HandlerFuture::unhandled(),
        }
    }
}

/// Polls its members side by side.
impl<H: AsyncCallbackHandler> AsyncCallbackHandler for Vec<H> {
    fn interest(&self) -> Interest {
        self.iter().fold(Interest::none(), |all, member| all | member.interest())
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        let calls = self.iter().map(move |member| async move {
            let result = CatchUnwind::new(call_async_member(member, event, cx)).await;
            result.unwrap_or_else(panicked)
        });
        HandlerFuture::new(async move { merge(join_all(calls).await) })
    }
}

fn call_member<H: CallbackHandler>(
    member: &mut H,
    event: &Event,
    cx: &EventContext,
) -> HandlerResult {
    let interest = member.interest();
    if !interest.contains(event.kind()) {
        return Err(HandlerError::unhandled());
    }
    match (member.on_event(event, cx), event) {
        (Err(error), Event::ChatModelStart(start))
            if error.is_unhandled() && interest.contains(EventKind::LlmStart) =>
        {
            member.on_event(&Event::LlmStart(start.to_llm_start()), cx)
        }
        (result, _) => result,
    }
}

async fn call_async_member<H: AsyncCallbackHandler>(
    member: &H,
    event: &Event,
    cx: &EventContext,
) -> HandlerResult {
    let interest = member.interest();
    if !interest.contains(event.kind()) {
        return Err(HandlerError::unhandled());
    }
    match (member.on_event(event, cx).await, event) {
        (Err(error), Event::ChatModelStart(start))
            if error.is_unhandled() && interest.contains(EventKind::LlmStart) =>
        {
            let start = Event::LlmStart(start.to_llm_start());
            member.on_event(&start, cx).await
        }
        (result, _) => result,
    }
}

fn panicked(message: Arc<str>) -> HandlerResult {
    Err(HandlerError::new(FailureCause::Panicked(message)))
}

/// The first failure, or else `Ok` if a member handled the event.
fn merge(results: impl IntoIterator<Item = HandlerResult>) -> HandlerResult {
    let mut merged = Err(HandlerError::unhandled());
    for result in results {
        match (&merged, result) {
            (_, Err(error)) if error.is_unhandled() => {}
            (Ok(()), result) => merged = result,
            (Err(known), result) if known.is_unhandled() => merged = result,
            // An error is user code: its `Drop` may panic.
            (Err(_), result) => drop_quietly(result),
        }
    }
    merged
}
