//! Why a program cannot be read.

use std::error::Error;
use std::fmt;

/// A program cannot be read. Its text is one line that names the place and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    place: Place,
    flaw: Flaw,
}

/// The place of a flaw. A place outside the steps is shown as `program`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Program,
    Handler(usize),
    Manager,
    Step(usize),
}

/// The flaw at a place. Text of the program is shown quoted, so that it cannot break the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    TooLong,
    BrokenJson(String),
    NoObject,
    Missing(&'static str),
    IllTyped { field: &'static str, expected: String },
    UnknownOp(String),
    UnknownAlias(String),
    NoManager(String),
    WrongRun { alias: String, wanted: &'static str },
    HasEnded(String),
    UsedTwice(String),
    DoesNotFit { aliases: usize, prompts: usize },
}

impl Flaw {
    pub(super) fn at(self, place: Place) -> ReadError {
        ReadError { place, flaw: self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.flaw)
    }
}

impl Error for ReadError {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => f.write_str("program"),
            Self::Handler(index) => write!(f, "program: handler {index}"),
            Self::Manager => f.write_str("program: manager"),
            Self::Step(index) => write!(f, "step {index}"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("it is too long"),
            Self::BrokenJson(error) => write!(f, "broken JSON: {error}"),
            Self::NoObject => f.write_str("it is not an object"),
            Self::Missing(field) => write!(f, "`{field}` is missing"),
            Self::IllTyped { field, expected } => write!(f, "`{field}` is not of type {expected}"),
            Self::UnknownOp(op) => write!(f, "the op {op:?} is unknown"),
            Self::UnknownAlias(alias) => write!(f, "the alias {alias:?} is unknown"),
            Self::NoManager(alias) => write!(f, "{alias:?} is not a manager"),
            Self::WrongRun { alias, wanted } => write!(f, "{alias:?} is not {wanted}"),
            Self::HasEnded(alias) => write!(f, "the run {alias:?} has ended"),
            Self::UsedTwice(alias) => write!(f, "the alias {alias:?} is used twice"),
            Self::DoesNotFit { aliases, prompts } => {
                write!(f, "`as` does not fit: aliases {aliases}, prompts {prompts}")
            }
        }
    }
}
