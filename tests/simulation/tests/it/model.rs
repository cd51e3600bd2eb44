//! What must be seen, whatever the order: the promises, in plain words.

use std::collections::{BTreeMap, BTreeSet};

use rappel_core::prelude::*;
use rappel_core::{FailureCause, HandlerStats};

use super::history::{Books, Call, History, What};
use super::world::{Plan, Way};

type Accepted = BTreeMap<String, Vec<What>>;

fn wants(plan: &Plan, what: What) -> bool {
    let kinds: &[EventKind] = match what {
        What::Start => &[EventKind::LlmStart, EventKind::ChainStart],
        What::Token { .. } => &[EventKind::LlmNewToken],
        What::End => &[EventKind::LlmEnd, EventKind::LlmError, EventKind::ChainEnd],
        What::Other(_) => &[EventKind::Text, EventKind::Retry],
    };
    kinds.iter().all(|kind| plan.interest.contains(*kind))
}

/// An emit has come back: whoever it waits for has handled the event.
pub(super) fn emitted(history: &History, plans: &[Plan], run: &str, what: What) {
    let mut books = history.books();
    for (number, plan) in plans.iter().enumerate() {
        let awaits = plan.is_awaited() || (plan.way == Way::Pipelined && what == What::End);
        let calls = books.handlers[number].get(run).map_or(&[][..], Vec::as_slice);
        let handled = calls.iter().any(|call| call.over && call.told.contains(&what));
        let all_over = calls.iter().all(|call| call.over);
        if awaits && plan.gets_all() && wants(plan, what) && !(handled && (all_over || what != What::End)) {
            let wrong = format!("handler {number} has not handled {what:?} of {run}, which has been awaited: {calls:?}");
            books.wrongs.push(wrong);
        }
    }
}

/// A flush, or a shutdown, has come back: what was accepted before it has been handled.
pub(super) fn all_handled(history: &History, number: usize, plan: &Plan, before: &Accepted, who: &str) {
    let mut books = history.books();
    if !plan.gets_all() {
        return;
    }
    let calls = &books.handlers[number];
    let handled = |run: &str| -> BTreeSet<What> {
        let calls = calls.get(run).into_iter().flatten().filter(|call| call.over);
        calls.flat_map(|call| call.told.iter().copied()).collect()
    };
    let missing = before.iter().find_map(|(run, events)| {
        let handled = handled(run);
        let missing = events.iter().find(|what| wants(plan, **what) && !handled.contains(what))?;
        Some(format!("{who} came back before handler {number} has handled {missing:?} of {run}"))
    });
    books.wrongs.extend(missing);
}

/// All is over.
pub(super) fn check(history: &History, plans: &[Plan], stats: &[HandlerStats]) -> Result<(), String> {
    let books = history.books();
    if let Some(wrong) = books.wrongs.first() {
        return Err(wrong.clone());
    }
    for (run, events) in &books.accepted {
        let ends = events.iter().filter(|what| **what == What::End).count();
        let whole = events.first() == Some(&What::Start) && events.last() == Some(&What::End) && ends == 1;
        let numbers = |what: &What| matches!(what, What::Token { .. }).then_some(*what);
        // What was dropped before it was accepted is missing, and nothing comes twice.
        let tokens: Vec<What> = events.iter().filter_map(numbers).collect();
        let once = tokens.iter().collect::<BTreeSet<_>>().len() == tokens.len();
        if !whole || !once {
            return Err(format!("{run} is not from start to end: {events:?}"));
        }
    }
    for (number, plan) in plans.iter().enumerate() {
        let in_handler = |wrong| format!("handler {number}, {plan:?}: {wrong}");
        // The witness is the first.
        check_handler(&books, number, plan, &stats[number + 1]).map_err(in_handler)?;
    }
    Ok(())
}

