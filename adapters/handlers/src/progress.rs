//! Bars on a terminal.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use rappel_core::{
    CallbackHandler, Delivery, Event, EventContext, EventKind, HandlerOptions, HandlerResult,
    Interest, Overflow, RunError, RunId,
};

use crate::Suited;

/// Shows a bar for each batch of model runs: how many are done, tokens a second, and errors.
///
/// ```no_run
/// use rappel_handlers::{Console, Progress, With};
/// use rappel_threads::prelude::*;
///
/// let progress = Progress::new();
/// let callbacks = CallbackManager::new(Threads::new())
///     .with(Console::to(progress.writer()))
///     .with(progress);
/// # let _ = callbacks;
/// ```
///
/// The bars are those of `indicatif`, on standard error. Where that is no terminal, nothing is shown.
/// When a batch is done, its bar becomes a line. The bar of a single run is cleared.
///
/// Runs belong to one batch if they have the same parent and name and were started together: the
/// start says how many ([`batch_size`](rappel_core::LlmStart::batch_size)).
///
/// [`writer`](Self::writer) writes above the bars, for [`Console`](crate::Console) and other output
/// to the same terminal.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined, with a queue of 256 events for each run.
/// If the terminal is slow, tokens are joined. Each of them is still counted.
///
/// # Failures
/// There are none. `indicatif` ignores errors of the terminal.
///
/// # Memory
/// An entry for each open run and each open batch. Of the batches of which not all runs have come,
/// the oldest are given up if there are more than 64.
pub struct Progress {
    bars: MultiProgress,
    /// By number, oldest first.
    batches: BTreeMap<u64, Batch>,
    /// The batch of each open run.
    runs: HashMap<RunId, u64>,
    next: u64,
}

/// Maximum number of batches that have no open run and wait for more.
const MOST_IDLE: usize = 64;

struct Batch {
    parent: Option<RunId>,
    name: String,
    size: usize,
    started: usize,
    ended: usize,
    bar: ProgressBar,
    counts: Arc<Counts>,
}

/// What the bar shows when it is drawn.
#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    errors: AtomicU64,
}

impl Progress {
    /// Shows bars on standard error, if it is a terminal.
    #[must_use]
    pub fn new() -> Self {
        Self::on(MultiProgress::new())
    }

    /// Shows bars together with those of the program.
    #[must_use]
    pub fn on(bars: MultiProgress) -> Self {
        Self { bars, batches: BTreeMap::new(), runs: HashMap::new(), next: 0 }
    }

    /// Returns a writer to standard error that writes whole lines above the bars.
    #[must_use]
    pub fn writer(&self) -> AboveBars {
        AboveBars { bars: self.bars.clone(), line: Vec::new() }
    }

    fn start(&mut self, size: usize, cx: &EventContext) {
        let belongs = |batch: &Batch| {
            let same = batch.parent == cx.parent_id() && batch.name == cx.name();
            same && batch.size == size && batch.started < size
        };
        // A single run makes a batch of its own.
        let known = self.batches.iter_mut().filter(|_| size > 1);
        let number = match known.map(|(n, it)| (*n, it)).find(|(_, batch)| belongs(batch)) {
            Some((number, batch)) => {
                batch.started += 1;
                number
            }
            None => self.open(size, cx),
        };
        self.runs.insert(cx.id(), number);
    }

    fn open(&mut self, size: usize, cx: &EventContext) -> u64 {
        self.next += 1;
        let counts = Arc::<Counts>::default();
        let bar = self.bars.add(ProgressBar::new(size as u64).with_style(style(&counts)));
        bar.set_message(cx.name().chars().filter(|c| !c.is_control()).collect::<String>());
        bar.tick();
        let batch = Batch {
            parent: cx.parent_id(),
            name: cx.name().to_owned(),
            size,
            started: 1,
            ended: 0,
            bar,
            counts,
        };
        self.batches.insert(self.next, batch);
        let idle = self.batches.iter().filter(|(_, batch)| batch.started == batch.ended);
        let idle: Vec<u64> = idle.map(|(number, _)| *number).collect();
        if idle.len() > MOST_IDLE
            && let Some(batch) = self.batches.remove(&idle[0])
        {
            self.close(&batch);
        }
        self.next
    }

