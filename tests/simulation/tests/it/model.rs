//! What must hold in every order: the promises.

use std::collections::{BTreeMap, BTreeSet};

use rappel_core::HandlerStats;

use super::history::{Accepted, Books, Call, FailureKind, History, Run, What};
use super::nested::is_nested;
use super::world::{Plan, Way, World};

/// What went wrong.
type Wrong = String;

fn wants(plan: &Plan, event: &Accepted) -> bool {
    plan.interest.contains(event.kind)
}

/// An emit has returned outside of handlers' calls: every handler that it waits for has handled
/// the event.
pub(super) fn emitted(history: &History, plans: &[Plan], name: &str, what: What) {
    let awaits =
        |plan: &Plan| plan.is_awaited() || (plan.way == Way::Pipelined && what == What::End);
    handled(history, plans, (name, what), |plan| awaits(plan) && plan.gets_all());
}

/// An emit has returned inside a handler's call. It waits for async handlers that are called where
/// it is polled, and for no others. If the run is `busy` with an earlier event, it waits for none.
pub(super) fn emitted_in_call(
    history: &History,
    plans: &[Plan],
    (name, what): (&str, What),
    busy: bool,
) {
    if busy {
        history.books().deferred.push((name.to_owned(), what));
        return;
    }
    handled(history, plans, (name, what), |plan| {
        !plan.sync && plan.is_in_place() && plan.gets_all()
    });
}

fn handled(
    history: &History,
    plans: &[Plan],
    (name, what): (&str, What),
    awaits: impl Fn(&Plan) -> bool,
) {
    let mut books = history.books();
    let event =
        books.runs.get(name).and_then(|run| run.events.iter().find(|event| event.what == what));
    let Some(event) = event.cloned() else {
        // Only what no handler wants is not accepted, and the witness wants everything.
        books.wrongs.push(format!("{what:?} of {name} was not accepted, and has been awaited"));
        return;
    };
    for (number, plan) in plans.iter().enumerate() {
        if !awaits(plan) {
            continue;
        }
        let calls = books.handlers[number].get(name).map_or(&[][..], Vec::as_slice);
        let over = |call: &Call| call.over.is_some();
        let handled = calls.iter().any(|call| over(call) && call.told.contains(&what));
        let all_over = what != What::End || calls.iter().all(over);
        if (wants(plan, &event) && !handled) || !all_over {
            let wrong = format!(
                "handler {number} has not handled {what:?} of {name}, which has been awaited: \
                 {calls:?}"
            );
            books.wrongs.push(wrong);
        }
    }
}

/// A flush or a shutdown has returned: what was accepted before it has been handled.
pub(super) fn all_handled(
    history: &History,
    number: usize,
    plan: &Plan,
    before: &BTreeMap<String, Run>,
    who: &str,
) {
    let mut books = history.books();
    if !plan.gets_all() {
        return;
    }
    let calls = &books.handlers[number];
    let missing = before.iter().filter(|(name, _)| !is_nested(name)).find_map(|(name, run)| {
        let calls = calls.get(name).into_iter().flatten().filter(|call| call.over.is_some());
        let handled: BTreeSet<What> = calls.flat_map(|call| call.told.iter().copied()).collect();
        let is_missing = |event: &&Accepted| wants(plan, event) && !handled.contains(&event.what);
        let missing = run.events.iter().find(is_missing)?;
        Some(format!("{who} returned before handler {number} has handled {missing:?} of {name}"))
    });
    books.wrongs.extend(missing);
}

/// Everything is over.
pub(super) fn check(world: &World) -> Result<(), Wrong> {
    let books = world.history.books();
    if let Some(wrong) = books.wrongs.first() {
        return Err(wrong.clone());
    }
    books.check_runs(world.raises())?;
    let stats = world.callbacks.stats();
    for (number, plan) in world.plans.iter().enumerate() {
        let handler = Handler { books: &books, number, plan };
        // The witness is the first.
        let stats = &stats[number + 1];
        let checked = handler.check(stats).and_then(|()| match world.witness_sees_order() {
            true => handler.check_traces(),
            false => Ok(()),
        });
        checked.map_err(|wrong| format!("{wrong}\nhandler {number}, {plan:?}\n{stats:?}"))?;
    }
    Ok(())
}

/// A handler, once everything is over.
struct Handler<'a> {
    books: &'a Books,
    number: usize,
    plan: &'a Plan,
}

/// What became of a handler's events.
#[derive(Debug, Default)]
struct Sums {
    /// Events that were emitted to it.
    emitted: usize,
    /// The same of runs that it got nothing of, and that it may have been refused or not.
    doubtful: usize,
    calls: usize,
    /// Tokens that were joined to others, as its calls say.
    joined: usize,
    told_dropped: usize,
    told_coalesced: usize,
    told_refused: usize,
    /// Runs that it was refused, but not their parents.
    refused: usize,
    /// The same, perhaps.
    doubtful_refused: usize,
}

