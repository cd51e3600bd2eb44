//! Comparing what was heard with what was expected, line by line.

use rappel_core::{Event, RunId, RunInfo};

use crate::expect::{Expected, Step, heading};
use crate::recorder::Recorded;
use crate::text::line;

/// The events by run.
pub(crate) struct Runs<'a>(Vec<Run<'a>>);

/// A run that was heard of.
pub(crate) struct Run<'a> {
    info: &'a RunInfo,
    events: Vec<&'a Event>,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(events: &'a [Recorded]) -> Self {
        let mut runs: Vec<Run<'a>> = Vec::new();
        for Recorded { event, run: info } in events {
            match runs.iter_mut().find(|run| run.info.id() == info.id()) {
                Some(run) => run.events.push(event),
                None => runs.push(Run { info, events: vec![event] }),
            }
        }
        Self(runs)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Run<'a>> {
        self.0.iter()
    }

    /// Those that are inside none that was heard of.
    pub(crate) fn roots(&self) -> Vec<&Run<'a>> {
        let known = |id: RunId| self.0.iter().any(|run| run.info.id() == id);
        self.all().filter(|run| !run.info.parent_id().is_some_and(known)).collect()
    }

    fn inside(&self, parent: &Run<'a>) -> Vec<&Run<'a>> {
        self.all().filter(|run| run.info.parent_id() == Some(parent.info.id())).collect()
    }
}

/// Compares runs with those expected, in order.
///
/// # Errors
/// All lines, those that differ marked.
pub(crate) fn compare(expected: &[&Expected], heard: &[&Run<'_>], runs: &Runs<'_>) -> Result<(), String> {
    let mut lines = Lines::default();
    lines.runs(expected, heard, false, runs, 0);
    lines.verdict()
}

/// What is expected and was heard, what is only expected, and what was only heard.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Same,
    Expected,
    Heard,
}

#[derive(Default)]
struct Lines(Vec<(Mark, usize, String)>);