    fn batch(&mut self, run: RunId) -> Option<&mut Batch> {
        self.batches.get_mut(self.runs.get(&run)?)
    }

    fn end(&mut self, run: RunId, failed: bool) {
        let Some(number) = self.runs.remove(&run) else { return };
        let Some(batch) = self.batches.get_mut(&number) else { return };
        batch.ended += 1;
        batch.counts.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        batch.bar.inc(1);
        if batch.ended >= batch.size
            && let Some(batch) = self.batches.remove(&number)
        {
            self.close(&batch);
        }
    }

    fn close(&self, batch: &Batch) {
        batch.bar.finish_and_clear();
        self.bars.remove(&batch.bar);
        if batch.size > 1 {
            let mut line = format!("{} {}/{}", batch.bar.message(), batch.ended, batch.size);
            let _ = batch.counts.write(batch.bar.elapsed().as_secs_f64(), &mut line);
            // It fails only if the terminal does.
            let _ = self.bars.println(line);
        }
    }
}

impl Counts {
    fn write(&self, seconds: f64, out: &mut dyn fmt::Write) -> fmt::Result {
        let (tokens, errors) =
            (self.tokens.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed));
        if tokens > 0 && seconds > 0.0 {
            write!(out, " {:.0} tokens/s", tokens as f64 / seconds)?;
        }
        match errors {
            0 => Ok(()),
            1 => write!(out, " 1 error"),
            errors => write!(out, " {errors} errors"),
        }
    }
}

fn style(counts: &Arc<Counts>) -> ProgressStyle {
    let counts = counts.clone();
    let template = "{msg} [{bar:20}] {pos}/{len} {elapsed}{counts}";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").with_key(
        "counts",
        move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = counts.write(state.elapsed().as_secs_f64(), out);
        },
    )
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl CallbackHandler for Progress {
    fn name(&self) -> &str {
        "Progress"
    }

    fn interest(&self) -> Interest {
        Interest::only(EventKind::LlmStart)
            .with(EventKind::ChatModelStart)
            .with(EventKind::LlmNewToken)
            .with(EventKind::LlmEnd)
            .with(EventKind::LlmError)
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        match event {
            Event::LlmStart(start) => self.start(start.batch_size.max(1), cx),
            Event::ChatModelStart(start) => self.start(start.batch_size.max(1), cx),
            Event::LlmNewToken(_) => {
                if let Some(batch) = self.batch(cx.id()) {
                    let tokens = 1 + cx.losses().coalesced as u64;
                    batch.counts.tokens.fetch_add(tokens, Ordering::Relaxed);
                    batch.bar.tick();
                }
            }
            Event::LlmEnd(_) => self.end(cx.id(), false),
            // A run that another process goes on with has not failed.
            Event::LlmError(end) => {
                self.end(cx.id(), !matches!(end.error, RunError::HandedOver));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Suited for Progress {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(256).overflow(Overflow::Coalesce).into()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("batches", &self.batches.len())
            .field("open_runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}

/// Writes whole lines to standard error, above the bars: see [`Progress::writer`].
pub struct AboveBars {
    bars: MultiProgress,
    line: Vec<u8>,
}

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if let Some(end) = self.line.iter().rposition(|byte| *byte == b'\n') {
            let lines: Vec<u8> = self.line.drain(..=end).collect();
            self.bars.suspend(|| io::stderr().write_all(&lines))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Drop for AboveBars {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            // Nothing can be told of a failure here.
            let _ = self.bars.suspend(|| io::stderr().write_all(&line));
        }
    }
}

impl fmt::Debug for AboveBars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AboveBars").finish_non_exhaustive()
    }
}
