//! Compares recorded runs with expected ones, line by line.

use rappel_core::{Event, RunId, RunInfo};

use crate::expect::{Expected, Step, heading};
use crate::text::line;

/// The recorded runs, in the order of their first events.
pub(crate) struct Runs<'a>(Vec<Run<'a>>);

/// A recorded run.
pub(crate) struct Run<'a> {
    info: &'a RunInfo,
    events: Vec<&'a Event>,
}

impl<'a> Runs<'a> {
    /// Groups events by their runs.
    pub(crate) fn new(events: impl IntoIterator<Item = (&'a RunInfo, &'a Event)>) -> Self {
        let mut runs: Vec<Run<'a>> = Vec::new();
        for (info, event) in events {
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

    /// The runs whose parent was not recorded.
    pub(crate) fn roots(&self) -> Vec<&Run<'a>> {
        let known = |id: RunId| self.0.iter().any(|run| run.info.id() == id);
        let is_root = |run: &&Run<'a>| !run.info.parent_id().is_some_and(known);
        self.all().filter(is_root).collect()
    }

    fn children(&self, parent: &Run<'a>) -> Vec<&Run<'a>> {
        let parent = Some(parent.info.id());
        self.all().filter(|run| run.info.parent_id() == parent).collect()
    }
}

/// Compares recorded runs with the expected ones, in order.
///
/// # Errors
/// The lines that differ, with those around them.
pub(crate) fn compare(
    expected: &[&Expected],
    recorded: &[&Run<'_>],
    runs: &Runs<'_>,
) -> Result<(), String> {
    let mut lines = Lines::default();
    lines.runs(expected, recorded, false, runs, 0);
    lines.verdict()
}

/// Whether a line is expected and recorded, only expected, or only recorded.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Same,
    Expected,
    Recorded,
}

#[derive(Default)]
struct Lines(Vec<(Mark, usize, String)>);

impl Lines {
    fn runs(
        &mut self,
        expected: &[&Expected],
        recorded: &[&Run<'_>],
        others: bool,
        runs: &Runs<'_>,
        depth: usize,
    ) {
        let mut recorded = recorded.iter();
        for expected in expected {
            let run = if others {
                recorded.find(|run| compare(&[expected], &[run], runs).is_ok())
            } else {
                recorded.next()
            };
            match run {
                Some(run) => self.run(expected, run, runs, depth),
                None => self.missing(expected, depth),
            }
        }
        if !others {
            recorded.for_each(|run| self.unexpected(run, runs, depth));
        }
    }

    fn run(&mut self, expected: &Expected, run: &Run<'_>, runs: &Runs<'_>, depth: usize) {
        let named = heading(run.info.name(), run.info.tags());
        if expected.is_named_as(run.info) {
            self.push(Mark::Same, depth, named);
        } else {
            self.push(Mark::Expected, depth, expected.heading());
            self.push(Mark::Recorded, depth, named);
        }
        self.events(&expected.steps, &run.events, depth + 1);
        let inside: Vec<&Expected> = expected.inside.iter().collect();
        let children = runs.children(run);
        self.runs(&inside, &children, expected.others_inside, runs, depth + 1);
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
        self.push(Mark::Recorded, depth, heading(run.info.name(), run.info.tags()));
        for event in &run.events {
            self.push(Mark::Recorded, depth + 1, line(event));
        }
        for child in runs.children(run) {
            self.unexpected(child, runs, depth + 1);
        }
    }

    fn events(&mut self, steps: &[Step], events: &[&Event], depth: usize) {
        // The search needs memory for each pair of a step and an event. So it gets only what is left
        // after the equal beginnings and ends.
        let same = |(step, event): &(&Step, &&Event)| {
            step.is_one() && !step.lengths(&[**event]).is_empty()
        };
        let before = steps.iter().zip(events).take_while(same).count();
        let (steps, rest) = (&steps[before..], &events[before..]);
        let ends = steps.iter().rev().zip(rest.iter().rev());
        let behind = ends.take_while(same).count();
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

    /// Matches events with steps in the way that has the fewest differences.
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
                    self.push(Mark::Recorded, depth, line(events[event]));
                    event += 1;
                }
            }
        }
    }

    fn push(&mut self, mark: Mark, depth: usize, text: String) {
        self.0.push((mark, depth, text));
    }

    fn verdict(self) -> Result<(), String> {
        /// How many equal lines are shown before and after one that differs.
        const AROUND: usize = 3;
        let differs = |index: &usize| self.0[*index].0 != Mark::Same;
        let differing: Vec<usize> = (0..self.0.len()).filter(differs).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        let mut left_out = 0;
        for (index, (mark, depth, line)) in self.0.iter().enumerate() {
            let first = index.saturating_sub(AROUND);
            let nearest = differing.partition_point(|differing| *differing < first);
            let is_near =
                differing.get(nearest).is_some_and(|differing| *differing <= index + AROUND);
            // The headings of runs are always shown.
            if !is_near && !line.starts_with("run ") {
                left_out += 1;
                continue;
            }
            print_left_out(&mut text, &mut left_out);
            let mark = match mark {
                Mark::Same => ' ',
                Mark::Expected => '-',
                Mark::Recorded => '+',
            };
            text += &format!("{mark} {:indent$}{line}\n", "", indent = 2 * depth);
        }
        print_left_out(&mut text, &mut left_out);
        Err(text)
    }
}

fn print_left_out(text: &mut String, left_out: &mut usize) {
    if *left_out > 0 {
        *text += &format!("    … {left_out} more as expected\n");
        *left_out = 0;
    }
}

/// The next move through the steps and the events.
#[derive(Clone, Copy)]
enum Way {
    /// The step covers this many events.
    Same(usize),
    /// The step is `anything` and covers the event. The step stays.
    Skip,
    /// The step is `anything` and covers no more events.
    Nothing,
    /// No event matches the step.
    Missing,
    /// No step matches the event.
    Unexpected,
}

/// The fewest differing lines from each pair of a step and an event on, and the next move there.
struct Costs {
    width: usize,
    ways: Vec<(usize, Way)>,
}

impl Costs {
    fn new(steps: &[Step], events: &[&Event]) -> Self {
        let width = events.len() + 1;
        let mut costs = Self { width, ways: vec![(0, Way::Missing); width * (steps.len() + 1)] };
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
                let same = |count| (cost(step + 1, event + count), Way::Same(count));
                ways.extend(lengths.map(same));
                ways.push((cost(step + 1, event) + 1, Way::Missing));
            }
        }
        if event < events.len() {
            ways.push((cost(step, event + 1) + 1, Way::Unexpected));
        }
        let best = ways.into_iter().min_by_key(|(cost, _)| *cost);
        best.unwrap_or((0, Way::Missing))
    }

    fn way(&self, step: usize, event: usize) -> Way {
        self.ways[step * self.width + event].1
    }
}
