//! Tuples of handlers as one handler.
//!
//! Each member is asked as if it stood alone: by its own interest, and with a chat model's start that it does not handle left to its own
//! `on_llm_start`; one that fails or panics keeps no other one from the event. The tuple's answer is the first failure, which alone is reported, or
//! unhandled where no member handled the event.

use alloc::boxed::Box;
use alloc::vec::Vec;

use futures_util::future::join_all;

use super::{AsyncCallbackHandler, CallbackHandler, HandlerFuture};
use crate::contain::{Contained, contained};
use crate::error::{FailureCause, HandlerError, HandlerResult};
use crate::event::{Event, EventKind, Interest};
use crate::run_info::RunInfo;

fn ask_sync<H: CallbackHandler>(member: &mut H, event: &Event, run: &RunInfo) -> HandlerResult {
    if !member.interest().contains(event.kind()) {
        return Err(HandlerError::unhandled());
    }
    match (member.on_event(event, run), event) {
        (Err(answer), Event::ChatModelStart(start)) if answer.is_unhandled() && member.interest().contains(EventKind::LlmStart) => {
            member.on_event(&Event::LlmStart(start.to_llm_start()), run)
        }
        (answer, _) => answer,
    }
}

async fn ask_async<H: AsyncCallbackHandler>(member: &H, event: &Event, run: &RunInfo) -> HandlerResult {
    if !member.interest().contains(event.kind()) {
        return Err(HandlerError::unhandled());
    }
    match (member.on_event(event, run).await, event) {
        (Err(answer), Event::ChatModelStart(start)) if answer.is_unhandled() && member.interest().contains(EventKind::LlmStart) => {
            let start = Event::LlmStart(start.to_llm_start());
            member.on_event(&start, run).await
        }
        (answer, _) => answer,
    }
}

/// A member's panic is its failure, and no other member's.
fn apart(answer: Result<HandlerResult, FailureCause>) -> HandlerResult {
    answer.unwrap_or_else(|panic| Err(HandlerError::new(panic)))
}

/// The answer of several: the first failure; else unhandled, unless one of them handled the event.
fn together(answers: impl IntoIterator<Item = HandlerResult>) -> HandlerResult {
    let mut together = Err(HandlerError::unhandled());
    for answer in answers {
        match (answer, &together) {
            (Err(error), _) if error.is_unhandled() => {}
            (answer, Ok(())) => together = answer,
            (answer, Err(error)) if error.is_unhandled() => together = answer,
            (_, Err(_)) => {}
        }
    }
    together
}

macro_rules! tuple {
    ($($member:ident $index:tt),+) => {
        impl<$($member: CallbackHandler),+> CallbackHandler for ($($member,)+) {
            fn interest(&self) -> Interest {
                Interest::none() $(| self.$index.interest())+
            }

            fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
                together([$(apart(contained(|| ask_sync(&mut self.$index, event, run)))),+])
            }
        }

        impl<$($member: AsyncCallbackHandler),+> AsyncCallbackHandler for ($($member,)+) {
            fn interest(&self) -> Interest {
                Interest::none() $(| self.$index.interest())+
            }

            fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
                let members: Vec<HandlerFuture<'a>> = Vec::from([$(HandlerFuture::new(async { apart(Contained::new(ask_async(&self.$index, event, run)).await) })),+]);
                HandlerFuture::new(Box::pin(async move { together(join_all(members).await) }))
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
