//! A tree of runs on a terminal.

mod format;
mod group;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anstream::adapter::strip_str;
use rappel_core::{
    CallbackHandler, Delivery, Event, EventContext, EventKind, HandlerOptions, HandlerResult,
    Interest, RunId, RunInfo,
};

use self::format::{end, note, start};
use self::group::Group;
use crate::prices::Asked;
use crate::traces::{Ended, Traces};
use crate::{Prices, Suited};

/// Prints the tree of runs: names, durations, tokens, cost and errors.
///
/// It is LangChain's `ConsoleCallbackHandler` and, with [`contents`](Self::contents),
/// `StdOutCallbackHandler`. [`to`](Self::to) a file, it is `FileCallbackHandler`.
///
/// ```no_run
/// use rappel_handlers::{Console, With};
/// use rappel_threads::prelude::*;
///
/// let callbacks = CallbackManager::new(Threads::new()).with(Console::stderr());
/// # let _ = callbacks;
/// ```
///
/// It only appends lines, and never moves the cursor. So it works in a log file, and beside other
/// output. A run has a line for its start and a line for its end, indented below its parent:
///
/// ```text
/// ▶ deep-thought chain
///   ▶ gpt-4o-mini chat model
///   ✓ gpt-4o-mini 1.21 s, 12 → 34 tokens, $0.000022
/// ✓ deep-thought 1.30 s
/// ```
///
/// `✗` marks a run that failed. `→` marks a run that another process continues.
///
/// While several traces are open, each line begins with a short id of its trace: the last digits of
/// the root run's id. [`grouped`](Self::grouped) prints each trace as one tree when it ends.
///
/// # Colours
/// [`stderr`](Self::stderr) and [`stdout`](Self::stdout) have colours if they are terminals, and the
/// environment has no `NO_COLOR`. [`to`](Self::to) a writer has none. [`colors`](Self::colors) sets
/// it for a writer.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined. The end of a run waits until its line is
/// written. Durations are between the times of the events, so a slow terminal does not change them.
/// Tokens are not delivered.
///
/// # Failures
/// A closed pipe ends the output quietly. Any other error of the output is a failure of the handler,
/// counted and reported. The next line is tried again. Control characters in names, errors and
/// contents are replaced, so they cannot change the terminal.
///
/// # Memory
/// An entry for each open run. A grouped trace keeps at most 1,000 lines until it ends.
pub struct Console {
    out: Box<dyn Write + Send>,
    colors: bool,
    closed: bool,
    grouped: bool,
    contents: Option<usize>,
    prices: Prices,
    runs: HashMap<RunId, OpenRun>,
    traces: Traces<Group>,
}

/// What is kept of an open run.
struct OpenRun {
    depth: usize,
    started: Option<Duration>,
    asked: Option<Asked>,
    /// Its place in the group.
    place: Option<usize>,
}

