//! A value that is only ever tried, and a word in which others leave requests for its holder.
//!
//! A task that finds the value taken sets a bit in the word and tries once more then. The holder
//! releases the value first and swaps the word then. So either the holder sees the bit, or the other
//! task gets the value. No thread waits for it, so user code may run while it is held.

use super::sync::{AtomicUsize, Ordering, TryLock};

pub(crate) use super::sync::Locked;

/// A value for one holder at a time, who attends to the requests of the others.
pub(crate) struct Turn<T> {
    /// The bits of requests that no task has attended to yet.
    word: AtomicUsize,
    value: TryLock<T>,
}

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { word: AtomicUsize::new(0), value: TryLock::new(value) }
    }

    /// Takes the value, unless it is taken. [`release`](Self::release) gives it back.
    ///
    /// If it is only dropped, the requests are left to the next holder.
    #[inline(always)]
    pub(crate) fn try_hold(&self) -> Option<Locked<'_, T>> {
        self.value.try_lock()
    }

    /// Takes the value, or has its holder attend to `bits`.
    ///
    /// `prepare` stores what the bits are about. It is called only if the value is taken.
    #[inline(always)]
    pub(crate) fn hold_or_request(
        &self,
        bits: usize,
        prepare: impl FnOnce(),
    ) -> Option<Locked<'_, T>> {
        if let Some(locked) = self.try_hold() {
            return Some(locked);
        }
        // First what the bits are about, then the bits: the holder looks for it when it sees them.
        prepare();
        self.request(bits)
    }

    /// Has the holder of the value attend to `bits`. Takes the value if it is not taken; then the
    /// caller attends to them when it has released the value.
    #[inline]
    #[must_use = "if the value was free, the caller attends to the bits"]
    pub(crate) fn request(&self, bits: usize) -> Option<Locked<'_, T>> {
        // First the bits, then the try: the holder releases the value before it swaps the word. So
        // it sees the bits, or this gets the value.
        self.word.fetch_or(bits, Ordering::AcqRel);
        self.try_hold()
    }

    /// Gives the value back. Returns the bits that the caller has to attend to.
    #[inline(always)]
    #[must_use = "the caller attends to the bits"]
    pub(crate) fn release(&self, locked: Locked<'_, T>) -> usize {
        // First the value, then the word: see `request`.
        drop(locked);
        self.word.swap(0, Ordering::AcqRel)
    }
}