impl Lines {
    fn runs(&mut self, expected: &[&Expected], heard: &[&Run<'_>], others: bool, runs: &Runs<'_>, depth: usize) {
        let mut heard = heard.iter();
        for expected in expected {
            let run = if others {
                // The next one that is it.
                heard.find(|run| compare(&[expected], &[run], runs).is_ok())
            } else {
                heard.next()
            };
            match run {
                Some(run) => self.run(expected, run, runs, depth),
                None => self.missing(expected, depth),
            }
        }
        if !others {
            heard.for_each(|run| self.unexpected(run, runs, depth));
        }
    }

    fn run(&mut self, expected: &Expected, run: &Run<'_>, runs: &Runs<'_>, depth: usize) {
        let named = heading(run.info.name(), run.info.tags());
        if expected.is_named_as(run.info) {
            self.push(Mark::Same, depth, named);
        } else {
            self.push(Mark::Expected, depth, expected.heading());
            self.push(Mark::Heard, depth, named);
        }
        self.events(&expected.steps, &run.events, depth + 1);
        let inside: Vec<&Expected> = expected.inside.iter().collect();
        self.runs(&inside, &runs.inside(run), expected.others_inside, runs, depth + 1);
    }

    fn missing(&mut self, expected: &Expected, depth: usize) {
        self.push(Mark::Expected, depth, expected.heading());
        for step in &expected.steps {
            self.push(Mark::Expected, depth + 1, step.to_string());
        }
        for child in &expected.inside {
            self.missing(child, depth + 1);
        }
    }

    fn unexpected(&mut self, run: &Run<'_>, runs: &Runs<'_>, depth: usize) {
        self.push(Mark::Heard, depth, heading(run.info.name(), run.info.tags()));
        for event in &run.events {
            self.push(Mark::Heard, depth + 1, line(event));
        }
        for child in runs.inside(run) {
            self.unexpected(child, runs, depth + 1);
        }
    }

    fn events(&mut self, steps: &[Step], events: &[&Event], depth: usize) {
        // What is the same before and behind stays out of the search, which takes as much memory as both are long, times each other.
        let same = |(step, event): &(&Step, &&Event)| step.is_one() && !step.lengths(&[**event]).is_empty();
        let before = steps.iter().zip(events).take_while(same).count();
        let (steps, rest) = (&steps[before..], &events[before..]);
        let behind = steps.iter().rev().zip(rest.iter().rev()).take_while(same).count();
        let (middle, end) = rest.split_at(rest.len() - behind);
        self.same(&events[..before], depth);
        self.closest(&steps[..steps.len() - behind], middle, depth);
        self.same(end, depth);
    }

    fn same(&mut self, events: &[&Event], depth: usize) {
        for event in events {
            self.push(Mark::Same, depth, line(event));
        }
    }

    /// The events, in the way that has the fewest differences.
    fn closest(&mut self, steps: &[Step], events: &[&Event], depth: usize) {
        let costs = Costs::new(steps, events);
        let (mut step, mut event) = (0, 0);
        while step < steps.len() || event < events.len() {
            match costs.way(step, event) {
                Way::Same(count) => {
                    self.same(&events[event..event + count], depth);
                    (step, event) = (step + 1, event + count);
                }
                Way::Skip => {
                    self.push(Mark::Same, depth, line(events[event]));
                    event += 1;
                }
                Way::Nothing => step += 1,
                Way::Missing => {
                    self.push(Mark::Expected, depth, steps[step].to_string());
                    step += 1;
                }
                Way::Unexpected => {
                    self.push(Mark::Heard, depth, line(events[event]));
                    event += 1;
                }
            }
        }
    }

    fn push(&mut self, mark: Mark, depth: usize, text: String) {
        self.0.push((mark, depth, text));
    }

    fn verdict(self) -> Result<(), String> {
        /// How many lines that are as expected are shown beside one that is not.
        const AROUND: usize = 3;
        let differing: Vec<usize> = (0..self.0.len()).filter(|index| self.0[*index].0 != Mark::Same).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        let mut left_out = 0;
        for (index, (mark, depth, line)) in self.0.iter().enumerate() {
            let nearest = differing.partition_point(|differing| *differing < index.saturating_sub(AROUND));
            let is_near = differing.get(nearest).is_some_and(|differing| *differing <= index + AROUND);
            // The run that it is in is always shown.
            if !is_near && !line.starts_with("run ") {
                left_out += 1;
                continue;
            }
            tell_left_out(&mut text, &mut left_out);
            let mark = match mark {
                Mark::Same => ' ',
                Mark::Expected => '-',
                Mark::Heard => '+',
            };
            text += &format!("{mark} {:indent$}{line}\n", "", indent = 2 * depth);
        }
        tell_left_out(&mut text, &mut left_out);
        Err(text)
    }
}

fn tell_left_out(text: &mut String, left_out: &mut usize) {
    if *left_out > 0 {
        *text += &format!("    … {left_out} more as expected\n");
        *left_out = 0;
    }
}

/// What to do next with the events that are left, and the steps.
#[derive(Clone, Copy)]
enum Way {
    /// The step is so many events.
    Same(usize),
    /// The event does not matter to the step, which stays.
    Skip,
    /// The step is nothing.
    Nothing,
    Missing,
    Unexpected,
}

/// How many lines differ at least from each point on, and the way there.
struct Costs {
    width: usize,
    ways: Vec<(usize, Way)>,
}

impl Costs {
    fn new(steps: &[Step], events: &[&Event]) -> Self {
        let width = events.len() + 1;
        let mut costs = Self {
            width,
            ways: vec![(0, Way::Missing); width * (steps.len() + 1)],
        };
        for step in (0..=steps.len()).rev() {
            for event in (0..=events.len()).rev() {
                if step < steps.len() || event < events.len() {
                    costs.ways[step * width + event] = costs.best(steps, events, step, event);
                }
            }
        }
        costs
    }

    fn best(&self, steps: &[Step], events: &[&Event], step: usize, event: usize) -> (usize, Way) {
        let cost = |step: usize, event: usize| self.ways[step * self.width + event].0;
        let mut ways = Vec::new();
        if let Some(next) = steps.get(step) {
            if next.is_anything() {
                ways.push((cost(step + 1, event), Way::Nothing));
                if event < events.len() {
                    ways.push((cost(step, event + 1), Way::Skip));
                }
            } else {
                let lengths = next.lengths(&events[event..]).into_iter();
                ways.extend(lengths.map(|count| (cost(step + 1, event + count), Way::Same(count))));
                ways.push((cost(step + 1, event) + 1, Way::Missing));
            }
        }
        if event < events.len() {
            ways.push((cost(step, event + 1) + 1, Way::Unexpected));
        }
        ways.into_iter().min_by_key(|(cost, _)| *cost).unwrap_or((0, Way::Missing))
    }

    fn way(&self, step: usize, event: usize) -> Way {
        self.ways[step * self.width + event].1
    }
}