impl Console {
    /// Prints to standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::new(anstream::stderr(), true)
    }

    /// Prints to standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(anstream::stdout(), true)
    }

    /// Prints to any writer, without colours.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self::new(out, false)
    }

    fn new(out: impl Write + Send + 'static, colors: bool) -> Self {
        Self {
            out: Box::new(out),
            colors,
            closed: false,
            grouped: false,
            contents: None,
            prices: Prices::new(),
            runs: HashMap::new(),
            traces: Traces::default(),
        }
    }

    /// Sets whether a writer gets colours, as ANSI escape sequences. For standard output and
    /// standard error, `true` still leaves the choice to the terminal and the environment.
    #[must_use]
    pub fn colors(mut self, colors: bool) -> Self {
        self.colors = colors;
        self
    }

    /// Prints each trace as one tree when it ends, and nothing before.
    #[must_use]
    pub fn grouped(mut self) -> Self {
        self.grouped = true;
        self
    }

    /// Prints inputs, outputs and data, too, each on its line and at most `characters` long.
    #[must_use]
    pub fn contents(mut self, characters: usize) -> Self {
        self.contents = Some(characters);
        self
    }

    /// Prints what each model's run cost.
    #[must_use]
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    fn started(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let parent = cx.parent_id().and_then(|parent| self.runs.get(&parent));
        let depth = parent.map_or(0, |parent| parent.depth + 1);
        let parent_place = parent.and_then(|parent| parent.place);
        let short = short_id(cx, &self.traces);
        let group = self.traces.start(cx, || Group::new(short));
        let place = if self.grouped { group.open(parent_place) } else { None };
        let run = OpenRun { depth, started: cx.time(), asked: Asked::of(event), place };
        self.runs.insert(cx.id(), run);
        if self.grouped {
            return Ok(());
        }
        let line = start(event, cx, self.contents);
        let text = self.lines(cx.id(), depth, &line);
        self.write(&text)
    }

    fn ended(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let Some(run) = self.runs.remove(&cx.id()) else { return Ok(()) };
        let line = end(event, cx, &run, &self.prices, self.contents, self.grouped);
        let text = if self.grouped { String::new() } else { self.lines(cx.id(), run.depth, &line) };
        if let (Some(group), Some(place)) = (self.traces.get_mut(cx.id()), run.place) {
            group.close(place, line);
        }
        // Before the output is written, which may panic.
        let ended = self.traces.end(cx.id());
        match ended {
            Some(Ended::Trace(group)) if self.grouped => self.write(&group.to_string()),
            _ => self.write(&text),
        }
    }

    /// A line about something that happens inside a run.
    fn noted(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let Some(line) = note(event, self.contents) else { return Ok(()) };
        let run = self.runs.get(&cx.id());
        let depth = run.map_or(0, |run| run.depth + 1);
        let place = run.and_then(|run| run.place);
        match self.traces.get_mut(cx.id()) {
            Some(group) if self.grouped => {
                group.note(place, line);
                Ok(())
            }
            _ => {
                let text = self.lines(cx.id(), depth, &line);
                self.write(&text)
            }
        }
    }

    /// The lines of a run, with the trace's id if it is needed.
    fn lines(&mut self, run: RunId, depth: usize, line: &str) -> String {
        let several = self.traces.len() > 1;
        let id = match self.traces.get_mut(run) {
            Some(group) => group.shown_id(several),
            None => None,
        };
        let id = id.map_or_else(String::new, |id| format!("{} ", format::dim(id)));
        // A deep tree does not move its lines out of sight.
        let indent = "  ".repeat(depth.min(32));
        line.lines().map(|line| format!("{id}{indent}{line}\n")).collect()
    }

    fn write(&mut self, text: &str) -> HandlerResult {
        if self.closed || text.is_empty() {
            return Ok(());
        }
        let plain;
        let text = if self.colors {
            text
        } else {
            plain = strip_str(text).to_string();
            &plain
        };
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => Ok(written?),
        }
    }
}

/// The last digits of the root's id: as few as tell it from the open traces, and at least four.
fn short_id(run: &RunInfo, open: &Traces<Group>) -> String {
    let id: String = run.root_id().to_string().chars().filter(|digit| *digit != '-').collect();
    let taken = |short: &str| open.states().any(|group| group.has_id(short));
    let shorts = (4..id.len()).map(|digits| &id[id.len() - digits..]);
    shorts.into_iter().find(|short| !taken(short)).unwrap_or(&id).to_owned()
}

impl CallbackHandler for Console {
    fn name(&self) -> &str {
        "Console"
    }

    fn interest(&self) -> Interest {
        Interest::all().without(EventKind::LlmNewToken)
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let kind = event.kind();
        if kind.is_start() {
            self.started(event, cx)
        } else if kind.is_end() {
            self.ended(event, cx)
        } else {
            self.noted(event, cx)
        }
    }
}

impl Suited for Console {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(256).into()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("grouped", &self.grouped)
            .field("open_runs", &self.runs.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
