//! Compares what was emitted with what was handled.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

use crate::roles::{BUFFER, EVENTS};

#[derive(Debug, Default)]
pub(crate) struct Balance {
    emitted: usize,
    handled: usize,
    refused: usize,
    lost_in_buffers: usize,
    killed_publishers: usize,
    whole: usize,
    deliveries: usize,
    closed: usize,
    pub(crate) out_of_order: Vec<String>,
    pub(crate) missing: Vec<String>,
    pub(crate) unbalanced: Vec<String>,
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events emitted = {} handled + {} refused and counted + {} lost in the buffers of {} \
             killed publishers; {} traces handled whole, {} closed, in {} deliveries",
            self.emitted,
            self.handled,
            self.refused,
            self.lost_in_buffers,
            self.killed_publishers,
            self.whole,
            self.closed,
            self.deliveries,
        )
    }
}

/// The whole lines of a file. The last one may be torn.
fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// What handlers have seen.
#[derive(Default)]
struct Handled {
    /// The numbers that any of them has seen, by trace.
    numbers: HashMap<String, HashSet<i64>>,
    whole: HashSet<String>,
    closed: HashSet<String>,
}

fn handled(files: &[std::path::PathBuf], balance: &mut Balance) -> Handled {
    let mut all = Handled::default();
    for file in files {
        // What one delivery of a trace has seen: the next number.
        let mut next: HashMap<(String, String, String), i64> = HashMap::new();
        for line in lines(file) {
            let [root, tseq, epoch, attempt, kind, end] = &line[..] else {
                balance.out_of_order.push(format!("a torn line: {line:?}"));
                continue;
            };
            let tseq: i64 = tseq.parse().expect("a number");
            let delivery = (root.clone(), epoch.clone(), attempt.clone());
            if tseq < 0 {
                // The end of a trace that was closed or handed over.
                if end == "end" {
                    all.closed.insert(root.clone());
                }
                continue;
            }
            let expected = next.entry(delivery).or_default();
            // The same owner may get the trace once more, from its beginning: a batch that came late.
            if tseq == 0 {
                balance.deliveries += 1;
                *expected = 0;
            }
            if tseq != *expected {
                let name = file.display();
                balance
                    .out_of_order
                    .push(format!("{name}: {kind} {tseq}, not {expected}, of {root}"));
            }
            *expected = tseq + 1;
            all.numbers.entry(root.clone()).or_default().insert(tseq);
            if end == "end" && tseq + 1 == EVENTS as i64 {
                all.whole.insert(root.clone());
            }
        }
    }
    all
}

pub(crate) fn balance(directory: &Path) -> Balance {
    let mut balance = Balance::default();
    let files = |role: &str| {
        let entries = fs::read_dir(directory).expect("the directory").flatten();
        let of_role = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(role) && name.ends_with(".log")
        };
        entries.map(|entry| entry.path()).filter(of_role).collect::<Vec<_>>()
    };
    let handled = handled(&files("work"), &mut balance);
    for file in files("publish") {
        let survived = file.with_extension("done").exists();
        balance.killed_publishers += usize::from(!survived);
        let mut traces: HashMap<String, (usize, bool)> = HashMap::new();
        let (mut refused, mut emitted) = (0, 0);
        for line in lines(&file) {
            let [root, end, so_far] = &line[..] else { panic!("a torn line: {line:?}") };
            let trace = traces.entry(root.clone()).or_default();
            trace.0 += 1;
            trace.1 |= end == "end";
            emitted += 1;
            refused = so_far.parse().expect("a number");
        }
        let seen = |root: &String| handled.numbers.get(root).map_or(0, HashSet::len);
        let seen: usize = traces.keys().map(seen).sum();
        balance.emitted += emitted;
        balance.handled += seen;
        balance.refused += refused;
        let rest = emitted as i64 - seen as i64 - refused as i64;
        let name = file.display();
        if survived {
            if rest != 0 {
                balance.unbalanced.push(format!("{name}: {rest} events are unaccounted for"));
            }
        } else {
            // The line of the last event may not have been written.
            balance.lost_in_buffers += usize::try_from(rest).unwrap_or_default();
            if rest < -1 || rest > BUFFER as i64 {
                balance.unbalanced.push(format!("{name}: {rest} events are lost"));
            }
        }
        for (root, (_, ended)) in traces {
            let complete = handled.numbers.get(&root).is_some_and(|n| n.len() == EVENTS);
            balance.whole += usize::from(handled.whole.contains(&root));
            balance.closed += usize::from(handled.closed.contains(&root));
            // All of its records have reached a worker.
            if ended && complete && !handled.whole.contains(&root) {
                balance.missing.push(format!("{root} was not handled whole by any worker"));
            }
        }
    }
    balance
}
