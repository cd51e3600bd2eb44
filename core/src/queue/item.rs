//! What a queue knows of an event.

/// A queued event.
pub(crate) trait Item: Sized {
    /// What the event is to its run.
    fn part(&self) -> Part;

    /// Whether a later token of the run can be joined to this one.
    fn accepts(&self, newer: &Self) -> bool;

    /// Appends the text of a later token that this one accepts.
    fn coalesce(&mut self, newer: Self);
}

/// What an event is to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Start,
    /// May be joined with others, or dropped.
    Token,
    Other,
    End,
    /// An event without a run: first and last in one.
    Only,
}

impl Part {
    /// Whether it counts against the capacity. A start and an end always have room.
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::Token | Self::Other)
    }

    /// Whether no event of the run comes after it.
    pub(crate) const fn is_last(self) -> bool {
        matches!(self, Self::End | Self::Only)
    }
}