fn check_handler(books: &Books, number: usize, plan: &Plan, stats: &HandlerStats) -> Result<(), String> {
    let name = format!("handler {number}");
    let failures: Vec<_> = books.failures.iter().filter(|failure| *failure.handler == *name).collect();
    // Without a call.
    let uncalled = |cause: &FailureCause| matches!(cause, FailureCause::Busy | FailureCause::WouldDeadlock);
    let mut sums = Sums::default();
    for (run, events) in &books.accepted {
        let calls = books.handlers[number].get(run).map_or(&[][..], Vec::as_slice);
        let wanted: Vec<What> = events.iter().copied().filter(|what| wants(plan, *what)).collect();
        let of_run = failures.iter().filter(|failure| books.names.get(&failure.run_id) == Some(run));
        let uncalled = of_run.filter(|failure| uncalled(&failure.cause)).count();
        if calls.is_empty() && !wanted.is_empty() {
            if !plan.may_refuse() && uncalled == 0 {
                return Err(format!("it has heard nothing of {run}: {wanted:?}"));
            }
            sums.refused += 1;
            continue;
        }
        sums.calls += calls.len();
        check_order(plan, &wanted, calls).map_err(|wrong| format!("{wrong}, in {run}: {wanted:?}, {calls:?}"))?;
        let pieces: usize = calls.iter().map(|call| call.told.len()).sum();
        sums.joined += pieces - calls.len();
        sums.missing += wanted.len() - pieces;
        check_losses(plan, &wanted, calls, pieces, uncalled).map_err(|wrong| format!("{wrong}, in {run}: {wanted:?}, {calls:?}"))?;
    }
    let uncalled = failures.iter().filter(|failure| uncalled(&failure.cause)).count();
    let exact = plan.timeout.is_none() && !plan.emits;
    let counts = (stats.dropped, stats.joined, stats.refused_runs);
    if exact && counts != (sums.missing, sums.joined, sums.refused) {
        return Err(format!("it is counted otherwise than it happened: {stats:?}, {sums:?}"));
    }
    if stats.failed != failures.len() || stats.handled + stats.failed != sums.calls + uncalled || stats.pending + stats.open_runs > 0 {
        return Err(format!("the books are wrong: {stats:?}, {sums:?}, {failures:?}"));
    }
    Ok(())
}

/// What became of a handler's events.
#[derive(Debug, Default)]
struct Sums {
    calls: usize,
    missing: usize,
    joined: usize,
    refused: usize,
}

/// Start first, all in the order of emission, nothing that was not, nothing twice.
fn check_order(plan: &Plan, wanted: &[What], calls: &[Call]) -> Result<(), &'static str> {
    let at = |what: &What| wanted.iter().position(|wanted| wanted == what).ok_or("nobody emitted it");
    let joins = plan.overflow() == Overflow::Coalesce;
    let (mut of_all, mut of_others) = (None, None);
    let mut of_choice = BTreeMap::new();
    for what in calls.iter().flat_map(|call| &call.told) {
        let here = Some(at(what)?);
        let after = match what {
            // Each choice is a text of its own.
            What::Token { choice, .. } if joins => of_others.max(of_choice.insert(*choice, here).flatten()),
            _ => of_all,
        };
        if here <= after {
            return Err("that is not the order");
        }
        of_all = of_all.max(here);
        if !matches!(what, What::Token { .. }) {
            of_others = here;
        }
    }
    let start = calls.first().and_then(|call| call.told.first());
    if wanted.first() == Some(&What::Start) && start.is_some_and(|first| *first != What::Start) {
        return Err("a start is missing");
    }
    Ok(())
}

/// What is missing may be, and the handler was told so.
fn check_losses(plan: &Plan, wanted: &[What], calls: &[Call], pieces: usize, uncalled: usize) -> Result<(), &'static str> {
    let missing = wanted.len() - pieces;
    let told: usize = calls.iter().map(|call| call.losses.dropped).sum();
    let lost: Vec<&What> = wanted
        .iter()
        .filter(|what| !calls.iter().any(|call| call.told.contains(what)))
        .collect();
    let droppable = |what: &What| match what {
        What::Token { .. } => plan.overflow() != Overflow::Coalesce,
        What::Other(_) => plan.way == Way::Background,
        What::Start | What::End => false,
    };
    let for_want_of_room = plan.may_drop() && lost.iter().all(|what| droppable(what));
    if uncalled == 0 && missing > 0 && !for_want_of_room {
        return Err("something is lost");
    }
    let to_the_end = calls.last().is_some_and(|call| call.told.contains(&What::End));
    if told > missing || (to_the_end && told + uncalled < missing) {
        return Err("it was told of other losses");
    }
    Ok(())
}
