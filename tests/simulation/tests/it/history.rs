//! What happened in a simulation: what a witness saw of each run, and what each handler's calls were told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use rappel_core::prelude::*;
use rappel_core::{HandlerFailure, Losses, RunId, RunKind};

/// An event, as far as its order and its text are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Start,
    Token { choice: u32, number: usize },
    Other(usize),
    End,
}

/// A call of a handler.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// One event, or the tokens that were joined to one.
    pub(super) told: Vec<What>,
    pub(super) losses: Losses,
    /// Whether the handler has come to its end, or was dropped.
    pub(super) over: bool,
}

/// The calls of a handler, by the run's name.
pub(super) type Calls = BTreeMap<String, Vec<Call>>;

#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Books>>);

#[derive(Default)]
pub(super) struct Books {
    pub(super) names: BTreeMap<RunId, String>,
    /// All accepted events: what an inline handler saw that always handles everything at once.
    pub(super) accepted: BTreeMap<String, Vec<What>>,
    pub(super) handlers: Vec<Calls>,
    pub(super) failures: Vec<HandlerFailure>,
    /// What nobody may ever see.
    pub(super) wrongs: Vec<String>,
}

impl History {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.books().wrongs.push(what.into());
    }

    /// An event was accepted.
    pub(super) fn accept(&self, event: &Event, run: &RunInfo) {
        let mut books = self.books();
        books.names.insert(run.id(), run.name().to_owned());
        let partial = match event {
            Event::LlmError(error) => Some(&error.partial),
            _ => None,
        };
        let known = books.accepted.entry(run.name().to_owned()).or_default();
        let wrong = partial.filter(|partial| !is_partial(known, partial)).is_some();
        known.extend(told(event));
        if wrong {
            books
                .wrongs
                .push(format!("the partial result of {} is another one: {event:?}", run.name()));
        }
    }

    /// A call of handler number `handler` begins; gives the call's number.
    pub(super) fn begin(&self, handler: usize, alone: Alone, event: &Event, run: &RunInfo) -> usize {
        let mut books = self.books();
        let calls = &mut books.handlers[handler];
        let overlaps = match alone {
            Alone::Everywhere => calls.values().flatten().any(|call| !call.over),
            Alone::InItsRun => calls.get(run.name()).into_iter().flatten().any(|call| !call.over),
        };
        let of_run = calls.entry(run.name().to_owned()).or_default();
        of_run.push(Call {
            told: told(event),
            losses: event.losses(),
            over: false,
        });
        let number = of_run.len() - 1;
        if overlaps && run.kind() != RunKind::None {
            books.wrongs.push(format!("calls of handler {handler} overlap: {event:?}"));
        }
        number
    }

    pub(super) fn over(&self, handler: usize, run: &str, call: usize) {
        if let Some(calls) = self.books().handlers[handler].get_mut(run) {
            calls[call].over = true;
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books();
        writeln!(f, "accepted: {:?}", books.accepted)?;
        for (number, calls) in books.handlers.iter().enumerate() {
            writeln!(f, "handler {number}: {calls:?}")?;
        }
        write!(f, "failures: {:?}", books.failures)
    }
}

/// Which calls of a handler never overlap.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alone {
    Everywhere,
    InItsRun,
}

/// What an event tells. A token's text is its number; joined, the numbers of all.
fn told(event: &Event) -> Vec<What> {
    match event {
        Event::LlmNewToken(token) => {
            let choice = token.chunk.as_ref().map_or(0, |chunk| chunk.index);
            let numbers = token.token.split_whitespace().map(|number| number.parse().unwrap());
            numbers.map(|number| What::Token { choice, number }).collect()
        }
        Event::Text(text) => vec![What::Other(text.text.parse().unwrap())],
        Event::Retry(retry) => vec![What::Other(retry.attempt as usize)],
        event if event.kind().is_start() => vec![What::Start],
        event if event.kind().is_end() => vec![What::End],
        other => panic!("nobody emits {other:?}"),
    }
}

/// Whether that is what the tokens come to.
fn is_partial(events: &[What], partial: &LlmResult) -> bool {
    let mut texts = BTreeMap::<u32, String>::new();
    for event in events {
        if let What::Token { choice, number } = event {
            texts.entry(*choice).or_default().push_str(&token(*number));
        }
    }
    texts.into_iter().all(|(choice, text)| {
        let generation = partial.generations.get(choice as usize);
        generation.is_some_and(|generation| generation.text == text)
    })
}

/// A token's text.
pub(super) fn token(number: usize) -> String {
    format!("{number} ")
}