impl Handler<'_> {
    fn calls(&self, name: &str) -> &[Call] {
        self.books.handlers[self.number].get(name).map_or(&[], Vec::as_slice)
    }

    fn check(&self, stats: &HandlerStats) -> Result<(), Wrong> {
        let mut sums = Sums::default();
        for (name, run) in &self.books.runs {
            let in_run = |wrong: Wrong| format!("{wrong}, in {name}");
            self.check_run(name, run, &mut sums).map_err(in_run)?;
        }
        for name in self.books.handlers[self.number].keys() {
            if !self.books.runs.contains_key(name) {
                return Err(format!("it was called for {name}, which was not emitted"));
            }
        }
        self.check_books(stats, &sums)
    }

    fn is_refused(&self, name: &str) -> bool {
        let starts = |run: &Run| run.events.first().is_some_and(|first| wants(self.plan, first));
        self.calls(name).is_empty() && self.books.runs.get(name).is_some_and(starts)
    }

    /// Whether it may have been refused the run at a later event than the start, which it does not
    /// want, or with the run's parent. What is under the run is refused with it, and not counted.
    fn may_be_refused(&self, name: &str) -> bool {
        let Some(run) = self.books.runs.get(name).filter(|_| self.calls(name).is_empty()) else {
            return false;
        };
        run.events.iter().any(|event| wants(self.plan, event))
            || run.parent.as_ref().is_some_and(|parent| self.may_be_refused(parent))
    }

    fn check_run(&self, name: &str, run: &Run, sums: &mut Sums) -> Result<(), Wrong> {
        let (plan, calls) = (self.plan, self.calls(name));
        let wanted: Vec<&Accepted> = run.events.iter().filter(|event| wants(plan, event)).collect();
        let wants_start = run.events.first().is_some_and(|first| wants(plan, first));
        let nested = is_nested(name);
        let parent_refused = run.parent.as_ref().is_some_and(|parent| self.is_refused(parent));
        if calls.is_empty() {
            if wanted.is_empty() {
                return Ok(());
            }
            let stuck = plan.timeout.is_some() && plan.is_lane();
            let may = plan.may_refuse() || (nested && plan.is_lane()) || stuck;
            if !may {
                return Err(format!("it got nothing: {wanted:?}"));
            }
            match (wants_start, parent_refused) {
                (_, true) => {}
                (true, false)
                    if run.loose
                        || run
                            .parent
                            .as_ref()
                            .is_some_and(|parent| self.may_be_refused(parent)) =>
                {
                    sums.doubtful_refused += 1;
                }
                (true, false) => sums.refused += 1,
                (false, false) => {
                    sums.doubtful_refused += 1;
                    sums.doubtful += wanted.len();
                }
            }
            return Ok(());
        }
        if parent_refused {
            return Err(format!(
                "it got something of a run under one that it was refused: {calls:?}"
            ));
        }
        sums.emitted += wanted.len();
        sums.calls += calls.len();
        for call in calls {
            sums.joined += call.told.len() - 1;
            sums.told_dropped += call.losses.dropped;
            sums.told_coalesced += call.losses.coalesced;
            sums.told_refused += call.losses.refused_runs;
            if call.over.is_none() {
                return Err(format!("a call is not over: {call:?}"));
            }
            self.books.check_call(name, call)?;
        }
        let context = |wrong: &str| format!("{wrong}: {wanted:#?}, {calls:#?}");
        check_order(plan, nested, &wanted, calls).map_err(context)?;
        self.check_losses(nested, &wanted, calls).map_err(context)?;
        self.check_tree(run, calls)
    }

    /// A run's start comes after its parent's, and its end before its parent's.
    fn check_tree(&self, run: &Run, calls: &[Call]) -> Result<(), Wrong> {
        let Some(parent) = &run.parent else {
            return Ok(());
        };
        let of_parent = self.calls(parent);
        let of =
            |calls: &[Call], what| calls.iter().find(|call| call.told.contains(&what)).cloned();
        let first = calls.first();
        if let (Some(start), Some(first)) = (of(of_parent, What::Start), first) {
            if start.over.is_none_or(|over| over > first.began) {
                return Err(format!("it comes before the start of {parent}: {start:?}, {first:?}"));
            }
        }
        let last = calls.last().filter(|_| !run.alone);
        if let (Some(end), Some(last)) = (of(of_parent, What::End), last) {
            if last.over.is_none_or(|over| over > end.began) {
                return Err(format!("it goes on after the end of {parent}: {last:?}, {end:?}"));
            }
        }
        Ok(())
    }

    /// What is missing may be.
    fn check_losses(
        &self,
        nested: bool,
        wanted: &[&Accepted],
        calls: &[Call],
    ) -> Result<(), &'static str> {
        let plan = self.plan;
        let late = plan.timeout.is_some() && plan.is_lane();
        // An event that is emitted in a call never waits for room.
        let crowded = nested && (plan.sync || !plan.is_in_place());
        let may_lose = |what: What| match what {
            What::Token { .. } => plan.may_drop_token() || crowded || late,
            What::Other(_) | What::Only => plan.may_drop_other() || crowded || late,
            What::Start | What::End => false,
        };
        let is_lost =
            |event: &&&Accepted| !calls.iter().any(|call| call.told.contains(&event.what));
        match wanted.iter().filter(is_lost).all(|event| may_lose(event.what)) {
            true => Ok(()),
            false => Err("something is lost"),
        }
    }

    /// Every event that was emitted to the handler is counted once.
    fn check_books(&self, stats: &HandlerStats, sums: &Sums) -> Result<(), Wrong> {
        let name = format!("handler {}", self.number);
        let failures: Vec<FailureKind> =
            self.books.failures.iter().filter(|failure| failure.0 == name).map(|f| f.1).collect();
        let wrong = |what: &str| Err(format!("{what}: {sums:?}, {failures:?}"));
        if stats.pending + stats.open_runs > 0 {
            return wrong("something is left");
        }
        if stats.failed != failures.len() || failures.contains(&FailureKind::NotCalled) {
            return wrong("failures are not reported one by one");
        }
        let counted = stats.handled + stats.failed + stats.dropped + stats.coalesced;
        if counted < sums.emitted || counted > sums.emitted + sums.doubtful {
            return wrong("the books are wrong");
        }
        let refused = sums.refused..=sums.refused + sums.doubtful_refused;
        if !refused.contains(&stats.refused_runs) || sums.told_refused > stats.refused_runs {
            return wrong("refused runs are not counted");
        }
        if sums.told_coalesced != sums.joined {
            return wrong("it was not told of joined tokens");
        }
        // An end says what was dropped before it.
        let told = sums.told_dropped + sums.told_coalesced;
        let lost = stats.dropped + stats.coalesced;
        let kinds = rappel_core::EventKind::ALL.iter().filter(|kind| kind.is_end());
        let hears_ends = kinds.copied().all(|kind| self.plan.interest.contains(kind));
        if told > lost || (hears_ends && sums.doubtful == 0 && self.plan.is_lane() && told != lost)
        {
            return wrong("it was told of other losses");
        }
        Ok(())
    }

    /// Events of a trace come in the order in which they were accepted, one at a time.
    fn check_traces(&self) -> Result<(), Wrong> {
        if !self.plan.is_lane() {
            return Ok(());
        }
        let mut traces: BTreeMap<&str, Vec<(&str, &Call)>> = BTreeMap::new();
        for (name, calls) in &self.books.handlers[self.number] {
            if let Some(trace) = self.books.trace(name) {
                traces.entry(trace).or_default().extend(calls.iter().map(|call| (&**name, call)));
            }
        }
        for (trace, calls) in &mut traces {
            calls.sort_by_key(|(_, call)| call.began);
            for pair in calls.windows(2) {
                let accepted = |(name, call): (&str, &Call)| self.books.runs[name].at(call.told[0]);
                if accepted(pair[0]) >= accepted(pair[1]) {
                    return Err(format!("trace {trace} is out of order: {pair:#?}"));
                }
                if pair[0].1.over.is_none_or(|over| over > pair[1].1.began) {
                    return Err(format!("calls of trace {trace} overlap: {pair:#?}"));
                }
            }
        }
        Ok(())
    }
}

/// Start first, everything in the order of emission, nothing twice.
fn check_order(
    plan: &Plan,
    nested: bool,
    wanted: &[&Accepted],
    calls: &[Call],
) -> Result<(), &'static str> {
    let at = |what: &What| {
        let at = wanted.iter().position(|wanted| wanted.what == *what);
        at.ok_or("it was not emitted, or is not wanted")
    };
    let joins = plan.joins(nested);
    let (mut of_all, mut of_others) = (None, None);
    let mut of_choice = BTreeMap::new();
    for what in calls.iter().flat_map(|call| &call.told) {
        let here = Some(at(what)?);
        let after = match what {
            // Each choice is a text of its own.
            What::Token { choice, .. } if joins => {
                of_others.max(of_choice.insert(*choice, here).flatten())
            }
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
    let wants_start = wanted.first().is_some_and(|first| first.what == What::Start);
    let start = calls.first().and_then(|call| call.told.first());
    if wants_start && start != Some(&What::Start) {
        return Err("a start is missing");
    }
    Ok(())
}
