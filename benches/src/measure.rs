//! How rows are measured: in short slices, in turn, so that other load on the machine affects all
//! rows of a panel alike.

use std::time::{Duration, Instant};

use crate::report::{RowResult, Spread};

/// Measures a part of a call: a clock, or a counter of allocations.
pub trait Probe {
    /// The measured part begins.
    fn begin(&mut self);
    /// The measured part ends.
    fn end(&mut self);
}

/// Given to a row's call, to mark the part that is measured.
#[allow(missing_debug_implementations, reason = "a probe is anything")]
pub struct Meter<'a>(&'a mut dyn Probe);

impl<'a> Meter<'a> {
    /// A meter that uses `probe`.
    pub fn new(probe: &'a mut dyn Probe) -> Self {
        Self(probe)
    }

    /// Runs and measures `part`. Nothing else of the call is measured.
    pub fn around<T>(&mut self, part: impl FnOnce() -> T) -> T {
        self.0.begin();
        let output = part();
        self.0.end();
        output
    }
}

/// Something that can be measured repeatedly.
#[allow(missing_debug_implementations, reason = "its call is a closure")]
pub struct Row {
    /// What it does. Unique in its panel.
    pub name: String,
    /// Number of events in the measured part of one call.
    pub events: u64,
    /// The row of the same panel that it is compared with.
    pub reference: Option<String>,
    /// The row's place on the panel's axis, if the panel has one.
    pub x: Option<f64>,
    /// Whether this is rappel, and not something that it is compared with.
    pub ours: bool,
    call: Box<dyn FnMut(&mut Meter<'_>)>,
}

impl Row {
    /// A row whose call measures this many events.
    pub fn new(
        name: impl Into<String>,
        events: u64,
        call: impl FnMut(&mut Meter<'_>) + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            events,
            reference: None,
            x: None,
            ours: true,
            call: Box::new(call),
        }
    }

    /// Compares the row with another row of the panel.
    #[must_use]
    pub fn against(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Puts the row on the panel's axis.
    #[must_use]
    pub fn at(mut self, x: f64) -> Self {
        self.x = Some(x);
        self
    }

    /// Calls the row once.
    pub fn call(&mut self, probe: &mut dyn Probe) {
        (self.call)(&mut Meter::new(probe));
    }
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often all panels are built anew and measured. So a slow minute of the machine, or a
    /// lucky layout of the heap, affects only a part of the slices.
    pub passes: usize,
    /// Slices of each row per pass.
    pub slices: usize,
    /// The length of a slice, unless a single call takes longer.
    pub slice: Duration,
}

impl Pace {
    /// Some minutes.
    pub const FULL: Self = Self { passes: 3, slices: 7, slice: Duration::from_millis(20) };
    /// About a minute.
    pub const QUICK: Self = Self { passes: 1, slices: 15, slice: Duration::from_millis(1) };
}

/// Measures each row of a panel in `pace.slices` slices, one slice of each row in turn. Returns
/// nanoseconds per event.
pub fn slices(rows: &mut [Row], pace: Pace) -> Vec<Vec<f64>> {
    let calls: Vec<u32> = rows.iter_mut().map(|row| calls_in_a_slice(row, pace.slice)).collect();
    let mut measured = vec![Vec::with_capacity(pace.slices); rows.len()];
    for _ in 0..pace.slices {
        for ((row, calls), measured) in rows.iter_mut().zip(&calls).zip(&mut measured) {
            let mut clock = Stopwatch::default();
            (0..*calls).for_each(|_| row.call(&mut clock));
            measured.push(clock.total.as_nanos() as f64 / (u64::from(*calls) * row.events) as f64);
        }
    }
    measured
}

/// Warms a row up, and returns how many calls fill a slice, with their unmeasured parts.
fn calls_in_a_slice(row: &mut Row, slice: Duration) -> u32 {
    let mut clock = Stopwatch::default();
    row.call(&mut clock);
    let mut calls = 1_u32;
    loop {
        let begun = Instant::now();
        (0..calls).for_each(|_| row.call(&mut clock));
        let took = begun.elapsed();
        if took * 2 >= slice {
            let fitting = slice.as_nanos() * u128::from(calls) / took.as_nanos().max(1);
            return u32::try_from(fitting).unwrap_or(u32::MAX).max(1);
        }
        calls *= 2;
    }
}

#[derive(Default)]
struct Stopwatch {
    begun: Option<Instant>,
    total: Duration,
}

impl Probe for Stopwatch {
    fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    fn end(&mut self) {
        self.total += self.begun.take().map_or(Duration::ZERO, |begun| begun.elapsed());
    }
}

/// The results of a panel's rows, each with its ratio to its reference. Ratios are taken slice by
/// slice, because those slices were measured one after the other.
#[must_use]
pub fn results(rows: &[Row], measured: &[Vec<f64>]) -> Vec<RowResult> {
    let slices_of =
        |name: &str| rows.iter().position(|row| row.name == name).map(|at| &measured[at]);
    let result = |(row, slices): (&Row, &Vec<f64>)| RowResult {
        name: row.name.clone(),
        x: row.x,
        ours: row.ours,
        ns: Spread::of(slices),
        ratio: row
            .reference
            .as_deref()
            .and_then(slices_of)
            .map(|reference| Spread::of(&quotients(slices, reference))),
        reference: row.reference.clone(),
        allocations: None,
        bytes: None,
        slices: slices.clone(),
    };
    rows.iter().zip(measured).map(result).collect()
}

/// Divides pair by pair.
#[must_use]
pub fn quotients(slices: &[f64], reference: &[f64]) -> Vec<f64> {
    slices.iter().zip(reference).map(|(one, other)| one / other).collect()
}
