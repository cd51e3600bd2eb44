//! The lines of a trace, printed as a tree when it ends.

use std::fmt;

/// Maximum number of lines that are kept of a trace.
const MOST_LINES: usize = 1000;

/// A trace: its short id, and its lines if traces are grouped.
pub(super) struct Group {
    id: String,
    is_shown: bool,
    lines: Vec<Line>,
    omitted: usize,
}

#[derive(Default)]
struct Line {
    text: String,
    children: Vec<usize>,
    has_parent: bool,
}

impl Group {
    pub(super) fn new(id: String) -> Self {
        Self { id, is_shown: false, lines: Vec::new(), omitted: 0 }
    }

    pub(super) fn has_id(&self, id: &str) -> bool {
        self.id == id
    }

    /// The id, if it is needed: several traces are open, or it was shown before.
    pub(super) fn shown_id(&mut self, several: bool) -> Option<&str> {
        self.is_shown |= several;
        self.is_shown.then_some(&*self.id)
    }

    /// Makes room for the line of a run. `None` if there are too many lines.
    pub(super) fn open(&mut self, parent: Option<usize>) -> Option<usize> {
        if self.lines.len() >= MOST_LINES {
            self.omitted += 1;
            return None;
        }
        let place = self.lines.len();
        let mut line = Line::default();
        if let Some(parent) = parent.and_then(|parent| self.lines.get_mut(parent)) {
            parent.children.push(place);
            line.has_parent = true;
        }
        self.lines.push(line);
        Some(place)
    }

    /// Sets the line of a run.
    pub(super) fn close(&mut self, place: usize, text: String) {
        if let Some(line) = self.lines.get_mut(place) {
            line.text = text;
        }
    }

    /// Adds a line under a run.
    pub(super) fn note(&mut self, parent: Option<usize>, text: String) {
        if let Some(place) = self.open(parent) {
            self.close(place, text);
        }
    }
}

/// Writes the tree.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list instead of recursion: a tree may be deep. The indentation of the line itself, that
        // of what is under it, and the line.
        let roots = self.lines.iter().enumerate().filter(|(_, line)| !line.has_parent);
        let mut rest: Vec<(String, String, usize)> =
            roots.map(|(place, _)| (String::new(), String::new(), place)).collect();
        rest.reverse();
        while let Some((own, under, place)) = rest.pop() {
            let line = &self.lines[place];
            let last = line.children.last().copied();
            let bar = if last.is_some() { "│ " } else { "  " };
            for (number, text) in line.text.lines().enumerate() {
                match number {
                    0 => writeln!(f, "{own}{text}")?,
                    _ => writeln!(f, "{under}{bar}{}", text.trim_start())?,
                }
            }
            for child in line.children.iter().rev() {
                let (branch, bar) =
                    if Some(*child) == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                rest.push((format!("{under}{branch}"), format!("{under}{bar}"), *child));
            }
        }
        match self.omitted {
            0 => Ok(()),
            omitted => writeln!(f, "… and {omitted} more lines"),
        }
    }
}
